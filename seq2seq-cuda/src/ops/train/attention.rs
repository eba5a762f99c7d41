//! Attention forward with dropout, and back.

use super::add;
use crate::kernels::angles::Angles;
use crate::kernels::attention::Extra;
use crate::kernels::attention_along::along;
use crate::kernels::attention_back_plan::{Plan, Seen};
use crate::kernels::attention_back_rows::{Left, Rounded};
use crate::kernels::attention_log_sums::log_sums;
use crate::kernels::attention_rotate::rotate;
use crate::kernels::{attention_back, attention_back_bf16, attention_back_table};
use crate::memory::{Buffer, Tensor};
use crate::ops::attention::{Whole, attend_with, check_width};
use crate::ops::columns::stack_rows;
use crate::ops::cross::cross_attend_trained;
use crate::{Cuda, Memory, RelativeBias};
use seq2seq_core::backend::check;
use seq2seq_core::train::{AttendBackward, CrossBackward, Dropout, Wanted};
use seq2seq_core::{AttentionSpec, HostTensor, Precision, Ragged, Result, Rows};

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

/// A copy of `qkv` whose queries and keys are rotated.
fn rotated(
    cuda: &Cuda,
    qkv: &Tensor,
    (angles, plan): (&Angles, &Plan),
    spec: &AttentionSpec,
) -> Result<Tensor> {
    let mut copy = stack_rows(cuda, &[qkv])?;
    let heads = (spec.heads + spec.kv_heads, spec.head_dim);
    // SAFETY: the angles reach as far as the longest sequence.
    unsafe { rotate(cuda, (angles, false), plan.positions(), heads, &mut copy) }?;
    Ok(copy)
}

