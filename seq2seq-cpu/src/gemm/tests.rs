//! Whole products of every level and format: against plain sums, and the same bits however they are cut.

use super::micro::tests::{levels, values};
use super::*;
use crate::threads::Threads;
use seq2seq_core::{
    Activation, DType, Format, HostTensor, LinearPart, LinearSpec, Quantisation,
    quant::{
        self,
        group::{GROUP, LEVELS, groups},
        row::Affine,
    },
};
use std::sync::Arc;

/// Columns of all panels: as many the rows of a result must have room for.
fn padded_width(layer: &Linear) -> usize {
    layer.panels * layer.width
}

/// Runs `layer` on packed rows and drops the padding of the result.
fn run(threads: &Threads, layer: &Linear, x: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
    let LinearShape { input, output, .. } = layer.shape();
    let (rows, stride) = (x.len() / input, padded_width(layer) + 5);
    let converted = Converted::new(threads, layer.isa, layer.element(), (x, input), (rows, input));
    let lhs = match layer.element() {
        Element::F32 => LhsRows::f32(x, input),
        _ => converted.rows(),
    };
    let epilogue = Epilogue { converted: Some(&converted), ..epilogue };
    let mut out = vec![f32::NAN; rows * stride];
    layer.multiply(threads, rows, lhs, &epilogue, (&mut out, stride));
    out.chunks(stride).flat_map(|row| row[..output].to_vec()).collect()
}

const PLAIN: Epilogue<'_> = Epilogue { activation: None, residual: None, converted: None };

fn tensor(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::from_f32(shape.to_vec(), values).unwrap()
}

/// A layer of one part, with bias and scale.
fn spec(input: usize, output: usize) -> LinearSpec {
    let bias = tensor(&[output], &values(3, output));
    let weight = tensor(&[output, input], &values(2, output * input));
    LinearSpec { scale: 0.5, ..LinearSpec::single(weight, Some(bias)) }
}

/// What a product is made of in `format`: the operand as it is multiplied, times a scale for the run, a row of activations
/// or a channel.
fn operand(format: Format, run: &[f32], row: bool) -> (Vec<f32>, f64) {
    match format {
        Format::F32 => (run.to_vec(), 1.0),
        Format::Bf16 => {
            let mut rounded = vec![0.0; run.len()];
            crate::kernels::round::round(Isa::Scalar, run, &mut rounded);
            (rounded, 1.0)
        }
        Format::F16 if row => (run.to_vec(), 1.0),
        Format::F16 => (run.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect(), 1.0),
        Format::Int8 | Format::Int4 if row => {
            let mut q = vec![0; run.len()];
            let Affine { scale, zero, .. } = quant::row::quantise(run, &mut q);
            (q.into_iter().map(|q| (i32::from(q) - zero) as f32).collect(), scale.into())
        }
        Format::Int4 => {
            let (mut codes, mut scales) = (vec![0; run.len()], vec![0.0; groups(run.len())]);
            quant::group::quantise(run, &mut codes, &mut scales);
            let scales = scales.iter().flat_map(|&s| std::iter::repeat_n(s, GROUP));
            let levels = codes.into_iter().map(|c| f32::from(LEVELS[usize::from(c)]));
            (levels.zip(scales).map(|(l, s)| l * s).collect(), 1.0)
        }
        Format::Int8 => {
            let mut q = vec![0; run.len()];
            let scale = quant::channel::quantise(run, &mut q);
            (q.into_iter().map(f32::from).collect(), scale.into())
        }
    }
}

