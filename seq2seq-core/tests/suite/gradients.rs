//! The reference's backwards against central differences, in f64, of forwards that are written here once more.
//!
//! `forward.rs` is held to the reference's forwards first. Then for a random gradient dy of the result, the slope of
//! Σ dy y along each operand must be what the backward gives.

mod forward;
mod recurrent;
mod windows;

use forward::{Attention, Layer};
use seq2seq_core::conformance::values::{Profile, Random, values};
use seq2seq_core::reference::{Reference, Tensor};
use seq2seq_core::train::{
    AttendBackward, CrossBackward, Dropout, LinearBackward, LinearGradients, Looked, MasterPart,
    Masters, NormGradients, Smoothing, TrainBackend, TrainEpilogue,
};
use seq2seq_core::*;

/// Of the largest: f32 results of f64 sums, and differences good to nine digits.
const TOLERANCE: f64 = 1e-6;

const ACTIVATIONS: [Option<Activation>; 7] = [
    None,
    Some(Activation::Relu),
    Some(Activation::Gelu),
    Some(Activation::GeluTanh),
    Some(Activation::QuickGelu),
    Some(Activation::Silu),
    Some(Activation::Tanh),
];

const DROPOUT: Dropout = Dropout { rate: 0.4, seed: 3, step: 9, place: 2 };

fn normal(seed: u64, n: usize) -> Vec<f32> {
    values(Profile::Normal, seed, n)
}

fn tensor(rows: usize, width: usize, values: &[f32]) -> Tensor {
    Reference.upload(&HostTensor::from_f32(vec![rows, width], values).unwrap()).unwrap()
}

fn download(x: &Tensor) -> Vec<f32> {
    Reference.download(x).unwrap()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v.into()).collect()
}

/// As far as the largest of `want` allows.
fn close(what: &str, want: &[f64], got: &[f32]) {
    assert_eq!(want.len(), got.len(), "{what}");
    let largest = want.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    for (i, (w, &g)) in want.iter().zip(got).enumerate() {
        let error = (w - f64::from(g)).abs();
        assert!(error <= TOLERANCE * largest, "{what}: value {i} is {g}, expected {w}");
    }
}

/// The slopes of Σ dy f(x) along each of x.
fn slopes(x: &[f32], dy: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut x = wide(x);
    let sum = |y: Vec<f64>| -> f64 { y.iter().zip(dy).map(|(y, &dy)| y * f64::from(dy)).sum() };
    (0..x.len())
        .map(|i| {
            let (at, h) = (x[i], 1e-5);
            x[i] = at + h;
            let above = sum(f(&x));
            x[i] = at - h;
            let below = sum(f(&x));
            x[i] = at;
            (above - below) / (2.0 * h)
        })
        .collect()
}

/// A gradient that is added to what was there.
fn added(what: &str, before: f32, want: &[f64], got: &Option<Tensor>) {
    let got = download(got.as_ref().expect(what));
    let want: Vec<f64> = want.iter().map(|w| w + f64::from(before)).collect();
    close(what, &want, &got);
}

