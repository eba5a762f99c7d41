//! Products of activations with packed weights.
//!
//! | file | holds |
//! |---|---|
//! | `micro.rs`, `micro/` | the kernels of each instruction set: a few rows times one panel |
//! | `pack.rs` | weights of a checkpoint into panels |
//! | `rows.rs` | panels from tensors, for training |
//! | `lhs.rs` | activations in the element type that a kernel reads |
//! | `plan.rs` | how a product is cut among workers and tiles |
//! | `drive.rs` | the loops over blocks, panels and tiles |
//! | `epilogue.rs` | scale, bias, activation or gate, residual, behind each tile |
//! | `recurrent.rs` | steps of recurrent layers, and in `recurrent/back.rs` back (`fill.rs` packs anew): the product of the state, and |
//! | `cell.rs` | the cell behind each tile |

mod cell;
mod drive;
mod epilogue;
mod lhs;
mod micro;
mod pack;
mod plan;
mod recurrent;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use micro::tests::levels as test_levels;

pub(crate) use epilogue::{Epilogue, Residual};
pub(crate) use lhs::{Converted, Element, convert};
pub(crate) use micro::LhsRows;
pub use recurrent::Recurrent;
pub(crate) use recurrent::{Back, BackCells, BackStep, Before, MAX_GATES, MAX_KEPT, Step};
pub(crate) use rows::Source;

use crate::{isa::Isa, memory::Buffer};
use micro::MicroKernel;
use seq2seq_core::backend::check::LinearShape;

/// A packed linear layer with its bias.
#[derive(Debug)]
pub struct Linear {
    isa: Isa,
    kernel: &'static MicroKernel,
    shape: LinearShape,
    gated: bool,
    panels: usize,
    /// Output columns that a panel yields.
    width: usize,
    /// Panel after panel, in the kernel's layout.
    data: Buffer<u8>,
    /// For each column of each panel, what its sums are multiplied by: the layer's scale, in int8 times the channel's.
    scale: Vec<f32>,
    /// For each column of each panel.
    bias: Vec<f32>,
}

impl Linear {
    /// Its sizes.
    pub(crate) fn shape(&self) -> LinearShape {
        self.shape
    }

    /// The level that it was packed for.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// The type that it multiplies activations in.
    pub(crate) fn element(&self) -> Element {
        self.kernel.lhs
    }
}
