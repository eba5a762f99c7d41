//! Columns and rows, taken apart again.

use super::super::tolerance::Approx;
use super::super::{Outcome, each, host};
use super::{added, begun, gradient_values, narrow};
use crate::reference::real::Real;
use crate::train::TrainBackend;
use proptest::prelude::*;

/// A part is given its columns, and a part of rows its rows, added to what is there.
pub fn backwards_match_reference<B: TrainBackend>(backend: &B) -> Outcome {
    let part = (narrow(), 0..=1000usize, 0..=1000usize);
    each((0..=20usize, part, 0..=9usize, any::<bool>(), 0..1000u64), |case| {
        let &(rows, (width, a, b), from, held, seed) = case;
        let columns = a.min(b) * width / 1000..a.max(b) * width / 1000;
        let wide = from + columns.len() + 2;
        let values = gradient_values(seed, rows * wide);
        let dy = backend.upload(&host(rows, wide, &values))?;
        let begin = |rows, width| match held {
            true => begun(backend, rows, width),
            false => Ok(None),
        };
        let mut dx = begin(rows, width)?;
        backend.columns_backward(&dy, from, (width, columns.clone()), &mut dx)?;
        let mut want = vec![Approx::exact(0.0); rows * width];
        for n in 0..rows {
            let taken = &values[n * wide + from..][..columns.len()];
            want[n * width..][columns.clone()].copy_from_slice(&Approx::all(taken));
        }
        added(backend, "columns_backward", (&want, 1), &dx, held)?;

        let taken = a.min(b) * rows / 1000..a.max(b) * rows / 1000;
        let mut dx = begin(taken.len(), wide)?;
        backend.stack_rows_backward(&dy, taken.clone(), &mut dx)?;
        let want = Approx::all(&values[taken.start * wide..taken.end * wide]);
        added(backend, "stack_rows_backward", (&want, 1), &dx, held)
    })
}
