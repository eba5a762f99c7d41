//! What the rows of a tensor are read as.

use crate::gemm::Element;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What those who read the results of some operation have wanted them as: a hint for the next time.
#[derive(Debug, Default)]
pub(crate) struct Readers(AtomicU8);

impl Readers {
    /// The types that rows are converted to, each at its number less 1.
    const ELEMENTS: [Element; 5] =
        [Element::Rounded, Element::Bf16, Element::U8, Element::I8, Element::I16];

    /// What the last of them wanted, where it was not f32.
    pub(crate) fn wanted(&self) -> Option<Element> {
        let number = usize::from(self.0.load(Relaxed));
        Self::ELEMENTS.get(number.wrapping_sub(1)).copied()
    }

    /// One has wanted `element`.
    pub(crate) fn want(&self, element: Element) {
        let at = Self::ELEMENTS.iter().position(|&e| e == element);
        self.0.store(at.map_or(0, |at| at as u8 + 1), Relaxed);
    }
}