fn linear_case(layer: &Layer, rows: usize, seed: u64) {
    let (product, out) = (layer.product(), layer.output());
    let x = normal(seed, rows * layer.input);
    let dy = normal(seed + 1, rows * out);
    let residual = normal(seed + 2, rows * out);
    let weights: Vec<Vec<f32>> =
        layer.outputs.iter().map(|&o| normal(seed + 3 + o as u64, o * layer.input)).collect();
    let bias = normal(seed + 40, product);
    let flat: Vec<f32> = weights.concat();
    let name = format!("{layer:?}");

    let tensors: Vec<(Tensor, Tensor)> = {
        let mut from = 0;
        let part = |(i, w): (usize, &Vec<f32>)| {
            let (o, k) = (layer.outputs[i], layer.input);
            let bias = tensor(1, o, &bias[from..from + o]);
            from += o;
            match layer.transposed(i) {
                false => (tensor(o, k, w), bias),
                true => (tensor(k, o, &forward::transpose(w, k)), bias),
            }
        };
        weights.iter().enumerate().map(part).collect()
    };
    let part = |(i, (weight, bias))| MasterPart {
        weight,
        bias: Some(bias),
        transposed: layer.transposed(i),
    };
    let masters = Masters {
        parts: tensors.iter().map(|(w, b)| (w, b)).enumerate().map(part).collect(),
        gated: layer.gated,
        scale: layer.scale,
    };
    let packed = Reference.pack_masters(&masters, Format::F32).unwrap();
    let (x_t, dy_t, residual_t) =
        (tensor(rows, layer.input, &x), tensor(rows, out, &dy), tensor(rows, out, &residual));
    let epilogue = TrainEpilogue {
        activation: layer.activation,
        dropout: layer.dropout,
        residual: Some(&residual_t),
    };
    let (y, sums) = Reference.linear_forward(&x_t, &packed, &epilogue, true).unwrap();
    let run = |x: &[f64], w: &[f64], b: &[f64]| layer.forward(x, w, b, &wide(&residual));
    let (xw, ww, bw) = (wide(&x), wide(&flat), wide(&bias));
    close(&format!("{name} forward"), &run(&xw, &ww, &bw), &download(&y));

    let before = 0.5;
    let mut dx = Some(tensor(rows, layer.input, &vec![before; x.len()]));
    let mut dparts: Vec<[Option<Tensor>; 2]> = layer.outputs.iter().map(|_| [None, None]).collect();
    let of = LinearBackward {
        x: &x_t,
        sums: sums.as_ref(),
        activation: layer.activation,
        dropout: layer.dropout,
        dy: &dy_t,
    };
    let parts = dparts.iter_mut().map(|p| p.each_mut().map(Some)).collect();
    let gradients = LinearGradients { x: Some(&mut dx), parts };
    Reference.linear_backward(&packed, &of, gradients).unwrap();
    added(&format!("{name} dx"), before, &slopes(&x, &dy, |x| run(x, &ww, &bw)), &dx);
    let dw = slopes(&flat, &dy, |w| run(&xw, w, &bw));
    let db = slopes(&bias, &dy, |b| run(&xw, &ww, b));
    let (mut w_at, mut b_at) = (0, 0);
    for (i, [weight, bias]) in dparts.iter().enumerate() {
        let (o, k) = (layer.outputs[i], layer.input);
        let of_part = &dw[w_at..w_at + o * k];
        let want =
            if layer.transposed(i) { forward::transpose(of_part, k) } else { of_part.to_vec() };
        added(&format!("{name} dW of part {i}"), 0.0, &want, weight);
        added(&format!("{name} db of part {i}"), 0.0, &db[b_at..b_at + o], bias);
        (w_at, b_at) = (w_at + o * k, b_at + o);
    }
}

#[test]
fn linear_layers() {
    for (i, activation) in ACTIVATIONS.into_iter().enumerate() {
        for gated in [false, true] {
            for dropout in [None, Some(DROPOUT)] {
                let outputs = if gated { vec![3, 3] } else { vec![2, 3, 1] };
                let layer = Layer { input: 5, outputs, gated, scale: 0.7, activation, dropout };
                linear_case(&layer, 4, 10 * i as u64);
            }
        }
    }
}

#[test]
fn bf16_layers_round_their_operands() {
    let round =
        |v: &[f32]| -> Vec<f32> { v.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect() };
    let (x, w, dy) = (normal(1, 12), normal(2, 8), normal(3, 6));
    let run = |format, x: &[f32], w: &[f32], dy: &[f32]| {
        let weight = tensor(2, 4, w);
        let parts = vec![MasterPart { weight: &weight, bias: None, transposed: false }];
        let masters = Masters { parts, gated: false, scale: 1.5 };
        let layer = Reference.pack_masters(&masters, format).unwrap();
        let (x, dy) = (tensor(3, 4, x), tensor(3, 2, dy));
        let of = LinearBackward { x: &x, sums: None, activation: None, dropout: None, dy: &dy };
        let [mut dx, mut dw, mut db] = [None, None, None];
        let parts = vec![[Some(&mut dw), Some(&mut db)]];
        let gradients = LinearGradients { x: Some(&mut dx), parts };
        Reference.linear_backward(&layer, &of, gradients).unwrap();
        [dx, dw, db].map(|g| download(&g.unwrap()))
    };
    let got = run(Format::Bf16, &x, &w, &dy);
    let rounded = run(Format::F32, &round(&x), &round(&w), &round(&dy));
    let exact = run(Format::F32, &x, &w, &dy);
    assert_eq!(got[..2], rounded[..2]);
    assert_eq!(got[2], exact[2], "the bias sums what is not rounded");
    assert_ne!(got[1], exact[1]);
}

