//! Attention within sequences and to a memory. libtorch computes the forward again and differentiates it; what the forward
//! kept is for backends that do not.

use super::{add_wanted, gradients, leaf};
use crate::fault::Result;
use crate::ops::attention::{RelativeBias, sequences};
use crate::ops::cross::{Groups, Memory, groups};
use crate::tensor::Shared;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::{AttendBackward, CrossBackward, Dropout, Wanted};
use seq2seq_core::{AttentionSpec, Ragged, Rows};

/// Takes over another table of this shape.
pub(crate) fn renew(bias: &mut RelativeBias, table: &Tensor) -> Result<()> {
    check::renew_relative_bias(table, bias.shape())?;
    bias.table = Shared::new(table.values().shallow_clone());
    Ok(())
}

/// Results `[N, H D]` and logarithms `[N, H]` as tensors.
fn kept(
    rows: usize,
    spec: &AttentionSpec,
    [y, log_sums]: [tch::Tensor; 2],
) -> Result<(Tensor, Tensor)> {
    Ok((Tensor::new(rows, spec.inner(), y)?, Tensor::new(rows, spec.heads, log_sums)?))
}

pub(crate) fn attend(
    tch: &Tch,
    qkv: &Tensor,
    rows: &Ragged,
    (spec, bias): (&AttentionSpec, Option<&RelativeBias>),
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    let table = bias.map(|b| b.table.f_to_kind(tch.kind())).transpose()?;
    let bias = bias.zip(table.as_ref());
    kept(qkv.rows(), spec, sequences(tch, &tch.wide(qkv)?, rows, spec, bias, dropout)?)
}

pub(crate) fn attend_backward(
    tch: &Tch,
    of: &AttendBackward<'_, Tensor, RelativeBias>,
    qkv: Wanted<'_, Tensor>,
    table: Wanted<'_, Tensor>,
) -> Result<()> {
    let shape = of.bias.map(RelativeBias::shape);
    check::attend_backward(of, shape, (&qkv, &table))?;
    let x = leaf(&tch.wide(of.qkv)?)?;
    let biases = of.bias.map(|b| leaf(&b.table.f_to_kind(tch.kind())?)).transpose()?;
    let bias = of.bias.zip(biases.as_ref());
    let [y, _] = sequences(tch, &x, of.rows, of.spec, bias, of.dropout)?;
    let leaves: Vec<_> = std::iter::once(&x).chain(&biases).collect();
    let found = gradients(&y, &tch.wide(of.dy)?, &leaves)?;
    add_wanted(tch, qkv, of.qkv.shape(), &found[0])?;
    match (shape, found.get(1)) {
        (Some(shape), Some(found)) => add_wanted(tch, table, shape, found),
        _ => Ok(()),
    }
}

pub(crate) fn cross_attend(
    tch: &Tch,
    q: &Tensor,
    memory: &Memory,
    (rows, sources): (&Ragged, &[usize]),
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    memory.check(q, rows, sources, spec)?;
    let of = Groups { rows, sources, source_rows: memory.rows() };
    let see = |_: &tch::Tensor| Ok(());
    kept(q.rows(), spec, groups(tch, [&tch.wide(q)?, memory.kv()], &of, spec, dropout, see)?)
}

pub(crate) fn cross_attend_backward(
    tch: &Tch,
    of: &CrossBackward<'_, Tensor, Memory>,
    q: Wanted<'_, Tensor>,
    kv: Wanted<'_, Tensor>,
) -> Result<()> {
    check::cross_attend_backward(of, (&q, &kv))?;
    let (queries, held) = (leaf(&tch.wide(of.q)?)?, leaf(&tch.wide(of.kv)?)?);
    let groups_of = Groups { rows: of.rows, sources: of.sources, source_rows: of.source_rows };
    let see = |_: &tch::Tensor| Ok(());
    let [y, _] = groups(tch, [&queries, &held], &groups_of, of.spec, of.dropout, see)?;
    let found = gradients(&y, &tch.wide(of.dy)?, &[&queries, &held])?;
    add_wanted(tch, q, of.q.shape(), &found[0])?;
    add_wanted(tch, kv, of.kv.shape(), &found[1])
}
