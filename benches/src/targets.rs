//! What the targets of the CUDA backend are measured on: products at the layers of transformers, with and without an epilogue, and
//! attention over batches of different and of equal lengths, forward and back, in bf16; layers of LSTM.
//!
//! They are timed on GPUs alone, where a processor would take minutes, beside the same work in PyTorch (`benches/gpu`), which
//! hears of each case in numbers by `report --targets --list`, so that nobody has them twice.
//! [`Size::REHEARSAL`] has the same cases so small that a processor goes through them in seconds.

mod attention;
mod products;

pub use attention::{Back, Case as AttentionCase, Forward};
pub use products::{Halves, HalvesCase, Product};

use crate::lstm;
use seq2seq_core::Format;

/// How large the cases are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// N of the products.
    pub rows: [usize; 4],
    /// Widths of layers are divided by this.
    pub part: usize,
    /// Sequences of a batch of different lengths: multiples of the least, in equal steps.
    pub sequences: usize,
    /// Positions of the shortest.
    pub least: usize,
    /// Units of a layer of LSTM, sequences and their positions.
    pub recurrent: [usize; 3],
}

impl Size {
    /// What the targets name.
    pub const GPU: Self = Self {
        rows: [128, 512, 2048, 8192],
        part: 1,
        sequences: 32,
        least: 64,
        recurrent: [1024, 64, 128],
    };

    /// The same cases in a small way.
    pub const REHEARSAL: Self =
        Self { rows: [1, 4, 8, 16], part: 16, sequences: 4, least: 8, recurrent: [32, 4, 8] };
}

/// Two layers of LSTM.
pub fn lstms(size: &Size) -> Vec<(String, lstm::Case)> {
    let [width, sequences, length] = size.recurrent;
    let of = |format| lstm::Case { layers: 2, width, sequences, length, format }.named();
    [Format::F32, Format::Bf16, Format::F16].map(of).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use seq2seq_core::reference::Reference;
    use seq2seq_cpu::{Cpu, CpuOptions};
    use std::collections::HashSet;

    /// Every case can be called again, on any backend, and has a name of its own.
    fn smoke<O: Bench>(cases: Vec<(String, O::Case)>) {
        let cpu = Cpu::new(CpuOptions::default()).unwrap();
        let mut names = HashSet::new();
        for (name, case) in cases {
            assert!(O::work(&case).operations > 0 && O::work(&case).bytes > 0, "{name}");
            for mut call in
                [O::prepare(&Reference, &case), O::prepare(&cpu, &case)].map(Result::unwrap)
            {
                call().and_then(|()| call()).unwrap();
            }
            assert!(names.insert(name.clone()), "two are called {name}");
        }
    }

    #[test]
    fn every_case_can_be_called() {
        let size = Size { part: 64, rows: [1, 2, 3, 4], least: 3, ..Size::REHEARSAL };
        smoke::<Product>(Product::cases(&size));
        smoke::<Halves>(HalvesCase::all(&size));
        smoke::<Forward>(AttentionCase::all(&size));
        smoke::<Back>(AttentionCase::all(&size));
    }

    #[test]
    fn the_sizes_are_those_of_the_targets() {
        let lengths = |name: &str| {
            let all = AttentionCase::all(&Size::GPU);
            all.into_iter().find(|(found, _)| found == name).map(|(_, case)| case.lengths)
        };
        let ragged = lengths("32 of 64 to 2048, 12 heads of 64").unwrap();
        assert_eq!((ragged.len(), ragged[0], ragged[31]), (32, 64, 2048));
        assert_eq!(lengths("32 of 512, 16 heads of 128"), Some(vec![512; 32]));
        assert_eq!(lstms(&Size::GPU)[1].0, "2 x 1024, 64 of 128, bf16");
        let products = Product::cases(&Size::GPU);
        assert!(products.iter().any(|(name, _)| name == "tinyllama gate and up, silu, 8192 rows"));
    }
}