#[test]
fn norms() {
    for (kind, eps) in [(NormKind::Layer, 1e-5), (NormKind::Rms, 1e-6), (NormKind::Layer, 0.3)] {
        for width in [1, 2, 7, 12] {
            let (x, weight, dy) = (normal(1, 3 * width), normal(2, width), normal(3, 3 * width));
            let bias = normal(4, width);
            let layer = kind == NormKind::Layer;
            let vector = |v: &[f32]| HostTensor::from_f32(vec![width], v).unwrap();
            let bias_of = layer.then(|| vector(&bias));
            let spec = NormSpec { kind, eps, weight: vector(&weight), bias: bias_of };
            let norm = Reference.norm_weights(&spec).unwrap();
            let (x_t, dy_t) = (tensor(3, width, &x), tensor(3, width, &dy));
            let [mut dx, mut dw, mut db] = [None, None, None];
            let gradients = NormGradients {
                x: Some(&mut dx),
                weight: Some(&mut dw),
                bias: layer.then_some(&mut db),
            };
            Reference.norm_backward(&x_t, &norm, &dy_t, gradients).unwrap();
            let (xw, ww, bw) = (wide(&x), wide(&weight), wide(&bias));
            let run = |x: &[f64], w: &[f64], b: &[f64]| {
                forward::norm(kind, eps.into(), x, w, layer.then_some(b))
            };
            let y = Reference.norm(&x_t, &norm).unwrap();
            let name = format!("{kind:?} {width}");
            close(&name, &run(&xw, &ww, &bw), &download(&y));
            // Where every row has one column, or eps is all there is, slopes are zero but for rounding.
            let want = slopes(&x, &dy, |x| run(x, &ww, &bw));
            if width > 2 || kind == NormKind::Rms && width > 1 {
                added(&format!("{name} dx"), 0.0, &want, &dx);
            }
            added(&format!("{name} dw"), 0.0, &slopes(&weight, &dy, |w| run(&xw, w, &bw)), &dw);
            if layer {
                added(&format!("{name} db"), 0.0, &slopes(&bias, &dy, |b| run(&xw, &ww, b)), &db);
            }
        }
    }
}

#[test]
fn lookups() {
    let (table, dy) = (normal(1, 5 * 3), normal(2, 6 * 3));
    let (ids, types) = ([4, 0, 4, 2, 2, 4], [1, 1, 0, 0, 1, 0]);
    let second = normal(3, 2 * 3);
    let (first_t, second_t) = (tensor(5, 3, &table), tensor(2, 3, &second));
    let lookups = [
        Lookup { table: &first_t, ids: &ids, scale: 1.7 },
        Lookup { table: &second_t, ids: &types, scale: 1.0 },
    ];
    let run = |first: &[f64], second: &[f64]| -> Vec<f64> {
        let row = |(&id, &t): (&u32, &u32)| {
            let (id, t) = (id as usize * 3, t as usize * 3);
            (0..3).map(|i| f64::from(1.7f32) * first[id + i] + second[t + i]).collect::<Vec<_>>()
        };
        ids.iter().zip(&types).flat_map(row).collect()
    };
    let (first_w, second_w) = (wide(&table), wide(&second));
    let y = Reference.embed_masters(&lookups).unwrap();
    close("embed", &run(&first_w, &second_w), &download(&y));
    let dy_t = tensor(6, 3, &dy);
    let [mut first, mut other] = [None, None];
    let looked = Looked { ids: &ids, scale: 1.7, table_rows: 5 };
    Reference.embed_backward(looked, &dy_t, &mut first).unwrap();
    let looked = Looked { ids: &types, scale: 1.0, table_rows: 2 };
    Reference.embed_backward(looked, &dy_t, &mut other).unwrap();
    added("first table", 0.0, &slopes(&table, &dy, |t| run(t, &second_w)), &first);
    added("second table", 0.0, &slopes(&second, &dy, |t| run(&first_w, t)), &other);
}

