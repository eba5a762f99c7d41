//! Windows of grids, added up where they overlap.

use super::super::tolerance::Approx;
use super::super::windows::Case;
use super::super::{Outcome, bits, each, host};
use super::{added, begun, gradient_values};
use crate::backend::check;
use crate::reference::{Reference, backward::windows::seen, real::Real};
use crate::train::TrainBackend;
use crate::{Backend, Grid, Result, Windows};

fn dy(case: &Case) -> Vec<f32> {
    gradient_values(case.seed, case.rows() * case.windows.taps() * case.channels)
}

/// The gradient of the positions, added to what is there or begun.
fn back<B: TrainBackend>(
    backend: &B,
    case: &Case,
    held: bool,
) -> Result<crate::train::Gradient<B::Tensor>> {
    let width = case.windows.taps() * case.channels;
    let dy = backend.upload(&host(case.rows(), width, &dy(case)))?;
    let mut dx = match held {
        true => begun(backend, case.positions(), case.channels)?,
        false => None,
    };
    backend.windows_backward(&dy, &case.grids, &case.windows, case.channels, &mut dx)?;
    Ok(dx)
}

/// A position has the sum of the gradients of the taps that see it, which may be none.
pub fn backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each(Case::any(), |case| {
        let x = Reference.upload(&case.x())?;
        let sights = check::windows(&x, &case.grids, &case.windows)?;
        let bounds = seen(&Approx::all(&dy(case)), &sights, &case.windows, case.channels);
        for held in [false, true] {
            let dx = back(backend, case, held)?;
            added(backend, "windows_backward", (&bounds, case.windows.taps()), &dx, held)?;
        }
        Ok(())
    })
}

/// The gradient of a grid alone is that which it has among the others.
pub fn backward_is_batch_invariant<B: TrainBackend>(backend: &B) -> Outcome {
    each(Case::any(), |case| {
        let width = case.windows.taps() * case.channels;
        let (dy, whole) = (dy(case), back(backend, case, false)?);
        let whole = whole.map_or(Ok(Vec::new()), |dx| backend.download(&dx))?;
        let (mut rest, mut expected) = (&dy[..], &whole[..]);
        for &grid in &case.grids {
            let windows = case.windows.output(grid).map_or(0, Grid::positions);
            let (own, others) = rest.split_at(windows * width);
            let (own_dx, others_dx) = expected.split_at(grid.positions() * case.channels);
            (rest, expected) = (others, others_dx);
            let (own, mut dx) = (backend.upload(&host(windows, width, own))?, None);
            backend.windows_backward(&own, &[grid], &case.windows, case.channels, &mut dx)?;
            let got = dx.map_or(Ok(Vec::new()), |dx| backend.download(&dx))?;
            bits("the gradient of a grid alone", own_dx, &got)?;
        }
        Ok(())
    })
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    fn flat<B: TrainBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        back(backend, case, true)?.map_or(Ok(Vec::new()), |dx| backend.download(&dx))
    }
    let same = |case: &Case| bits("windows_backward", &flat(a, case)?, &flat(b, case)?);
    let windows = Windows::line(3, 2, 1);
    same(&Case { grids: vec![Grid::line(700), Grid::line(90)], channels: 200, windows, seed: 1 })?;
    each(Case::any(), same)
}
