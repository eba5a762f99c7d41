//! Decoding over a scripted language model: against transformers, and what transformers has no word for.

mod ahead;
mod beam_sampling;
mod case;
mod ends;
mod kept;
mod observers;
mod parity;
mod sampling;
mod scripted;
