//! Every kernel of this machine against plain loops, bit for bit.

use super::*;
use crate::{isa::Isa, kernels::round::round};
use bytemuck::{cast_slice, cast_slice_mut};
use seq2seq_core::Format;

/// Every level, and the levels as machines without their optional instructions have them.
pub(crate) fn levels() -> Vec<Isa> {
    let mut levels = Isa::available();
    for isa in Isa::available() {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(proof) => levels.push(Isa::Avx2(proof.plain())),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(proof) => levels.push(Isa::Avx512(proof.plain())),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(proof) => levels.push(Isa::Neon(proof.plain())),
            _ => {}
        }
    }
    levels
}

/// Values in [-1, 1) that look random.
pub(in crate::gemm) fn values(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn bf16(x: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    round(Isa::Scalar, x, &mut out);
    out
}

/// Weights of -127..=127.
fn int8(x: &[f32]) -> Vec<f32> {
    x.iter().map(|v| (v * 127.0).round()).collect()
}

/// Rows of q - z, 0 <= q <= 255.
fn int8_rows(x: &[f32], input: usize) -> Vec<f32> {
    let zeros = (0..).flat_map(|m| std::iter::repeat_n(zero_point(m) as f32, input));
    x.iter().zip(zeros).map(|(v, zero)| ((v + 1.0) * 127.5).round() - zero).collect()
}

/// The zero point of row `m`: each row has another, none of them in its middle.
fn zero_point(m: usize) -> i32 {
    (m * 53 % 255) as i32
}

/// Row `m` of operands, in the type of the kernel, with a unit of zeros or less behind it, and with its tail.
fn lhs(element: Element, m: usize, x: &[f32], out: &mut [u8]) {
    let zero = match element {
        Element::U8 => zero_point(m),
        Element::I8 => zero_point(m) - 128,
        _ => 0,
    };
    Tail { zero, scale: f32::NAN }.write(out);
    let stored = |v: f32| v as i32 + zero;
    match element {
        Element::F32 | Element::Rounded => cast_slice_mut(out)[..x.len()].copy_from_slice(x),
        Element::Bf16 => round::<u16>(Isa::Scalar, x, cast_slice_mut(out)),
        Element::U8 => x.iter().zip(out).for_each(|(&v, o)| *o = stored(v).try_into().unwrap()),
        Element::I8 => {
            let i8 = |v| i8::try_from(stored(v)).unwrap() as u8;
            x.iter().zip(out).for_each(|(&v, o)| *o = i8(v));
        }
        Element::I16 => {
            x.iter().zip(cast_slice_mut::<_, i16>(out)).for_each(|(&v, o)| *o = v as i16);
        }
    }
}

/// A panel from columns of `input` weights, by the definition of the layout.
fn panel(layout: &Layout, w: &[f32], input: usize) -> Vec<u8> {
    let units = layout.units(input);
    let mut out = Vec::new();
    if layout.sums {
        for column in w.chunks(input) {
            out.extend((-column.iter().map(|&v| v as i32).sum::<i32>()).to_le_bytes());
        }
    }
    for unit in 0..units {
        for place in 0..layout.columns {
            for k in unit * layout.unit..(unit + 1) * layout.unit {
                let column = layout.column_at(place);
                let v = if k < input { w[column * input + k] } else { 0.0 };
                match layout.weight {
                    Weight::F32 => out.extend(v.to_le_bytes()),
                    Weight::Bf16 => out.extend(((v.to_bits() >> 16) as u16).to_le_bytes()),
                    Weight::I8 => out.push(v as i8 as u8),
                }
            }
        }
    }
    out
}

/// The sum that the kernel promises, in its order.
fn chain(isa: Isa, element: Element, x: &[f32], w: &[f32]) -> f32 {
    let step = |sum: f32, (x, w): (&f32, &f32)| match isa {
        Isa::Scalar => sum + x * w,
        _ => x.mul_add(*w, sum),
    };
    match element {
        Element::F32 | Element::Rounded => x.iter().zip(w).fold(0.0, step),
        Element::Bf16 => x
            .chunks(2)
            .zip(w.chunks(2))
            .fold(0.0, |sum, (x, w)| x.iter().zip(w).rev().fold(sum, step)),
        Element::U8 | Element::I8 | Element::I16 => {
            x.iter().zip(w).map(|(&x, &w)| x as i32 * w as i32).sum::<i32>() as f32
        }
    }
}

#[test]
fn every_kernel_is_its_chain() {
    for isa in levels() {
        for format in Format::ALL {
            let kernel = MicroKernel::select(isa, format);
            for input in [1, 2, 3, 4, 7, 31, 64, 100] {
                let x = values(input as u32, kernel.max_rows() * input);
                let w = values(input as u32 + 1, kernel.layout.columns * input);
                let (x, w) = match format {
                    Format::F32 => (x, w),
                    Format::Bf16 => (bf16(&x), bf16(&w)),
                    Format::Int8 => (int8_rows(&x, input), int8(&w)),
                };
                check(isa, kernel, input, &x, &w);
            }
        }
    }
}

fn check(isa: Isa, kernel: &MicroKernel, input: usize, x: &[f32], w: &[f32]) {
    let (layout, rows) = (&kernel.layout, kernel.max_rows());
    let units = layout.units(input);
    // Buffers are f32, so that they are aligned for any element.
    let stride = (input + 5) * 4;
    let mut bytes = vec![0_f32; rows * stride / 4];
    let outs = cast_slice_mut(&mut bytes).chunks_mut(stride);
    for (m, (x, out)) in x.chunks(input).zip(outs).enumerate() {
        lhs(kernel.lhs, m, x, out);
    }
    let panel = panel(layout, w, input);
    for count in 1..=rows {
        for fetch in [Fetch::Ahead(4096), Fetch::Share { tile: 1, tiles: 3 }] {
            let mut sums = Sums::new();
            let x_rows = LhsRows { bytes: cast_slice(&bytes), stride };
            kernel.multiply((count, units), x_rows, &panel, fetch, &mut sums);
            for (m, x) in x.chunks(input).take(count).enumerate() {
                for (c, w) in w.chunks(input).enumerate() {
                    let (got, want) =
                        (sums.row(m, layout.columns)[c], chain(isa, kernel.lhs, x, w));
                    assert_eq!(
                        got.to_bits(),
                        want.to_bits(),
                        "{kernel:?}, {count} rows, K {input}, row {m}, column {c}: {got} not {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_largest_integers_do_not_saturate() {
    for isa in levels() {
        let kernel = MicroKernel::select(isa, Format::Int8);
        let (rows, input) = (kernel.max_rows(), 65);
        for w in [-127.0, 127.0] {
            for end in [-1.0, 1.0] {
                let x = int8_rows(&vec![end; rows * input], input);
                check(isa, kernel, input, &x, &vec![w; kernel.layout.columns * input]);
            }
        }
    }
}

#[test]
#[should_panic]
fn a_short_panel_is_refused() {
    let kernel = MicroKernel::select(Isa::detect(), Format::F32);
    let x = LhsRows { bytes: &[0; 64], stride: 64 };
    kernel.multiply((1, 8), x, &[0; 16], Fetch::Ahead(0), &mut Sums::new());
}

#[test]
#[should_panic]
fn a_short_row_is_refused() {
    let kernel = MicroKernel::select(Isa::detect(), Format::F32);
    let x = LhsRows { bytes: &[0; 64], stride: 32 };
    let panel = vec![0; kernel.layout.panel_bytes(9)];
    kernel.multiply((2, 9), x, &panel, Fetch::Ahead(0), &mut Sums::new());
}
