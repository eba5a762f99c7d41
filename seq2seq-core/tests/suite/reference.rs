//! The reference against PyTorch and transformers, on inputs that both make by one formula.
//!
//! The suite holds every backend to the reference; this holds the reference to what it is a reference of.
//! `reference.py` writes `reference/values.rs`.

#[rustfmt::skip] // as it is written
mod values;

use seq2seq_core::reference::{self, Reference, Tensor};
use seq2seq_core::train::{
    Adafactor, AdamW, Factors, Muon, OptimiserOps, Second, Sgd, TrainConvolutionOps,
};
use seq2seq_core::*;

/// 2 sin(0.7 i + seed)
fn wave(seed: u32, n: usize) -> Vec<f32> {
    (0..n).map(|i| (2.0 * (0.7 * i as f64 + f64::from(seed)).sin()) as f32).collect()
}

fn host(shape: &[usize], seed: u32) -> HostTensor {
    let n = shape.iter().product();
    HostTensor::from_f32(shape.to_vec(), &wave(seed, n)).unwrap()
}

fn tensor(rows: usize, width: usize, seed: u32) -> Tensor {
    Reference.upload(&host(&[rows, width], seed)).unwrap()
}

/// Equal to seven digits, or both minus infinity.
fn close(want: &[f32], got: &[f32]) {
    assert_eq!(want.len(), got.len());
    for (i, (w, g)) in want.iter().zip(got).enumerate() {
        let near = (w - g).abs() <= 2e-6 * w.abs().max(1.0);
        assert!(w == g || near, "value {i} is {g}, expected {w}");
    }
}

fn downloaded(want: &[f32], got: &Tensor) {
    close(want, &Reference.download(got).unwrap());
}

#[test]
fn norms() {
    let spec = |kind, eps, bias| NormSpec { kind, eps, weight: host(&[5], 2), bias };
    let norm = |spec: NormSpec| {
        let norm = Reference.norm_weights(&spec).unwrap();
        Reference.norm(&tensor(2, 5, 1), &norm).unwrap()
    };
    downloaded(values::LAYER_NORM, &norm(spec(NormKind::Layer, 1e-5, Some(host(&[5], 3)))));
    downloaded(values::RMS_NORM, &norm(spec(NormKind::Rms, 1e-6, None)));
}

#[test]
fn a_gated_layer_with_residual() {
    let part = |seed, bias| LinearPart { weight: host(&[3, 6], seed), bias, transposed: false };
    let parts = vec![part(2, Some(host(&[3], 4))), part(3, None)];
    let spec = LinearSpec { parts, gated: true, scale: 1.0 };
    let layer = Reference.pack(&spec, Format::F32).unwrap();
    let residual = tensor(2, 3, 5);
    let epilogue = Epilogue::residual(&residual);
    let epilogue = Epilogue { activation: Some(Activation::GeluTanh), ..epilogue };
    downloaded(values::GATED, &Reference.linear(&tensor(2, 6, 1), &layer, epilogue).unwrap());
}

#[test]
fn a_transposed_part_is_the_same_layer() {
    let weight = wave(2, 6);
    let turned: Vec<f32> = [0, 3, 1, 4, 2, 5].map(|i: usize| weight[i]).into();
    let part = |shape: [usize; 2], w: &[f32], transposed| LinearPart {
        weight: HostTensor::from_f32(shape.to_vec(), w).unwrap(),
        bias: None,
        transposed,
    };
    let run = |part, format| {
        let spec = LinearSpec { parts: vec![part], gated: false, scale: 2.0 };
        let layer = Reference.pack(&spec, format).unwrap();
        let y = Reference.linear(&tensor(4, 3, 1), &layer, Epilogue::NONE).unwrap();
        Reference.download(&y).unwrap()
    };
    for format in Format::ALL {
        let straight = run(part([2, 3], &weight, false), format);
        assert_eq!(straight, run(part([3, 2], &turned, true), format), "{format}");
    }
}

