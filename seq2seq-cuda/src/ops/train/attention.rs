//! Attention forward with dropout, and back.

use super::add;
use crate::kernels::angles::Angles;
use crate::kernels::attention::Extra;
use crate::kernels::attention_along::along;
use crate::kernels::attention_back::Pass;
use crate::kernels::attention_back_plan::{Plan, Seen};
use crate::kernels::attention_back_table;
use crate::kernels::attention_log_sums::log_sums;
use crate::kernels::attention_rotate::rotate;
use crate::memory::Tensor;
use crate::ops::attention::{attend_with, check_width};
use crate::ops::columns::stack_rows;
use crate::ops::cross::cross_attend_trained;
use crate::{Cuda, Memory, RelativeBias};
use seq2seq_core::backend::check;
use seq2seq_core::train::{AttendBackward, CrossBackward, Dropout, Wanted};
use seq2seq_core::{AttentionSpec, HostTensor, Ragged, Result, Rows};

/// Takes over a table that has changed.
pub(crate) fn renew_relative_bias(
    cuda: &Cuda,
    bias: &mut RelativeBias,
    table: &Tensor,
) -> Result<()> {
    check::renew_relative_bias(table, bias.shape())?;
    let shape = vec![table.rows(), table.width()];
    let host = HostTensor::from_f32(shape, &table.values().download()?)?;
    *bias = RelativeBias::new(cuda, &host, bias.spec())?;
    Ok(())
}

/// A copy of `qkv` whose queries and keys are rotated; and the angles.
fn rotated(
    cuda: &Cuda,
    qkv: &Tensor,
    (rows, plan): (&Ragged, &Plan),
    spec: &AttentionSpec,
) -> Result<Option<(Tensor, Angles)>> {
    let Some(rotary) = &spec.rotary else { return Ok(None) };
    let angles = Angles::new(cuda, rotary, rows.longest())?;
    let mut copy = stack_rows(cuda, &[qkv])?;
    let heads = (spec.heads + spec.kv_heads, spec.head_dim);
    // SAFETY: the angles reach as far as the longest sequence.
    unsafe { rotate(cuda, (&angles, false), plan.positions(), heads, &mut copy) }?;
    Ok(Some((copy, angles)))
}

pub(crate) fn attend_forward(
    cuda: &Cuda,
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    let mut stats = cuda.buffer(qkv.rows() * spec.heads)?;
    let extra = Extra { stats: Some(&mut stats), scores: None, dropout };
    let y = attend_with(cuda, qkv, rows, &spec.trained(), bias, extra)?;
    Ok((y, log_sums(cuda, &stats, spec.heads)?))
}

pub(crate) fn attend_backward(
    cuda: &Cuda,
    of: &AttendBackward<'_, Tensor, RelativeBias>,
    qkv: Wanted<'_, Tensor>,
    table: Wanted<'_, Tensor>,
) -> Result<()> {
    check::attend_backward(of, of.bias.map(RelativeBias::shape), (&qkv, &table))?;
    let (spec, rows) = (of.spec, of.rows);
    check_width(spec.head_dim)?;
    let seen = Seen::Within { rows: rows.clone(), causal: spec.causal };
    let make = || Ok(Plan::new(cuda, &seen, spec)?);
    let plan = cuda.plans().back_within.get(cuda, |plan| plan.suits(&seen, spec), make)?;
    let turned = rotated(cuda, of.qkv, (rows, &plan), spec)?;
    let x = turned.as_ref().map_or(of.qkv, |(x, _)| x);
    let along = along(cuda, (of.y, of.dy), spec.heads)?;
    let bias = of.bias.map(RelativeBias::bias);
    let pass = Pass {
        q: x,
        kv: x,
        keys: spec.inner(),
        dy: of.dy,
        log_sums: of.log_sums,
        along: &along,
        spec,
        plan: &plan,
        bias: bias.as_ref(),
        dropout: of.dropout,
    };
    let mut dx = match qkv {
        Some(_) => Some(cuda.tensor(x.rows(), x.width())?),
        None => None,
    };
    let mut distances = match table {
        Some(_) => Some(cuda.buffer(plan.distances())?),
        None => None,
    };
    if dx.is_some() || distances.is_some() {
        pass.queries(cuda, dx.as_mut(), distances.as_mut())?;
    }
    if let (Some(gradient), Some(mut dx)) = (qkv, dx) {
        pass.keys(cuda, &mut dx)?;
        if let Some((_, angles)) = &turned {
            let heads = (spec.heads + spec.kv_heads, spec.head_dim);
            // SAFETY: the angles reach as far as the longest sequence.
            unsafe { rotate(cuda, (angles, true), plan.positions(), heads, &mut dx) }?;
        }
        add(cuda, dx, gradient)?;
    }
    if let (Some(gradient), Some(bias), Some(parts)) = (table, of.bias, &distances) {
        let table = super::begun(cuda, gradient, bias.shape())?;
        let spec = bias.spec();
        attention_back_table::table(cuda, (&plan, parts), |d| spec.bucket(d), table)?;
    }
    Ok(())
}

pub(crate) fn cross_attend_forward(
    cuda: &Cuda,
    q: (&Tensor, &Ragged),
    memory: (&Memory, &[usize]),
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    let (y, stats) = cross_attend_trained(cuda, q, memory, spec, dropout)?;
    Ok((y, log_sums(cuda, &stats, spec.heads)?))
}

pub(crate) fn cross_attend_backward(
    cuda: &Cuda,
    of: &CrossBackward<'_, Tensor, Memory>,
    q: Wanted<'_, Tensor>,
    kv: Wanted<'_, Tensor>,
) -> Result<()> {
    check::cross_attend_backward(of, (&q, &kv))?;
    let spec = of.spec;
    check_width(spec.head_dim)?;
    let (rows, source_rows) = (of.rows.clone(), of.source_rows.clone());
    let seen = Seen::Across { rows, sources: of.sources.to_vec(), source_rows };
    let make = || Ok(Plan::new(cuda, &seen, spec)?);
    let plan = cuda.plans().back_across.get(cuda, |plan| plan.suits(&seen, spec), make)?;
    let along = along(cuda, (of.y, of.dy), spec.heads)?;
    let pass = Pass {
        q: of.q,
        kv: of.kv,
        keys: 0,
        dy: of.dy,
        log_sums: of.log_sums,
        along: &along,
        spec,
        plan: &plan,
        bias: None,
        dropout: of.dropout,
    };
    if let Some(gradient) = q {
        let mut dq = cuda.tensor(of.q.rows(), of.q.width())?;
        pass.queries(cuda, Some(&mut dq), None)?;
        add(cuda, dq, gradient)?;
    }
    if let Some(gradient) = kv {
        let mut dkv = cuda.tensor(of.kv.rows(), of.kv.width())?;
        pass.keys(cuda, &mut dkv)?;
        add(cuda, dkv, gradient)?;
    }
    Ok(())
}
