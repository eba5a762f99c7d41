//! How the operands of a linear layer lie in memory, which is for what multiplies them.

use crate::Cuda;
use seq2seq_core::Format;

/// Compute capability of Hopper, the only one that has wgmma: code for it (sm_90a) runs on no other, later or earlier.
const HOPPER: (u32, u32) = (9, 0);

/// Operands of a product on a device: weights and rows. A device has one kind for a format, whatever the number of rows: matrix
/// units of two kinds may add in different orders, and a row would not have the bits alone that it has in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operands {
    F32,
    /// Weights of f16 and rows of f32, which are multiplied in f32.
    F16,
    /// For mma.sync.
    Bf16,
    /// For wgmma.
    Bf16Swizzled,
    /// For mma.sync.
    Int8,
    /// For wgmma.
    Int8Swizzled,
    Int4,
}

impl Operands {
    /// Those of a format on this device.
    pub(crate) fn on(cuda: &Cuda, format: Format) -> Self {
        Self::of(format, cuda.driver().capability())
    }

    /// Those of a format at a compute capability.
    pub(crate) fn of(format: Format, capability: (u32, u32)) -> Self {
        match format {
            Format::F32 => Self::F32,
            Format::Bf16 if capability == HOPPER => Self::Bf16Swizzled,
            Format::Bf16 => Self::Bf16,
            Format::F16 => Self::F16,
            // Sums of either are exact, and the same: it is weights that lie in one layout alone.
            Format::Int8 if capability == HOPPER => Self::Int8Swizzled,
            Format::Int8 => Self::Int8,
            Format::Int4 => Self::Int4,
        }
    }

    /// Columns that a row of activations, and a channel, is padded to a multiple of: a slab of the matrix units' operands.
    pub(crate) fn slab(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 32,
            Self::Bf16Swizzled | Self::Int8 | Self::Int4 => 64,
            Self::Int8Swizzled => 128,
        }
    }

    /// Channels that lie together, to a multiple of which they are padded.
    pub(crate) fn panel(self) -> usize {
        if self.rows_are_f32() { 32 } else { 16 }
    }

    /// Bytes of a value of a row.
    pub(crate) fn element(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 4,
            Self::Bf16 | Self::Bf16Swizzled => 2,
            Self::Int8 | Self::Int8Swizzled | Self::Int4 => 1,
        }
    }

    /// Whether values stay as they are, and FMA multiplies them.
    pub(crate) fn rows_are_f32(self) -> bool {
        matches!(self, Self::F32 | Self::F16)
    }

    /// Whether values are rounded to bf16.
    pub(crate) fn rounds_rows(self) -> bool {
        matches!(self, Self::Bf16 | Self::Bf16Swizzled)
    }

    /// Whether values are rounded to few levels, a scale and a zero point a row.
    pub(crate) fn quantises_rows(self) -> bool {
        matches!(self, Self::Int8 | Self::Int8Swizzled | Self::Int4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hopper_has_wgmma() {
        let of = |capability| [Format::Bf16, Format::Int8].map(|f| Operands::of(f, capability));
        assert_eq!(of((9, 0)), [Operands::Bf16Swizzled, Operands::Int8Swizzled]);
        for capability in [(8, 0), (8, 6), (8, 9), (10, 0), (10, 3), (12, 0)] {
            assert_eq!(of(capability), [Operands::Bf16, Operands::Int8], "{capability:?}");
        }
        for format in [Format::F32, Format::F16, Format::Int4] {
            assert_eq!(Operands::of(format, (9, 0)), Operands::of(format, (8, 0)));
        }
    }
}