#[test]
fn rows_and_pools() {
    let rows = Ragged::from_lengths([3, 1, 2]);
    let x = normal(1, 6 * 4);
    for pool in [Pool::First, Pool::Mean, Pool::Last] {
        let dy = normal(2, 3 * 4);
        let run = |x: &[f64]| forward::pool(x, 4, &rows, pool);
        let y = Reference.pool(&tensor(6, 4, &x), &rows, pool).unwrap();
        close("pool", &run(&wide(&x)), &download(&y));
        let mut dx = Some(tensor(6, 4, &[0.25; 24]));
        Reference.pool_backward(&tensor(3, 4, &dy), &rows, pool, &mut dx).unwrap();
        added(&format!("{pool:?}"), 0.25, &slopes(&x, &dy, run), &dx);
    }
    let chosen = [5, 0, 5, 2, 5];
    let dy = normal(3, 5 * 4);
    let run = |x: &[f64]| chosen.iter().flat_map(|&r| x[r * 4..(r + 1) * 4].to_vec()).collect();
    let mut dx = None;
    Reference.gather_rows_backward(&tensor(5, 4, &dy), &chosen, 6, &mut dx).unwrap();
    added("gather_rows", 0.0, &slopes(&x, &dy, run), &dx);
}

fn attention_case(attention: &Attention, lengths: &[usize], seed: u64) {
    let spec = attention.spec();
    let rows = Ragged::from_lengths(lengths.iter().copied());
    let n = rows.rows();
    let (x, dy) = (normal(seed, n * spec.qkv_width()), normal(seed + 1, n * spec.inner()));
    let name = format!("{attention:?} over {lengths:?}");
    let buckets = attention.buckets.map_or(0, |b| b.buckets);
    let table = normal(seed + 2, buckets * spec.heads);
    let host = HostTensor::from_f32(vec![buckets, spec.heads], &table).unwrap();
    let bias = attention.buckets.map(|b| Reference.relative_bias(&host, b).unwrap());
    let run = |x: &[f64], t: &[f64]| attention.within(x, t, &rows);
    let (xw, tw) = (wide(&x), wide(&table));
    let (x_t, dy_t) = (tensor(n, spec.qkv_width(), &x), tensor(n, spec.inner(), &dy));
    let dropout = attention.dropout;
    let (y, log_sums) =
        Reference.attend_forward(&x_t, &rows, &spec, bias.as_ref(), dropout).unwrap();
    close(&name, &run(&xw, &tw), &download(&y));
    if dropout.is_none() {
        assert_eq!(y, Reference.attend(&x_t, &rows, &spec, bias.as_ref()).unwrap());
    }
    let of = AttendBackward {
        qkv: &x_t,
        y: &y,
        log_sums: &log_sums,
        rows: &rows,
        spec: &spec,
        bias: bias.as_ref(),
        dropout,
        dy: &dy_t,
    };
    let [mut dx, mut dtable] = [None, None];
    let table_of = bias.is_some().then_some(&mut dtable);
    Reference.attend_backward(&of, Some(&mut dx), table_of).unwrap();
    added(&format!("{name} dqkv"), 0.0, &slopes(&x, &dy, |x| run(x, &tw)), &dx);
    if bias.is_some() {
        added(&format!("{name} dtable"), 0.0, &slopes(&table, &dy, |t| run(&xw, t)), &dtable);
    }
}

#[test]
fn attention_within_sequences() {
    let buckets = |bidirectional| Some(BucketSpec { buckets: 4, max_distance: 5, bidirectional });
    let mut random = Random::new(5);
    for (heads, kv_heads, head_dim) in [(1, 1, 3), (2, 2, 4), (4, 2, 5), (3, 1, 2)] {
        for causal in [false, true] {
            for (rotary, buckets) in
                [(None, None), (Some(1.0), None), (Some(1.2), None), (None, buckets(!causal))]
            {
                for dropout in [None, Some(DROPOUT)] {
                    let attention =
                        Attention { heads, kv_heads, head_dim, causal, rotary, buckets, dropout };
                    attention_case(&attention, &[3, 0, 1, 5], random.below(1000) as u64);
                }
            }
        }
    }
}