#[test]
fn activations() {
    for (activation, want) in [
        (Activation::Relu, values::RELU),
        (Activation::Gelu, values::GELU),
        (Activation::GeluTanh, values::GELU_NEW),
        (Activation::QuickGelu, values::QUICK_GELU),
        (Activation::Silu, values::SILU),
        (Activation::Tanh, values::TANH),
    ] {
        let apply = |x: &f32| reference::activation::apply(activation, f64::from(*x)) as f32;
        close(want, &wave(1, 6).iter().map(apply).collect::<Vec<_>>());
    }
}

#[test]
fn grouped_heads_with_rotary_positions() {
    let inv_freq = (0..3).map(|j| 10000f32.powf(-(j as f32) / 3.0)).collect();
    let spec = AttentionSpec {
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        scale: 6f32.sqrt().recip(),
        causal: true,
        rotary: Some(Rotary { inv_freq, scale: 1.0 }),
        dropout: 0.0,
        precision: Precision::F32,
    };
    let x = tensor(5, spec.qkv_width(), 1);
    let y = Reference.attend(&x, &Ragged::from_lengths([5]), &spec, None).unwrap();
    downloaded(values::LLAMA_ATTENTION, &y);
}

#[test]
fn relative_positions_in_encoder_and_decoder() {
    for (bidirectional, want) in [(true, values::T5_ENCODER), (false, values::T5_DECODER)] {
        let spec = AttentionSpec {
            heads: 2,
            kv_heads: 2,
            head_dim: 3,
            scale: 1.0,
            causal: !bidirectional,
            rotary: None,
            dropout: 0.0,
            precision: Precision::F32,
        };
        let buckets = BucketSpec { buckets: 8, max_distance: 12, bidirectional };
        let bias = Reference.relative_bias(&host(&[8, 2], 7), buckets).unwrap();
        let x = tensor(20, spec.qkv_width(), 1);
        let y = Reference.attend(&x, &Ragged::from_lengths([20]), &spec, Some(&bias)).unwrap();
        downloaded(want, &y);
    }
}

#[test]
fn recurrent_layers_of_two_directions() {
    for (cell, want, want_end) in
        [(Cell::Lstm, values::LSTM, values::LSTM_END), (Cell::Gru, values::GRU, values::GRU_END)]
    {
        let (width, size, rows) = (3, 5, cell.gates() * 3);
        let quarter = |shape: &[usize], seed| {
            let values: Vec<f32> = host(shape, seed).to_f32().iter().map(|v| v / 4.0).collect();
            HostTensor::from_f32(shape.to_vec(), &values).unwrap()
        };
        let part = |seed, columns| LinearPart {
            weight: quarter(&[rows, columns], seed),
            bias: Some(host(&[rows], seed + 2)),
            transposed: false,
        };
        let input =
            LinearSpec { parts: vec![part(2, size), part(12, size)], gated: false, scale: 1.0 };
        let input = Reference.pack(&input, Format::F32).unwrap();
        let x = Reference.linear(&tensor(4, size, 1), &input, Epilogue::NONE).unwrap();
        let spec = RecurrentSpec { cell, directions: vec![part(3, width), part(13, width)] };
        let layer = Reference.recurrent(&spec, Format::F32).unwrap();
        let begin = [host(&[6], 6).to_f32(), host(&[6], 7).to_f32()];
        let begin = begin[..cell.vectors()].concat();
        let begin = HostTensor::from_f32(vec![1, begin.len()], &begin).unwrap();
        let begin = Reference.upload(&begin).unwrap();
        let rows = Ragged::from_lengths([4]);
        let (out, end) = Reference.recur(&x, &rows, &layer, Some(&begin)).unwrap();
        downloaded(want, &out);
        downloaded(want_end, &end);
    }
}

#[test]
fn additive_attention() {
    let sources = Ragged::from_lengths([5]);
    let (keys, held) = (tensor(5, 4, 2), tensor(5, 3, 3));
    let memory = Reference.additive_memory(&keys, &held, &sources).unwrap();
    let v = Reference.additive(&host(&[4], 4)).unwrap();
    let (q, rows) = (tensor(2, 4, 1), Ragged::single_rows(2));
    let mut weights = Vec::new();
    let y = Reference.additive_attend(&q, &rows, &v, &memory, &[0, 0], Some(&mut weights));
    downloaded(values::ADDITIVE, &y.unwrap());
    close(values::ADDITIVE_WEIGHTS, &weights);
}