/// The kernels of either precision.
#[derive(Clone, Copy)]
enum Back<'a> {
    F32(attention_back::Pass<'a>),
    Bf16(attention_back_bf16::Pass<'a>),
}

impl Back<'_> {
    fn queries(
        &self,
        cuda: &Cuda,
        dq: Option<&mut Tensor>,
        distances: Option<&mut Buffer<f32>>,
    ) -> Result<()> {
        Ok(match self {
            Self::F32(pass) => pass.queries(cuda, dq, distances),
            Self::Bf16(pass) => pass.queries(cuda, dq, distances),
        }?)
    }

    /// Keys from column `keys` of `dkv` on.
    fn keys(&self, cuda: &Cuda, dkv: &mut Tensor, keys: usize) -> Result<()> {
        Ok(match self {
            Self::F32(pass) => pass.keys(cuda, dkv),
            Self::Bf16(pass) => pass.keys(cuda, (dkv, keys)),
        }?)
    }
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
    let y = attend_with(cuda, qkv, rows, spec, bias, extra)?;
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
    let what = (spec, spec.precision);
    let make = || Ok(Plan::new(cuda, &seen, what)?);
    let plan = cuda.plans().back_within.get(cuda, |plan| plan.suits(&seen, what), make)?;
    let angles = spec.rotary.as_ref().map(|rotary| Angles::new(cuda, rotary, rows.longest()));
    let angles = angles.transpose()?;
    let bias = of.bias.map(RelativeBias::bias);
    match spec.precision {
        Precision::F32 => {
            let turned = angles.as_ref().map(|a| rotated(cuda, of.qkv, (a, &plan), spec));
            let turned = turned.transpose()?;
            let x = turned.as_ref().unwrap_or(of.qkv);
            let along = along(cuda, (of.y, of.dy), spec.heads)?;
            let pass = attention_back::Pass {
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
            within(cuda, of, (Back::F32(pass), &plan, angles.as_ref()), (qkv, table))
        }
        Precision::Bf16 => {
            let angles = angles.as_ref();
            let held = Whole::new(cuda, (of.qkv, spec.inner()), rows, spec, angles)?;
            let left = Left { y: of.y, log_sums: of.log_sums, dy: of.dy };
            // SAFETY: the angles reach as far as the longest sequence.
            let rounded =
                unsafe { Rounded::new(cuda, of.qkv, &left, spec, (angles, plan.positions())) }?;
            let pass = attention_back_bf16::Pass {
                rounded: &rounded,
                paged: held.paged(),
                spec,
                plan: &plan,
                bias: bias.as_ref(),
                dropout: of.dropout,
            };
            within(cuda, of, (Back::Bf16(pass), &plan, angles), (qkv, table))
        }
    }
}

/// The gradients that are wanted of an attention within sequences, by the kernels of its precision.
fn within(
    cuda: &Cuda,
    of: &AttendBackward<'_, Tensor, RelativeBias>,
    (back, plan, angles): (Back<'_>, &Plan, Option<&Angles>),
    (qkv, table): (Wanted<'_, Tensor>, Wanted<'_, Tensor>),
) -> Result<()> {
    let spec = of.spec;
    let mut dx = match qkv {
        Some(_) => Some(cuda.tensor(of.qkv.rows(), of.qkv.width())?),
        None => None,
    };
    let mut distances = match table {
        Some(_) => Some(cuda.buffer(plan.distances())?),
        None => None,
    };
    if dx.is_some() || distances.is_some() {
        back.queries(cuda, dx.as_mut(), distances.as_mut())?;
    }
    if let (Some(gradient), Some(mut dx)) = (qkv, dx) {
        back.keys(cuda, &mut dx, spec.inner())?;
        if let Some(angles) = angles {
            let heads = (spec.heads + spec.kv_heads, spec.head_dim);
            // SAFETY: the angles reach as far as the longest sequence.
            unsafe { rotate(cuda, (angles, true), plan.positions(), heads, &mut dx) }?;
        }
        add(cuda, dx, gradient)?;
    }
    if let (Some(gradient), Some(bias), Some(parts)) = (table, of.bias, &distances) {
        let table = super::begun(cuda, gradient, bias.shape())?;
        let spec = bias.spec();
        attention_back_table::table(cuda, (plan, parts), |d| spec.bucket(d), table)?;
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
    let what = (spec, of.memory.precision());
    let make = || Ok(Plan::new(cuda, &seen, what)?);
    let plan = cuda.plans().back_across.get(cuda, |plan| plan.suits(&seen, what), make)?;
    match of.memory.precision() {
        Precision::F32 => {
            let along = along(cuda, (of.y, of.dy), spec.heads)?;
            let pass = attention_back::Pass {
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
            across(cuda, of, Back::F32(pass), (q, kv))
        }
        Precision::Bf16 => {
            let paged = of.memory.paged(of.source_rows, spec)?;
            let left = Left { y: of.y, log_sums: of.log_sums, dy: of.dy };
            // SAFETY: there are no angles.
            let rounded =
                unsafe { Rounded::new(cuda, of.q, &left, spec, (None, plan.positions())) }?;
            let (rounded, dropout) = (&rounded, of.dropout);
            let pass = attention_back_bf16::Pass {
                rounded,
                paged,
                spec,
                plan: &plan,
                bias: None,
                dropout,
            };
            across(cuda, of, Back::Bf16(pass), (q, kv))
        }
    }
}

/// The gradients that are wanted of an attention to a memory, by the kernels of its precision.
fn across(
    cuda: &Cuda,
    of: &CrossBackward<'_, Tensor, Memory>,
    back: Back<'_>,
    (q, kv): (Wanted<'_, Tensor>, Wanted<'_, Tensor>),
) -> Result<()> {
    if let Some(gradient) = q {
        let mut dq = cuda.tensor(of.q.rows(), of.q.width())?;
        back.queries(cuda, Some(&mut dq), None)?;
        add(cuda, dq, gradient)?;
    }
    if let Some(gradient) = kv {
        let mut dkv = cuda.tensor(of.kv.rows(), of.kv.width())?;
        back.keys(cuda, &mut dkv, 0)?;
        add(cuda, dkv, gradient)?;
    }
    Ok(())
}