/// scale · x Wᵀ + bias in f64, and the sum of the magnitudes of its terms.
fn expected(format: Format, spec: &LinearSpec, x: &[f32], input: usize) -> Vec<(f64, f64)> {
    let weights = spec.parts[0].weight.to_f32();
    let bias = spec.parts[0].bias.as_ref().unwrap().to_f32();
    let rows = x.chunks(input).map(|row| operand(format, row, true));
    let columns: Vec<_> = weights.chunks(input).map(|w| operand(format, w, false)).collect();
    let pairs = rows.flat_map(|x| columns.iter().zip(&bias).map(move |c| (x.clone(), c)));
    pairs
        .map(|((x, x_scale), ((w, w_scale), &bias))| {
            let scale = x_scale * w_scale * f64::from(spec.scale);
            let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w) * scale);
            let (sum, mut size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
            if format == Format::Int4 {
                // The zero point leaves in f32: rows and zero point count as they may be stored.
                size = w.iter().map(|&w| 510.0 * f64::from(w) * scale).map(f64::abs).sum();
            }
            (sum + f64::from(bias), size + f64::from(bias.abs()))
        })
        .collect()
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn products_are_right_at_every_level() {
    let threads = Threads::new(Some(2)).unwrap();
    for isa in levels() {
        for format in Format::ALL {
            for (input, output) in [(1, 1), (7, 31), (31, 33), (33, 100), (100, 7), (64, 64)] {
                let spec = spec(input, output);
                let layer = Linear::pack(&threads, isa, &spec, format).unwrap();
                for rows in [1, 2, 5, 13, 40] {
                    let x = values(rows as u32, rows * input);
                    let got = run(&threads, &layer, &x, PLAIN);
                    let want = expected(format, &spec, &x, input);
                    for (i, (&got, &(want, size))) in got.iter().zip(&want).enumerate() {
                        // Each of the `input` steps of a chain rounds once, by half a unit of at most `size`;
                        // an integer sum is exact, its three factors are not.
                        let steps = match format {
                            Format::Int8 => 4.0,
                            Format::Int4 => (2 * groups(input) + 5) as f64,
                            _ => input as f64 + 4.0,
                        };
                        let limit = steps * f64::from(f32::EPSILON) * size;
                        let error = (f64::from(got) - want).abs();
                        assert!(
                            error <= limit,
                            "{:?} {rows}x{input}x{output} [{i}]: {got} not {want}",
                            layer.kernel
                        );
                    }
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_row_has_the_same_bits_in_any_batch_on_any_threads() {
    let pools = [1, 2, 3].map(|n| Threads::new(Some(n)).unwrap());
    let (input, output) = (100, 97);
    let x = values(9, 150 * input);
    for isa in levels() {
        for format in Format::ALL {
            let spec = spec(input, output);
            let layer = Linear::pack(&pools[0], isa, &spec, format).unwrap();
            let epilogue = || Epilogue { activation: Some(Activation::Gelu), ..PLAIN };
            let alone: Vec<f32> =
                x.chunks(input).flat_map(|row| run(&pools[0], &layer, row, epilogue())).collect();
            for threads in &pools {
                let packed = Linear::pack(threads, isa, &spec, format).unwrap();
                for rows in [1, 2, 6, 12, 13, 25, 64, 65, 150] {
                    let got = run(threads, &packed, &x[..rows * input], epilogue());
                    let same = got.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{isa} {format}: {rows} rows on {} threads", threads.count());
                }
            }
        }
    }
}

/// A row of panels that several blocks of rows pass one after the other.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn more_rows_than_the_cache_holds() {
    let threads = Threads::new(Some(2)).unwrap();
    let (input, output, rows) = (4096, 3, 1200);
    assert!(plan::row_blocks(rows / 2, input * 4, crate::memory::second_cache()) > 1);
    let layer = Linear::pack(&threads, Isa::detect(), &spec(input, output), Format::F32).unwrap();
    let x = values(5, rows * input);
    let got = run(&threads, &layer, &x, PLAIN);
    for row in [0, 1, 599, 600, 1199] {
        let alone = run(&threads, &layer, &x[row * input..][..input], PLAIN);
        assert_eq!(got[row * output..][..output], alone);
    }
}

#[test]
fn parts_stand_side_by_side_whichever_way_they_lie() {
    let threads = Threads::new(Some(2)).unwrap();
    let (input, outputs) = (33, [31, 100, 1]);
    let x = values(1, 3 * input);
    let weight = |i: usize| values(i as u32 + 7, outputs[i] * input);
    let part = |i: usize, transposed: bool| {
        let (n, w) = (outputs[i], weight(i));
        let turned: Vec<f32> = (0..input)
            .flat_map(|k| (0..n).map(move |o| (o, k)))
            .map(|(o, k)| w[o * input + k])
            .collect();
        LinearPart {
            weight: match transposed {
                true => tensor(&[input, n], &turned),
                false => tensor(&[n, input], &w),
            },
            bias: (i != 1).then(|| tensor(&[n], &values(i as u32 + 20, n))),
            transposed,
        }
    };
    for isa in levels() {
        for format in Format::ALL {
            let of = |parts| LinearSpec { parts, gated: false, scale: 1.0 };
            let all = of(vec![part(0, false), part(1, true), part(2, true)]);
            let all = Linear::pack(&threads, isa, &all, format).unwrap();
            let got = run(&threads, &all, &x, PLAIN);
            let each = [0, 1, 2].map(|i| {
                let one = Linear::pack(&threads, isa, &of(vec![part(i, false)]), format).unwrap();
                run(&threads, &one, &x, PLAIN)
            });
            for row in 0..3 {
                let want: Vec<f32> = (0..3)
                    .flat_map(|i| each[i][row * outputs[i]..][..outputs[i]].to_vec())
                    .collect();
                let total = want.len();
                assert_eq!(got[row * total..][..total], want, "{isa} {format}");
            }
        }
    }
}

#[test]
fn activation_gate_and_residual_follow_the_sum() {
    let threads = Threads::new(Some(2)).unwrap();
    let (input, width, rows) = (37, 45, 15);
    let x = values(1, rows * input);
    let [gate, up] = [spec(input, width), LinearSpec { scale: 0.5, ..spec(input, width) }];
    let up_weight = tensor(&[width, input], &values(77, width * input));
    let up =
        LinearSpec { parts: vec![LinearPart { weight: up_weight, ..up.parts[0].clone() }], ..up };
    for isa in levels() {
        let activations =
            [None, Some(Activation::Relu), Some(Activation::Silu), Some(Activation::GeluTanh)];
        for (format, activation) in
            Format::ALL.into_iter().flat_map(|f| activations.map(|a| (f, a)))
        {
            let pack = |spec: &LinearSpec| Linear::pack(&threads, isa, spec, format).unwrap();
            let parts = gate.parts.iter().chain(&up.parts).cloned().collect();
            let gated = pack(&LinearSpec { parts, gated: true, scale: 0.5 });
            // Rows of the residual are as far apart as whole panels need.
            let stride = padded_width(&gated);
            let data = values(6, rows * stride);
            let residual = Some(Residual { data: &data, stride });
            let got = run(&threads, &gated, &x, Epilogue { activation, residual, ..PLAIN });
            let gate = run(&threads, &pack(&gate), &x, Epilogue { activation, ..PLAIN });
            let up = run(&threads, &pack(&up), &x, PLAIN);
            for (i, got) in got.into_iter().enumerate() {
                let want = gate[i] * up[i] + data[i / width * stride + i % width];
                assert_eq!(got, want, "{isa} {format} {activation:?} [{i}]");
            }
        }
    }
}

#[test]
fn what_is_not_finite_reaches_its_row_only() {
    let threads = Threads::new(Some(1)).unwrap();
    let (input, output) = (40, 33);
    let clean = values(4, 3 * input);
    for isa in levels() {
        for format in Format::ALL {
            let layer = Linear::pack(&threads, isa, &spec(input, output), format).unwrap();
            let want = run(&threads, &layer, &clean, PLAIN);
            for bad in [f32::NAN, f32::INFINITY] {
                let mut x = clean.clone();
                x[input + 17] = bad;
                let got = run(&threads, &layer, &x, PLAIN);
                assert!(got[output..2 * output].iter().all(|v| !v.is_finite()), "{isa} {format}");
                assert_eq!(got[..output], want[..output]);
                assert_eq!(got[2 * output..], want[2 * output..]);
            }
        }
    }
}

#[test]
fn weights_must_be_finite_in_their_format() {
    let threads = Threads::new(Some(2)).unwrap();
    for isa in levels() {
        for format in Format::ALL {
            for (bad, refused) in [
                (f32::NAN, true),
                (f32::NEG_INFINITY, true),
                // Rounds to infinity in bf16 and f16.
                (f32::MAX, matches!(format, Format::Bf16 | Format::F16)),
                (1e30, format == Format::F16),
                (-65520.0, format == Format::F16),
                (65519.0, false),
            ] {
                let mut w = values(8, 70 * 9);
                w[69 * 9] = bad;
                let spec = LinearSpec::single(tensor(&[70, 9], &w), None);
                let got = Linear::pack(&threads, isa, &spec, format);
                assert_eq!(got.is_err(), refused, "{isa} {format} {bad}");
                let error = got.err().map(|e| e.to_string());
                assert!(error.is_none_or(|e| e.contains("NaN or infinity")));
            }
        }
    }
}

/// A tensor of f16, with these bits.
fn halves(shape: [usize; 2], bits: &[u16]) -> HostTensor {
    let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
    let end = bytes.len();
    HostTensor::from_shared(DType::F16, shape.into(), Arc::new(bytes), 0..end).unwrap()
}

#[test]
fn weights_of_f16_must_be_finite() {
    let threads = Threads::new(Some(2)).unwrap();
    for isa in Isa::available() {
        for (bad, refused) in
            [(0x7c00, true), (0xfc00, true), (0xfe01, true), (0x7c01, true), (0xfbff, false)]
        {
            let mut bits = vec![0x3c00; 70 * 9];
            bits[69 * 9 + 8] = bad;
            let spec = LinearSpec::single(halves([70, 9], &bits), None);
            let got = Linear::pack(&threads, isa, &spec, Format::F16);
            assert_eq!(got.is_err(), refused, "{isa} {bad:#06x}");
        }
    }
}

/// A layer whose parts are of several types is read as f32.
#[test]
fn parts_of_f16_and_f32_stand_side_by_side() {
    let threads = Threads::new(Some(2)).unwrap();
    let (input, x) = (19, values(1, 2 * 19));
    let bits: Vec<u16> = (0..21 * 19).map(|i| 0x2000 + i * 37 % 0x1c00).collect();
    let as_f32: Vec<f32> = bits.iter().map(|&b| half::f16::from_bits(b).to_f32()).collect();
    let part = |weight| LinearPart { weight, bias: None, transposed: false };
    let [of_f16, of_f32] = [halves([21, input], &bits), tensor(&[21, input], &as_f32)];
    for isa in levels() {
        let of = |parts| {
            let spec = LinearSpec { parts, gated: false, scale: 1.0 };
            let layer = Linear::pack(&threads, isa, &spec, Format::F16).unwrap();
            run(&threads, &layer, &x, PLAIN)
        };
        let [one, other] = [&of_f16, &of_f32].map(|t| part(t.clone()));
        let want = of(vec![other.clone(), other.clone()]);
        assert_eq!(of(vec![one.clone(), other.clone()]), want, "{isa}");
        assert_eq!(of(vec![other, one.clone()]), want, "{isa}");
        assert_eq!(of(vec![one.clone(), one]), want, "{isa}");
    }
}

#[test]
fn halves_at_odd_addresses_are_read_in_place() {
    let threads = Threads::new(Some(1)).unwrap();
    let w: Vec<f32> = (0..12 * 10).map(|i| (i % 13) as f32 * 0.25 - 1.5).collect();
    let x = values(2, 10);
    for isa in Isa::available() {
        let whole = LinearSpec::single(tensor(&[12, 10], &w), None);
        let whole = Linear::pack(&threads, isa, &whole, Format::F32).unwrap();
        for dtype in [DType::F16, DType::BF16] {
            let narrow = |v: f32| match dtype {
                // A quarter of a small integer is exact in both; f16 has 3 bits less of exponent and 3 more of fraction.
                DType::F16 => half::f16::from_f32(v).to_bits(),
                _ => (v.to_bits() >> 16) as u16,
            };
            let mut bytes = vec![0xff_u8];
            bytes.extend(w.iter().flat_map(|&v| narrow(v).to_le_bytes()));
            let end = bytes.len();
            let weight =
                HostTensor::from_shared(dtype, vec![12, 10], Arc::new(bytes), 1..end).unwrap();
            let spec = LinearSpec::single(weight, None);
            // Weights of f16 that stay so are not converted on the way; here those of bf16 are f16 numbers too.
            for format in [Format::F32, Format::F16] {
                let layer = Linear::pack(&threads, isa, &spec, format).unwrap();
                assert_eq!(run(&threads, &layer, &x, PLAIN), run(&threads, &whole, &x, PLAIN));
            }
        }
    }
}

/// Of a large matrix each row is let go of once, whichever panel it is in; of others nobody asks.
#[test]
fn large_matrices_are_let_go_of_as_they_are_packed() {
    use std::sync::Mutex;
    let (threads, input) = (Threads::new(Some(2)).unwrap(), 4096);
    let isa = Isa::available()[0];
    for (output, transposed, parts) in
        [(1030, false, 1), (1030, true, 1), (1030, false, 2), (1000, false, 1)]
    {
        let bytes = Arc::new(vec![0u8; 4 * output * input]);
        let shape = if transposed { vec![input, output] } else { vec![output, input] };
        let released = Arc::new(Mutex::new(Vec::new()));
        let part = || {
            let note = released.clone();
            let range = 0..bytes.len();
            let weight = HostTensor::from_shared(DType::F32, shape.clone(), bytes.clone(), range)
                .unwrap()
                .with_release(Arc::new(move |range| note.lock().unwrap().push(range)));
            LinearPart { weight, bias: None, transposed }
        };
        let parts: Vec<LinearPart> = (0..parts).map(|_| part()).collect();
        let count = parts.len();
        Linear::pack(&threads, isa, &LinearSpec { parts, gated: false, scale: 1.0 }, Format::Int8)
            .unwrap();
        let mut released = released.lock().unwrap().clone();
        released.sort_by_key(|range| (range.start, range.end));
        let whole = output == 1030 && !transposed;
        let sum: usize = released.iter().map(|range| range.len()).sum();
        assert_eq!(sum, if whole { count * bytes.len() } else { 0 });
        if count == 1 {
            assert!(released.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}

#[test]
fn int8_that_a_checkpoint_holds_is_taken_as_it_is() {
    let threads = Threads::new(Some(2)).unwrap();
    // Whole units and others; more panels than one.
    for (input, outputs) in [(64, [40, 7]), (33, [5, 70]), (130, [64, 32])] {
        for transposed in [false, true] {
            let [stored, plain] = [true, false].map(|stored| {
                let part = |(i, output): (usize, usize)| {
                    let weights = values(10 + i as u32, output * input);
                    let mut integers = vec![0; weights.len()];
                    let channels = weights.chunks(input).zip(integers.chunks_mut(input));
                    let scales: Vec<f32> =
                        channels.map(|(x, q)| quant::channel::quantise(x, q)).collect();
                    let read = |at: usize| match stored {
                        true => f32::from(integers[at]),
                        false => f32::from(integers[at]) * scales[at / input],
                    };
                    let (shape, order): (_, Vec<usize>) = match transposed {
                        false => (vec![output, input], (0..output * input).collect()),
                        true => {
                            let turned = |at| at % output * input + at / output;
                            (vec![input, output], (0..output * input).map(turned).collect())
                        }
                    };
                    let weight = if stored {
                        let bytes: Vec<u8> = order.iter().map(|&at| integers[at] as u8).collect();
                        let all = 0..output * input;
                        let tensor =
                            HostTensor::from_shared(DType::I8, shape, Arc::new(bytes), all);
                        let axis = usize::from(transposed);
                        let scales = Quantisation::Channels { scales: scales.into(), axis };
                        HostTensor::quantised(tensor.unwrap(), scales).unwrap()
                    } else {
                        tensor(&shape, &order.iter().map(|&at| read(at)).collect::<Vec<_>>())
                    };
                    LinearPart { weight, transposed, bias: None }
                };
                let parts = outputs.into_iter().enumerate().map(part).collect();
                LinearSpec { parts, gated: false, scale: 0.5 }
            });
            for isa in levels() {
                let pack = |spec| Linear::pack(&threads, isa, spec, Format::Int8).unwrap();
                let (got, want) = (pack(&stored), pack(&plain));
                assert_eq!(
                    (&got.data[..], &got.scale),
                    (&want.data[..], &want.scale),
                    "{isa} {input}"
                );
            }
        }
    }
}