/// A kernel, channels last, times the windows.
fn convolved(
    x: &Tensor,
    grids: &[Grid],
    windows: &Windows,
    kernel: LinearSpec,
    epilogue: Epilogue<'_, Tensor>,
) -> Tensor {
    let layer = Reference.pack(&kernel, Format::F32).unwrap();
    Reference.linear(&Reference.windows(x, grids, windows).unwrap(), &layer, epilogue).unwrap()
}

#[test]
fn the_front_end_of_a_speech_encoder() {
    let mut grids = [Grid::line(5), Grid::line(2)];
    let lines = [(5, 3), (2, 4)].map(|(length, seed)| tensor(length, 2, seed));
    let mut x = Reference.stack_rows(&lines.each_ref()).unwrap();
    for (shape, seeds, stride) in [([4, 6], [1, 5], 1), ([3, 12], [2, 6], 2)] {
        let kernel: Vec<f32> =
            wave(seeds[0], shape[0] * shape[1]).iter().map(|v| v / 4.0).collect();
        let kernel = HostTensor::from_f32(shape.to_vec(), &kernel).unwrap();
        let kernel = LinearSpec::single(kernel, Some(host(&[shape[0]], seeds[1])));
        let windows = Windows::line(3, stride, 1);
        x = convolved(&x, &grids, &windows, kernel, Epilogue::activation(Activation::Gelu));
        grids = grids.map(|grid| windows.output(grid).unwrap());
    }
    downloaded(values::SOUND, &x);
}

#[test]
fn the_patches_of_an_image() {
    let grids = [Grid { height: 4, width: 6 }];
    let kernel = LinearSpec::single(host(&[3, 8], 2), None);
    downloaded(
        values::PATCHES,
        &convolved(&tensor(24, 2, 1), &grids, &Windows::patches(2), kernel, Epilogue::NONE),
    );
}

#[test]
fn a_convolution_and_its_way_back() {
    let windows = Windows { kernel: [3, 2], stride: [2, 1], padding: [1, 2], dilation: [1, 3] };
    let grids = [Grid { height: 5, width: 6 }];
    let kernel = LinearSpec::single(host(&[3, 12], 2), None);
    let y = convolved(&tensor(30, 2, 1), &grids, &windows, kernel, Epilogue::NONE);
    downloaded(values::CONVOLUTION, &y);
    // The gradient of the windows is that of the result times the kernel.
    let part = LinearPart { weight: host(&[3, 12], 2), bias: None, transposed: true };
    let turned = LinearSpec { parts: vec![part], gated: false, scale: 1.0 };
    let turned = Reference.pack(&turned, Format::F32).unwrap();
    let dy = Reference.linear(&tensor(y.rows(), 3, 3), &turned, Epilogue::NONE).unwrap();
    let mut dx = None;
    Reference.windows_backward(&dy, &grids, &windows, 2, &mut dx).unwrap();
    downloaded(values::CONVOLUTION_BACK, &dx.unwrap());
}

/// The second row of logits is rounded to whole numbers: ties.
fn warped(warp: Warp) -> Vec<f32> {
    let mut rows = [wave(1, 12), wave(2, 12).iter().map(|v| v.round()).collect()];
    let mut out = Vec::new();
    for row in &mut rows {
        reference::sample::apply(&warp, row);
        out.extend(reference::top_k::log_softmax(row).iter().map(|&l| l as f32));
    }
    out
}

#[test]
fn warps() {
    let off = Warp::default();
    close(values::TEMPERATURE, &warped(Warp { temperature: 0.7, ..off }));
    close(values::TOP_K, &warped(Warp { top_k: 3, ..off }));
    close(values::TOP_P, &warped(Warp { top_p: 0.8, ..off }));
    close(values::MIN_P, &warped(Warp { min_p: 0.3, ..off }));
    close(values::TYPICAL, &warped(Warp { typical_p: 0.6, ..off }));
    close(values::EPSILON, &warped(Warp { epsilon_cutoff: 0.05, ..off }));
    close(values::ETA, &warped(Warp { eta_cutoff: 0.1, ..off }));
    close(
        values::ALL_WARPS,
        &warped(Warp {
            temperature: 1.3,
            top_k: 9,
            top_p: 0.95,
            min_p: 0.1,
            typical_p: 0.9,
            epsilon_cutoff: 0.06,
            eta_cutoff: 0.2,
            min_keep: 1,
        }),
    );
}

