//! Wrong calls are refused with the error that the reference gives.

use super::super::{Outcome, fail, host};
use crate::reference::Reference;
use crate::train::{
    Adafactor, AdamW, AdditiveBackward, AdditiveGradients, AttendBackward, Dropout, LinearBackward,
    LinearGradients, Looked, MasterPart, Masters, Muon, NormGradients, RecurBackward, RecurPass,
    RecurrentMasters, Second, Sgd, Smoothing, TrainBackend, TrainEpilogue,
};
use crate::{
    AttentionSpec, Cell, Error, Format, Grid, NormKind, NormSpec, Pool, Precision, Ragged, Result,
    Windows,
};

/// Every wrong call gives the same typed error as on the reference.
pub fn are_those_of_the_reference<B: TrainBackend>(backend: &B) -> Outcome {
    for ((what, expected), (_, got)) in calls(&Reference)?.into_iter().zip(calls(backend)?) {
        match (expected, got) {
            (None, _) => return fail(format!("{what}: the reference accepts it")),
            (expected, got) if expected != got => {
                return fail(format!("{what}: {got:?}, expected {expected:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}

type Calls = Vec<(&'static str, Option<Error>)>;

fn calls<B: TrainBackend>(b: &B) -> Result<Calls> {
    let mut calls = Vec::new();
    layers(b, &mut calls)?;
    rows(b, &mut calls)?;
    attentions(b, &mut calls)?;
    recurrences(b, &mut calls)?;
    convolutions(b, &mut calls)?;
    additives(b, &mut calls)?;
    steps(b, &mut calls)?;
    Ok(calls)
}

fn tensor<B: TrainBackend>(b: &B, rows: usize, width: usize) -> Result<B::Tensor> {
    b.upload(&host(rows, width, &vec![0.25; rows * width]))
}

fn layers<B: TrainBackend>(b: &B, calls: &mut Calls) -> Result<()> {
    let (weight, other) = (tensor(b, 3, 4)?, tensor(b, 2, 4)?);
    let masters = |weight| {
        let parts = vec![MasterPart { weight, bias: None, transposed: false }];
        Masters { parts, gated: false, scale: 1.0 }
    };
    for format in [Format::F16, Format::Int8, Format::Int4] {
        calls.push(("a format of inference", b.pack_masters(&masters(&weight), format).err()));
    }
    let mut layer = b.pack_masters(&masters(&weight), Format::F32)?;
    calls.push(("another shape", b.repack(&mut layer, &masters(&other)).err()));
    let infinite = b.upload(&host(3, 4, &[f32::INFINITY; 12]))?;
    calls.push(("infinite weights", b.repack(&mut layer, &masters(&infinite)).err()));
    let layer = b.pack_masters(&masters(&weight), Format::F32)?;
    let x = tensor(b, 2, 4)?;
    let dropout = Some(Dropout { rate: 1.0, seed: 0, step: 0, place: 0 });
    let epilogue = TrainEpilogue { activation: None, dropout, residual: None };
    calls.push(("a rate of 1", b.linear_forward(&x, &layer, &epilogue, true).err()));
    let epilogue = TrainEpilogue { dropout: None, residual: Some(&x), ..epilogue };
    calls.push(("a residual", b.linear_forward(&x, &layer, &epilogue, true).err()));
    let mut backward = |what, dy: &B::Tensor, activation, mut dx: Option<B::Tensor>, parts| {
        let of = LinearBackward { x: &x, sums: None, activation, dropout: None, dy };
        let gradients = LinearGradients { x: Some(&mut dx), parts };
        calls.push((what, b.linear_backward(&layer, &of, gradients).err()));
    };
    let (good, bad) = (tensor(b, 2, 3)?, tensor(b, 2, 4)?);
    let none = || vec![[None, None]];
    backward("the width of dy", &bad, None, None, none());
    backward("sums that are not there", &good, Some(crate::Activation::Relu), None, none());
    backward("the shape of dx", &good, None, Some(tensor(b, 2, 3)?), none());
    backward("parts", &good, None, None, Vec::new());
    let mut held = Some(tensor(b, 4, 3)?);
    backward("the shape of dW", &good, None, None, vec![[Some(&mut held), None]]);
    Ok(())
}

fn rows<B: TrainBackend>(b: &B, calls: &mut Calls) -> Result<()> {
    let dy = tensor(b, 2, 3)?;
    let looked = |ids| Looked { ids, scale: 1.0, table_rows: 2 };
    calls.push(("an id", b.embed_backward(looked(&[0, 2]), &dy, &mut None).err()));
    calls.push(("ids", b.embed_backward(looked(&[0]), &dy, &mut None).err()));
    let mut table = Some(tensor(b, 3, 3)?);
    calls.push(("a table", b.embed_backward(looked(&[0, 1]), &dy, &mut table).err()));
    calls.push(("a row", b.gather_rows_backward(&dy, &[0, 5], 5, &mut None).err()));
    let empty = Ragged::from_lengths([2, 0]);
    calls.push(("a pool", b.pool_backward(&dy, &empty, Pool::Mean, &mut None).err()));
    calls.push(("an addition", b.add(tensor(b, 2, 4)?, &mut Some(tensor(b, 2, 3)?)).err()));
    let weight = host(1, 3, &[1.0; 3]).reshape(vec![3])?;
    let spec = NormSpec { kind: NormKind::Rms, eps: 0.1, weight, bias: None };
    let mut norm = b.norm_weights(&spec)?;
    let gradients = || NormGradients { x: None, weight: None, bias: None };
    let wide = tensor(b, 2, 4)?;
    calls.push(("the width of x", b.norm_backward(&wide, &norm, &wide, gradients()).err()));
    calls.push(("the width of dy", b.norm_backward(&dy, &norm, &wide, gradients()).err()));
    let row = tensor(b, 1, 3)?;
    calls.push(("a bias of RMSNorm", b.renew_norm(&mut norm, &row, Some(&row)).err()));
    calls.push(("a longer weight", b.renew_norm(&mut norm, &tensor(b, 1, 4)?, None).err()));
    Ok(())
}

fn attentions<B: TrainBackend>(b: &B, calls: &mut Calls) -> Result<()> {
    let spec = AttentionSpec {
        heads: 2,
        kv_heads: 1,
        head_dim: 3,
        scale: 1.0,
        causal: true,
        rotary: None,
        dropout: 0.0,
        precision: Precision::F32,
    };
    let rows = Ragged::from_lengths([2]);
    let (qkv, y, log_sums) = (tensor(b, 2, 12)?, tensor(b, 2, 6)?, tensor(b, 2, 2)?);
    let mut backward = |what, qkv, log_sums, dy, table: Option<&mut Option<B::Tensor>>| {
        let (y, rows, spec) = (&y, &rows, &spec);
        let (bias, dropout) = (None, None);
        let of = AttendBackward { qkv, y, log_sums, rows, spec, bias, dropout, dy };
        calls.push((what, b.attend_backward(&of, Some(&mut None), table).err()));
    };
    backward("the width of qkv", &y, &log_sums, &y, None);
    backward("the width of dy", &qkv, &log_sums, &qkv, None);
    backward("the logarithms", &qkv, &y, &y, None);
    backward("a table without a bias", &qkv, &log_sums, &y, Some(&mut None));
    Ok(())
}

fn convolutions<B: TrainBackend>(b: &B, calls: &mut Calls) -> Result<()> {
    let (windows, dy) = (Windows::line(2, 1, 0), tensor(b, 3, 4)?);
    let mut backward = |what, grids: &[Grid], windows: &Windows, channels, mut dx| {
        calls.push((what, b.windows_backward(&dy, grids, windows, channels, &mut dx).err()));
    };
    backward("rows of windows", &[Grid::line(3)], &windows, 2, None);
    backward("channels of windows", &[Grid::line(4)], &windows, 3, None);
    backward("a window too wide", &[Grid::line(1)], &windows, 2, None);
    backward("windows that stay", &[Grid::line(4)], &Windows::line(2, 0, 0), 2, None);
    backward("dx of windows", &[Grid::line(4)], &windows, 2, Some(tensor(b, 4, 1)?));
    Ok(())
}

fn recurrences<B: TrainBackend>(b: &B, calls: &mut Calls) -> Result<()> {
    let (u, bias) = (tensor(b, 8, 2)?, tensor(b, 1, 8)?);
    let masters = |weight, bias, transposed| RecurrentMasters {
        cell: Cell::Lstm,
        directions: vec![MasterPart { weight, bias, transposed }],
    };
    let good = masters(&u, Some(&bias), false);
    let mut layer = b.pack_recurrent(&good, Format::F32)?;
    calls.push(("recurrent int8", b.pack_recurrent(&good, Format::Int8).err()));
    let turned = masters(&u, None, true);
    calls.push(("recurrent, turned", b.pack_recurrent(&turned, Format::F32).err()));
    let other = tensor(b, 4, 1)?;
    let other = masters(&other, None, false);
    calls.push(("another recurrent shape", b.repack_recurrent(&mut layer, &other).err()));
    let column = tensor(b, 8, 1)?;
    let column = masters(&u, Some(&column), false);
    calls.push(("a bias that is no row", b.repack_recurrent(&mut layer, &column).err()));
    let rows = Ragged::from_lengths([2, 1]);
    let (y, kept, du, state) =
        (tensor(b, 3, 2)?, tensor(b, 3, 10)?, tensor(b, 3, 8)?, tensor(b, 2, 4)?);
    calls.push(("the projected input", b.recur_forward(&y, &rows, &layer, None, true).err()));
    let mut backward = |what, state, kept, dy, dend, mut dx: Option<B::Tensor>| {
        let of = RecurBackward { rows: &rows, state, y: &y, kept, dy, dend };
        calls.push((what, b.recur_backward(&layer, &of, Some(&mut dx), None).err()));
    };
    backward("the first state", Some(&y), &kept, None, None, None);
    backward("what was kept", Some(&state), &du, None, None, None);
    backward("dy of a recurrence", None, &kept, Some(&du), None, None);
    backward("dend", None, &kept, Some(&y), Some(&y), None);
    backward("dx of a recurrence", None, &kept, Some(&y), Some(&state), Some(tensor(b, 3, 2)?));
    let pass = |du| [RecurPass { rows: &rows, state: Some(&state), y: &y, du }];
    let mut weights = |what, du, wanted| {
        calls.push((what, b.recur_weights_backward(&layer, &pass(du), wanted).err()));
    };
    weights("du", &y, vec![[None, None]]);
    weights("directions", &du, Vec::new());
    let mut held = Some(tensor(b, 2, 8)?);
    weights("dU", &du, vec![[Some(&mut held), None]]);
    Ok(())
}

fn additives<B: TrainBackend>(b: &B, calls: &mut Calls) -> Result<()> {
    let dy = tensor(b, 2, 3)?;
    let mut columns = |what, from, part, mut held: Option<B::Tensor>| {
        calls.push((what, b.columns_backward(&dy, from, part, &mut held).err()));
    };
    columns("columns of a part", 0, (2, 1..3), None);
    columns("columns of dy", 2, (2, 0..2), None);
    columns("the gradient of a part", 0, (2, 0..2), Some(tensor(b, 2, 3)?));
    calls.push(("rows of dy", b.stack_rows_backward(&dy, 1..3, &mut None).err()));
    let mut held = Some(tensor(b, 2, 3)?);
    calls.push(("rows of a part", b.stack_rows_backward(&dy, 1..2, &mut held).err()));
    let v = host(1, 4, &[0.5; 4]).reshape(vec![4])?;
    let mut v = b.additive(&v)?;
    calls.push(("a longer v", b.renew_additive(&mut v, &tensor(b, 1, 5)?).err()));
    let source_rows = Ragged::from_lengths([3, 2]);
    let memory = b.additive_memory(&tensor(b, 5, 4)?, &tensor(b, 5, 3)?, &source_rows)?;
    let rows = Ragged::from_lengths([1, 1]);
    let (q, weights) = (tensor(b, 2, 4)?, tensor(b, 2, 3)?);
    let forward = |sources: &[usize]| b.additive_attend_forward(&q, &rows, &v, &memory, sources);
    calls.push(("a source", forward(&[0, 2]).err()));
    let mut backward = |what, q, weights, dy, mut dkeys: Option<B::Tensor>| {
        let (v, memory, sources) = (&v, &memory, &[1, 0][..]);
        let of = AdditiveBackward { q, weights, rows: &rows, v, memory, sources, dy };
        let keys = Some(&mut dkeys);
        let gradients = AdditiveGradients { q: None, keys, values: None, v: None };
        calls.push((what, b.additive_attend_backward(&of, gradients).err()));
    };
    backward("queries", &dy, &weights, &dy, None);
    backward("additive weights", &q, &q, &dy, None);
    backward("dy of additive attention", &q, &weights, &q, None);
    backward("dkeys", &q, &weights, &dy, Some(tensor(b, 2, 4)?));
    Ok(())
}

fn steps<B: TrainBackend>(b: &B, calls: &mut Calls) -> Result<()> {
    let logits = tensor(b, 2, 3)?;
    let mut loss = |what, targets: &[Option<u32>], smoothing| {
        calls.push((what, b.cross_entropy(&logits, targets, smoothing).err()));
    };
    loss("targets", &[None], Smoothing::None);
    loss("a target", &[None, Some(3)], Smoothing::None);
    loss("smoothing", &[None, Some(1)], Smoothing::Uniform(1.5));
    let rate = f32::NAN;
    let dropout = Dropout { rate, seed: 0, step: 0, place: 0 };
    calls.push(("a rate", b.apply_dropout(&logits, dropout).err()));
    let (mut p, wide) = (tensor(b, 2, 3)?, tensor(b, 2, 4)?);
    let mut moments = [tensor(b, 2, 3)?, tensor(b, 2, 4)?];
    let adamw = AdamW::default();
    calls.push(("a gradient", b.adamw(&adamw, &mut p, &wide, &mut moments).err()));
    calls.push(("a moment", b.adamw(&adamw, &mut p, &logits, &mut moments).err()));
    let sgd = Sgd { rate: 0.1, momentum: 0.9, decay: 0.0, gradient_scale: 1.0 };
    calls.push(("a velocity", b.sgd(&sgd, &mut p, &logits, &mut Some(wide)).err()));
    let mut second = Second::Full(tensor(b, 3, 2)?);
    let adafactor = Adafactor::default();
    calls.push(("a second moment", b.adafactor(&adafactor, &mut p, &logits, &mut second).err()));
    let (muon, mut wide) = (Muon::default(), tensor(b, 2, 4)?);
    calls.push(("a momentum", b.muon(&muon, &mut p, &logits, &mut wide).err()));
    let (muon, mut momentum) = (Muon { format: Format::Int8, ..muon }, tensor(b, 2, 3)?);
    calls.push(("products in int8", b.muon(&muon, &mut p, &logits, &mut momentum).err()));
    Ok(())
}
