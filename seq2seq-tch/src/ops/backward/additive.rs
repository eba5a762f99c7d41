//! Additive attention.

use super::{add_wanted, gradients, leaf, zeros};
use crate::fault::Result;
use crate::ops::additive::{Additive, AdditiveMemory, attend, rows_of, scores};
use crate::tensor::{Shared, indices};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::{AdditiveBackward, AdditiveGradients};
use seq2seq_core::{Ragged, Rows};

/// Takes over another v.
pub(crate) fn renew(held: &mut Additive, v: &Tensor) -> Result<()> {
    check::renew_additive(held.width(), v)?;
    held.v = Shared::new(v.values().f_reshape([-1])?);
    Ok(())
}

pub(crate) fn forward(
    tch: &Tch,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
) -> Result<(Tensor, Tensor)> {
    let longest = memory.rows().longest();
    let mut weights =
        vec![memory.keys().f_new_zeros([0, longest as i64], (tch.kind(), tch.device()))?];
    let y = attend(tch, q, (rows, sources), v, memory, |p| {
        weights.push(p.f_constant_pad_nd([0, longest as i64 - p.size()[1]])?);
        Ok(())
    })?;
    Ok((y, Tensor::new(q.rows(), longest, tch::Tensor::f_cat(&weights, 0)?)?))
}

/// The gradients of one group's scores, `[T, S]`, and of its values, from its probabilities.
fn through_softmax(
    p: &tch::Tensor,
    values: &tch::Tensor,
    dy: &tch::Tensor,
) -> Result<[tch::Tensor; 2]> {
    let dp = dy.f_matmul(&values.f_tr()?)?;
    let along = p.f_mul(&dp)?.f_sum_dim_intlist([1i64].as_slice(), true, None)?;
    Ok([p.f_mul(&dp.f_sub(&along)?)?, p.f_tr()?.f_matmul(dy)?])
}

pub(crate) fn backward(
    tch: &Tch,
    of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
    wanted: AdditiveGradients<'_, Tensor>,
) -> Result<()> {
    let (rows, values) = (of.memory.rows(), of.memory.values());
    let tensor = |x: &tch::Tensor| {
        Tensor::new(x.size()[0] as usize, x.size()[1] as usize, x.shallow_clone())
    };
    let held = [tensor(of.memory.keys())?, tensor(values)?];
    let extent = (rows.sequences(), rows.longest());
    check::additive_attend_backward(of, of.v.width(), (&held[0], &held[1]), extent, &wanted)?;
    let (q, keys) = (leaf(&tch.wide(of.q)?)?, leaf(of.memory.keys())?);
    let v = leaf(&of.v.v.f_to_kind(tch.kind())?)?;
    let (weights, dy) = (tch.wide(of.weights)?, tch.wide(of.dy)?);
    let (mut scored, mut dscored) = (Vec::new(), Vec::new());
    let mut dvalues = values.f_zeros_like()?;
    for (range, &source) in of.rows.ranges().zip(of.sources) {
        let positions = rows.range(source);
        let p = rows_of(&weights, &range)?.f_narrow(1, 0, positions.len() as i64)?;
        let own = rows_of(values, &positions)?;
        let [ds, dvalue] = through_softmax(&p, &own, &rows_of(&dy, &range)?)?;
        let places = indices(positions.clone(), tch.device())?;
        dvalues = dvalues.f_index_add(0, &places, &dvalue)?;
        let s = scores(&rows_of(&q, &range)?, &rows_of(&keys, &positions)?, &v)?;
        scored.push(s.f_flatten(0, -1)?);
        dscored.push(ds.f_flatten(0, -1)?);
    }
    let none = || zeros(tch, 1, 0)?.f_flatten(0, -1).map_err(crate::fault::Fault::from);
    scored.push(none()?);
    dscored.push(none()?);
    let (s, ds) = (tch::Tensor::f_cat(&scored, 0)?, tch::Tensor::f_cat(&dscored, 0)?);
    let found = gradients(&s, &ds, &[&q, &keys, &v])?;
    add_wanted(tch, wanted.q, of.q.shape(), &found[0])?;
    add_wanted(tch, wanted.keys, held[0].shape(), &found[1])?;
    add_wanted(tch, wanted.values, held[1].shape(), &dvalues)?;
    add_wanted(tch, wanted.v, [1, of.v.width()], &found[2])
}