/// Three steps as `reference.py` has them, with gradients of half the size and a scale of 2.
fn stepped(
    shape: [usize; 2],
    mut step: impl FnMut(u32, &mut Tensor, &Tensor) -> Result<()>,
) -> Tensor {
    let [rows, width] = shape;
    let mut parameter = tensor(rows, width, 1);
    for (t, seed) in (1..).zip([2, 3, 4]) {
        let half: Vec<f32> = wave(seed, rows * width).iter().map(|v| v / 2.0).collect();
        let gradient = HostTensor::from_f32(vec![rows, width], &half).unwrap();
        step(t, &mut parameter, &Reference.upload(&gradient).unwrap()).unwrap();
    }
    parameter
}

#[test]
fn optimisers() {
    let zeros = |rows, width| Reference.zeros(rows, width).unwrap();
    let mut moments = [zeros(2, 3), zeros(2, 3)];
    let settings = AdamW {
        rate: 0.1,
        betas: [0.8, 0.95],
        eps: 1e-6,
        decay: 0.03,
        step: 1,
        gradient_scale: 2.0,
    };
    let p = stepped([2, 3], |step, p, g| {
        Reference.adamw(&AdamW { step, ..settings }, p, g, &mut moments)
    });
    downloaded(values::ADAMW, &p);

    let settings = Sgd { rate: 0.1, momentum: 0.7, decay: 0.03, gradient_scale: 2.0 };
    let mut velocity = None;
    let p = stepped([2, 3], |_, p, g| Reference.sgd(&settings, p, g, &mut velocity));
    downloaded(values::SGD, &p);

    let settings =
        Muon { rate: 0.1, momentum: 0.7, decay: 0.03, gradient_scale: 2.0, ..Muon::default() };
    for (shape, want) in [([2, 3], values::MUON), ([3, 2], values::MUON_TALL)] {
        let mut momentum = zeros(shape[0], shape[1]);
        let p = stepped(shape, |_, p, g| Reference.muon(&settings, p, g, &mut momentum));
        downloaded(want, &p);
    }

    let base = Adafactor { rate: 0.02, gradient_scale: 2.0, ..Adafactor::default() };
    let decayed = Adafactor { decay: 0.03, ..base };
    let scaled = Adafactor { scale_parameter: true, ..base };
    for (settings, shape, want) in [
        (decayed, [2, 3], values::ADAFACTOR),
        (scaled, [2, 3], values::ADAFACTOR_SCALED),
        (base, [1, 6], values::ADAFACTOR_VECTOR),
    ] {
        let mut second = match shape {
            [1, n] => Second::Full(zeros(1, n)),
            [rows, n] => Second::Factored(Factors { rows: zeros(1, rows), columns: zeros(1, n) }),
        };
        let p = stepped(shape, |step, p, g| {
            Reference.adafactor(&Adafactor { step, ..settings }, p, g, &mut second)
        });
        downloaded(want, &p);
    }
    assert_eq!(Adafactor::relative_rate(4, false), 0.01);
    assert_eq!(Adafactor::relative_rate(40_000, false), 0.005);
    assert_eq!(Adafactor::relative_rate(7, true), 7e-6);
}

#[test]
fn rules() {
    let ruled = |rule| {
        let mut scores = wave(1, 8);
        reference::rules::apply(&[rule], &mut scores);
        scores
    };
    let ids = vec![0, 3, 5];
    close(values::PENALISED, &ruled(LogitRule::Penalise { ids, penalty: 1.5 }));
    close(values::GROWN, &ruled(LogitRule::Grow { ids: vec![4], factor: 0.5 }));
}
