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
pub(crate) use micro::stored::{RoundedF32, Stored};
pub use recurrent::Recurrent;
pub(crate) use recurrent::{Back, BackCells, BackStep, Before, MAX_GATES, MAX_KEPT, Step};
pub(crate) use rows::Source;

use crate::{isa::Isa, memory::Buffer};
use micro::MicroKernel;
use seq2seq_core::backend::check::LinearShape;

/// A packed linear layer with its bias.
///
/// Any number of requests may use one at a time, and a row has the same bits in each of them:
///
/// ```
/// use seq2seq_core::{Activation, Backend, Epilogue, Format, HostTensor, LinearSpec};
/// use seq2seq_cpu::{Cpu, CpuOptions, Linear};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let weight = HostTensor::from_f32(vec![2, 3], &[0.5, -1.0, 0.25, 1.0, 0.0, -0.5])?;
/// let bias = HostTensor::from_f32(vec![2], &[0.1, -0.2])?;
/// let layer: Linear = cpu.pack(&LinearSpec::single(weight, Some(bias)), Format::Int8)?;
///
/// let gelu = || Epilogue::activation(Activation::Gelu);
/// let batch = cpu.upload(&HostTensor::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 0.3, -0.2, 7.0])?)?;
/// let alone = cpu.gather_rows(&batch, &[1])?;
/// let (y, one) = (cpu.linear(&batch, &layer, gelu())?, cpu.linear(&alone, &layer, gelu())?);
/// assert_eq!(cpu.download(&y)?[2..], cpu.download(&one)?);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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

    /// Whether no panel is wider than the columns that are left for it, so that its results are stored without a gap behind each row.
    pub(crate) fn fills_its_panels(&self) -> bool {
        self.panels * self.width == self.shape.output
    }

    /// The type that it multiplies activations in.
    pub(crate) fn element(&self) -> Element {
        self.kernel.lhs
    }
}
