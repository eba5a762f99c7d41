//! The loops of backwards, losses and steps.
//!
//! Loops without a sum along the vector are plain ones, which the compiler vectorises for each level.

pub(crate) mod adafactor;
pub(crate) mod additive;
pub(crate) mod attention;
pub(crate) mod copy;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod norm;
pub(crate) mod optimiser;
pub(crate) mod recurrent;
pub(crate) mod sum;
mod tile;
