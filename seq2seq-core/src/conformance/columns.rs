//! Columns side by side, rows one below the other: copies, to the bit.
//!
//! ```
//! use seq2seq_core::{conformance::columns, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! columns::columns_copies(&backend)?;
//! columns::stack_rows_copies(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```

use super::values::{Profile, values};
use super::{Outcome, bits, each, host, width};
use crate::{HostTensor, Part, RecurrentOps};
use proptest::prelude::*;

/// A tensor and the part of its columns that is taken, in thousandths.
type Piece = (usize, usize, usize);

fn pieces() -> impl Strategy<Value = (usize, Vec<Piece>, u64)> {
    let piece = (width(), 0..=1000usize, 0..=1000usize);
    (0..=20usize, proptest::collection::vec(piece, 1..=4), 0..1000u64)
}

fn tensor(rows: usize, width: usize, seed: u64) -> HostTensor {
    host(rows, width, &values(Profile::Wide, seed, rows * width))
}

/// Columns of several tensors, empty runs and all of them included.
pub fn columns_copies<B: RecurrentOps>(backend: &B) -> Outcome {
    each(pieces(), |(rows, pieces, seed)| {
        let tensors: Vec<HostTensor> = (pieces.iter().zip(*seed..))
            .map(|(&(width, _, _), seed)| tensor(*rows, width, seed))
            .collect();
        let ranges: Vec<_> = pieces
            .iter()
            .map(|&(width, a, b)| a.min(b) * width / 1000..a.max(b) * width / 1000)
            .collect();
        let mut expected = Vec::new();
        for n in 0..*rows {
            for (t, range) in tensors.iter().zip(&ranges) {
                let width = t.shape()[1];
                expected.extend(&t.to_f32()[n * width..][range.clone()]);
            }
        }
        let on: Vec<B::Tensor> =
            tensors.iter().map(|t| backend.upload(t)).collect::<crate::Result<_>>()?;
        let parts: Vec<Part<'_, B::Tensor>> =
            (on.iter().zip(ranges)).map(|(tensor, columns)| Part { tensor, columns }).collect();
        bits("columns", &expected, &backend.download(&backend.columns(&parts)?)?)
    })
}

/// Rows of several tensors, tensors without rows included.
pub fn stack_rows_copies<B: RecurrentOps>(backend: &B) -> Outcome {
    let counts = proptest::collection::vec(0..=9usize, 1..=5);
    each((counts, width(), 0..1000u64), |(counts, width, seed)| {
        let tensors: Vec<HostTensor> =
            counts.iter().zip(*seed..).map(|(&n, seed)| tensor(n, *width, seed)).collect();
        let expected: Vec<f32> = tensors.iter().flat_map(HostTensor::to_f32).collect();
        let on: Vec<B::Tensor> =
            tensors.iter().map(|t| backend.upload(t)).collect::<crate::Result<_>>()?;
        let parts: Vec<&B::Tensor> = on.iter().collect();
        bits("stack_rows", &expected, &backend.download(&backend.stack_rows(&parts)?)?)
    })
}
