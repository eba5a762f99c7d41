//! LayerNorm and RMSNorm.

use super::{Real, Tensor, add_wanted, numbers};
use crate::backend::check;
use crate::reference::norm::Norm;
use crate::train::NormGradients;
use crate::{NormKind, Result, Rows};

/// The gradients of x, of whole runs of M values, of the weight and of the bias, `[M]`.
pub(crate) fn gradients<R: Real>(
    (kind, eps): (NormKind, f32),
    weight: &[R],
    x: &[R],
    dy: &[R],
) -> [Vec<R>; 3] {
    let m = weight.len();
    let mean = |values: &[R]| R::sum(values).over(m);
    let mut dx = Vec::with_capacity(x.len());
    let mut normalised = Vec::with_capacity(x.len());
    for (x, dy) in x.chunks(m).zip(dy.chunks(m)) {
        let centred: Vec<R> = match kind {
            NormKind::Layer => {
                let mean = mean(x);
                x.iter().map(|v| v.minus(mean)).collect()
            }
            NormKind::Rms => x.to_vec(),
        };
        let squares: Vec<R> = centred.iter().map(|d| d.times(*d)).collect();
        let r = mean(&squares).plus(R::exact(eps.into())).rsqrt();
        let hat: Vec<R> = centred.iter().map(|d| d.times(r)).collect();
        let g: Vec<R> = dy.iter().zip(weight).map(|(dy, w)| dy.times(*w)).collect();
        let along = R::dot(g.iter().copied().zip(hat.iter().copied())).over(m);
        let shift = mean(&g);
        dx.extend(g.iter().zip(&hat).map(|(g, hat)| {
            let centred = if kind == NormKind::Layer { g.minus(shift) } else { *g };
            centred.minus(hat.times(along)).times(r)
        }));
        normalised.extend(hat);
    }
    let column =
        |values: &[R], i: usize| -> Vec<R> { values.iter().skip(i).step_by(m).copied().collect() };
    let dweight = |i| R::dot(column(dy, i).into_iter().zip(column(&normalised, i)));
    let dbias = |i| R::sum(&column(dy, i));
    [dx, (0..m).map(dweight).collect(), (0..m).map(dbias).collect()]
}

pub(super) fn backward(
    x: &Tensor,
    norm: &Norm,
    dy: &Tensor,
    wanted: NormGradients<'_, Tensor>,
) -> Result<()> {
    let weight = norm.weight();
    check::norm_backward(x, weight.len(), dy, &wanted)?;
    let (x_numbers, dy) = (numbers::<f64>(x), numbers::<f64>(dy));
    let [dx, dw, db] = gradients(norm.kind(), &f64::all(weight), &x_numbers, &dy);
    add_wanted(wanted.x, x.rows(), x.width(), &dx);
    add_wanted(wanted.weight, 1, weight.len(), &dw);
    add_wanted(wanted.bias, 1, weight.len(), &db);
    Ok(())
}