#[test]
fn attention_to_a_memory() {
    for (heads, kv_heads, dropout) in [(2, 2, None), (4, 2, None), (3, 1, Some(DROPOUT))] {
        let attention = Attention {
            heads,
            kv_heads,
            head_dim: 3,
            causal: false,
            rotary: None,
            buckets: None,
            dropout,
        };
        let spec = attention.spec();
        let (rows, source_rows) =
            (Ragged::from_lengths([2, 0, 3, 1, 1]), Ragged::from_lengths([4, 0, 2]));
        // One source is read by two groups, one is empty.
        let sources = [2, 0, 0, 1, 2];
        let (n, s) = (rows.rows(), source_rows.rows());
        let (q, kv) = (normal(1, n * spec.inner()), normal(2, s * 2 * spec.kv_width()));
        let dy = normal(3, n * spec.inner());
        let run = |q: &[f64], kv: &[f64]| attention.across(q, &rows, kv, &source_rows, &sources);
        let (qw, kvw) = (wide(&q), wide(&kv));
        let (q_t, dy_t) = (tensor(n, spec.inner(), &q), tensor(n, spec.inner(), &dy));
        let kv_t = tensor(s, 2 * spec.kv_width(), &kv);
        let memory = Reference.memory(&kv_t, &source_rows, &spec).unwrap();
        let forward =
            Reference.cross_attend_forward(&q_t, &rows, &memory, &sources, &spec, dropout);
        let (y, log_sums) = forward.unwrap();
        close("cross_attend", &run(&qw, &kvw), &download(&y));
        let of = CrossBackward {
            q: &q_t,
            y: &y,
            log_sums: &log_sums,
            rows: &rows,
            kv: &kv_t,
            source_rows: &source_rows,
            memory: &memory,
            sources: &sources,
            spec: &spec,
            dropout,
            dy: &dy_t,
        };
        let [mut dq, mut dkv] = [None, None];
        Reference.cross_attend_backward(&of, Some(&mut dq), Some(&mut dkv)).unwrap();
        added("dq", 0.0, &slopes(&q, &dy, |q| run(q, &kvw)), &dq);
        added("dkv", 0.0, &slopes(&kv, &dy, |kv| run(&qw, kv)), &dkv);
    }
}

#[test]
fn cross_entropy() {
    let (rows, vocab) = (4, 7);
    let logits: Vec<f32> = normal(1, rows * vocab).iter().map(|v| 3.0 * v).collect();
    let targets = [Some(6), None, Some(0), Some(3)];
    for smoothing in [Smoothing::None, Smoothing::Uniform(0.1), Smoothing::Others(0.2)] {
        let run = |x: &[f64]| vec![forward::cross_entropy(x, vocab, &targets, smoothing)];
        let (loss, gradient) =
            Reference.cross_entropy(&tensor(rows, vocab, &logits), &targets, smoothing).unwrap();
        close("loss", &run(&wide(&logits)), &[loss.sum as f32]);
        assert_eq!(loss.tokens, 3);
        close("gradient", &slopes(&logits, &[1.0], run), &download(&gradient));
    }
    let (loss, _) = Reference
        .cross_entropy(
            &tensor(2, 3, &[1., 2., 2., 0., 5., 5.]),
            &[Some(1), Some(2)],
            Smoothing::None,
        )
        .unwrap();
    assert_eq!(loss.correct, 1, "the lowest of equal ids is the choice");
    assert_eq!(loss.sum, loss.nll);
}

#[test]
fn dropped_elements() {
    let x = normal(1, 6 * 5);
    let y = download(&Reference.apply_dropout(&tensor(6, 5, &x), DROPOUT).unwrap());
    let factor = |i: usize| DROPOUT.factor(i / 5, i % 5);
    let want: Vec<f32> = x.iter().enumerate().map(|(i, v)| v * factor(i)).collect();
    assert_eq!(y, want);
    assert!(y.contains(&0.0) && y.iter().any(|v| *v != 0.0));
    for rate in [1.0, -0.1, f32::NAN] {
        let bad = Dropout { rate, ..DROPOUT };
        assert!(Reference.apply_dropout(&tensor(6, 5, &x), bad).is_err(), "{rate}");
    }
}
