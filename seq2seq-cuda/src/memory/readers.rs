//! What the rows of a tensor are read as.

use crate::kernels::operands::Operands;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What those who read the results of some operation have wanted them as: a hint for the next time.
#[derive(Debug, Default)]
pub(crate) struct Readers(AtomicU8);

impl Readers {
    /// What rows are laid out as, each at its number less 1.
    const OPERANDS: [Operands; 5] = [
        Operands::Bf16,
        Operands::Bf16Swizzled,
        Operands::Int8,
        Operands::Int8Swizzled,
        Operands::Int4,
    ];

    /// What the last of them wanted, where it was not f32.
    pub(crate) fn wanted(&self) -> Option<Operands> {
        let number = usize::from(self.0.load(Relaxed));
        Self::OPERANDS.get(number.wrapping_sub(1)).copied()
    }

    /// One has wanted `operands`.
    pub(crate) fn want(&self, operands: Operands) {
        let at = Self::OPERANDS.iter().position(|&o| o == operands);
        self.0.store(at.map_or(0, |at| at as u8 + 1), Relaxed);
    }

    /// One has wanted values as they are.
    pub(crate) fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}
