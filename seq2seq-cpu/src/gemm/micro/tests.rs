//! Every kernel of this machine against plain loops, bit for bit.

use super::*;
use crate::{gemm::plan, isa::Isa, kernels::round::round};
use bytemuck::{cast_slice, cast_slice_mut};
use seq2seq_core::{Format, quant::group::LEVELS};
use std::{
    collections::HashSet,
    mem::{Discriminant, discriminant},
};

/// Every level, and the levels with all of their optional instructions and with none.
pub(crate) fn levels() -> Vec<Isa> {
    let mut levels = Isa::available();
    for isa in Isa::available() {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(proof) => levels.push(Isa::Avx2(proof.plain())),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(proof) => levels.extend([proof.plain(), proof.eager()].map(Isa::Avx512)),
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

/// Weights that are f16 numbers, one in eight of them subnormal.
fn f16(x: &[f32]) -> Vec<f32> {
    let small = |(i, v): (usize, &f32)| if i % 8 == 3 { v * 2f32.powi(-14) } else { *v };
    x.iter().enumerate().map(small).map(|v| half::f16::from_f32(v).to_f32()).collect()
}

/// Weights of -127..=127.
fn int8(x: &[f32]) -> Vec<f32> {
    x.iter().map(|v| (v * 127.0).round()).collect()
}

/// Weights that are levels.
fn levels_near(x: &[f32]) -> Vec<f32> {
    x.iter().map(|v| LEVELS[((v + 1.0) * 8.0) as usize & 15].into()).collect()
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

/// The zero point of row `m` as it is stored.
fn stored_zero(element: Element, m: usize) -> i32 {
    match element {
        Element::U8 => zero_point(m),
        Element::I8 => zero_point(m) - 128,
        _ => 0,
    }
}

/// Row `m` of operands, in the type of the kernel, with a unit of zeros or less behind it, and with its tail.
fn lhs(element: Element, m: usize, x: &[f32], out: &mut [u8]) {
    let zero = stored_zero(element, m);
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

/// The scale of group `g` of column `c` in int4: a bf16, of either sign.
fn group_scale(c: usize, g: usize) -> f32 {
    let bits = 0x3c80 + (c * 29 + g * 67) % 0x180;
    f32::from_bits((bits as u32) << 16) * if (c + g).is_multiple_of(3) { -1.0 } else { 1.0 }
}

/// Minus the sum of level times scale over column `c`.
fn negated_sum(c: usize, column: &[f32]) -> f32 {
    let of = |(k, v): (usize, &f32)| f64::from(*v) * f64::from(group_scale(c, k / GROUP));
    -column.iter().enumerate().map(of).sum::<f64>() as f32
}

/// A panel of int4 from columns of `input` levels, by the definition of the layout.
fn grouped_panel(layout: &Layout, w: &[f32], input: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if layout.sums {
        let sums = w.chunks(input).enumerate().map(|(c, column)| negated_sum(c, column));
        out.extend(sums.flat_map(f32::to_le_bytes));
    }
    let code = |column: usize, k: usize| {
        let level = if k < input { w[column * input + k] } else { LEVELS[10].into() };
        LEVELS.iter().position(|&l| f32::from(l) == level).unwrap() as u8
    };
    for group in 0..groups(input) {
        for unit in (group * GROUP..(group + 1) * GROUP).step_by(layout.unit) {
            for column in 0..layout.columns / 2 {
                let byte = |k| code(column, k) | code(column + layout.columns / 2, k) << 4;
                let order = if layout.pairs { &[0, 2, 1, 3] } else { &[0, 1, 2, 3][..layout.unit] };
                out.extend(order.iter().map(|k| byte(unit + k)));
            }
        }
        for place in 0..layout.columns {
            let scale = group_scale(layout.scale_at(place), group);
            out.extend(((scale.to_bits() >> 16) as u16).to_le_bytes());
        }
    }
    out
}

/// A panel from columns of `input` weights, by the definition of the layout.
fn panel(layout: &Layout, w: &[f32], input: usize) -> Vec<u8> {
    let units = layout.units(input);
    let mut out = Vec::new();
    if layout.weight == Weight::I4 {
        return grouped_panel(layout, w, input);
    }
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
                    Weight::F16 => out.extend(half::f16::from_f32(v).to_le_bytes()),
                    Weight::I8 => out.push(v as i8 as u8),
                    Weight::I4 => unreachable!("made by another function"),
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

/// The total of column `c` that a kernel of int4 promises for row `m`: what the stored zero takes away, then the groups.
fn grouped_chain(
    isa: Isa,
    element: Element,
    (m, x): (usize, &[f32]),
    (c, w): (usize, &[f32]),
) -> f32 {
    let zero = stored_zero(element, m) as f32;
    let start = if element == Element::I16 { 0.0 } else { zero * negated_sum(c, w) };
    let groups = x.chunks(GROUP).zip(w.chunks(GROUP)).enumerate();
    groups.fold(start, |total, (g, (x, w))| {
        // Of integers, among which there is one zero.
        let sum = x.iter().zip(w).map(|(x, w)| ((x + zero) * w) as i32).sum::<i32>() as f32;
        match isa {
            Isa::Scalar => total + sum * group_scale(c, g),
            _ => sum.mul_add(group_scale(c, g), total),
        }
    })
}

#[test]
fn every_kernel_is_its_chain() {
    for isa in levels() {
        for format in Format::ALL {
            let kernel = MicroKernel::select(isa, format);
            for input in [1, 2, 3, 4, 7, 31, 64, 100] {
                let x = values(input as u32, kernel.max_rows() * input);
                let w = values(input as u32 + 1, 2 * kernel.layout.columns * input);
                let (x, w) = match format {
                    Format::F32 => (x, w),
                    Format::Bf16 => (bf16(&x), bf16(&w)),
                    Format::F16 => (x, f16(&w)),
                    Format::Int8 => (int8_rows(&x, input), int8(&w)),
                    Format::Int4 => (int8_rows(&x, input), levels_near(&w)),
                };
                check(isa, kernel, input, &x, &w);
            }
        }
    }
}

/// Tiles of every height, of the first panel and of both.
fn check(isa: Isa, kernel: &MicroKernel, input: usize, x: &[f32], w: &[f32]) {
    let (layout, rows) = (&kernel.layout, kernel.max_rows());
    let units = layout.units(input);
    // Buffers are f32, so that they are aligned for any element.
    let stride = (input + 40) * 4;
    let mut bytes = vec![0_f32; rows * stride / 4];
    let outs = cast_slice_mut(&mut bytes).chunks_mut(stride);
    for (m, (x, out)) in x.chunks(input).zip(outs).enumerate() {
        lhs(kernel.lhs, m, x, out);
    }
    let w: Vec<_> = w.chunks(layout.columns * input).collect();
    let panels: Vec<_> = w.iter().flat_map(|w| panel(layout, w, input)).collect();
    let share = |tiles| Fetch::Share { tile: 1, tiles };
    for (at_once, fetch) in
        [(1, Fetch::Near(2048)), (1, Fetch::Far(4096)), (1, share(3)), (2, share(Fetch::MANY))]
    {
        for count in kernel.heights(at_once, fetch).all() {
            let mut sums = Sums::new();
            let x_rows = LhsRows { bytes: cast_slice(&bytes), stride };
            let panels = &panels[..at_once * layout.panel_bytes(units)];
            let size = Size { rows: count, panels: at_once, units };
            kernel.multiply(size, x_rows, panels, fetch, &mut sums);
            for (p, w) in w[..at_once].iter().enumerate() {
                let sums = sums.panel(p, (count, layout.columns));
                for (i, got) in sums.iter().enumerate() {
                    let (m, c) = (i / layout.columns, i % layout.columns);
                    let (x, w) = (&x[m * input..][..input], &w[c * input..][..input]);
                    let want = match layout.weight {
                        Weight::I4 => grouped_chain(isa, kernel.lhs, (m, x), (c, w)),
                        _ => chain(isa, kernel.lhs, x, w),
                    };
                    assert_eq!(
                        got.to_bits(),
                        want.to_bits(),
                        "{kernel:?}, {count} rows, {at_once} panels, K {input}, row {m}, panel {p}, \
                         column {c}: {got} not {want}"
                    );
                }
            }
        }
    }
}

/// Every kernel, also those whose instructions this machine lacks.
const KERNELS: &[&MicroKernel] = &[
    &f32bf16_scalar_4x8::KERNEL,
    &f32f16_scalar_4x8::KERNEL,
    &f32f32_scalar_4x8::KERNEL,
    &i8i4_scalar_4x8::KERNEL,
    &i8i8_scalar_4x8::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &bf16bf16_avx512_12x32::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &f32bf16_avx2_6x16::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &f32bf16_avx512_12x32::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &f32f16_avx2_6x16::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &f32f16_avx512_12x32::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &f32f32_avx2_6x16::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &f32f32_avx512_12x32::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &i16i4_avx2_4x16::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &i16i8_avx2_6x16::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &u8i4_avx2_3x16::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &u8i4_avx512_6x32::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &u8i4_avx512vbmi_12x32::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &u8i8_avx2_6x16::KERNEL,
    #[cfg(target_arch = "x86_64")]
    &u8i8_avx512_12x32::KERNEL,
    #[cfg(target_arch = "aarch64")]
    &f32bf16_neon_6x16::KERNEL,
    #[cfg(target_arch = "aarch64")]
    &f32f16_neon_6x16::KERNEL,
    #[cfg(target_arch = "aarch64")]
    &f32f32_neon_6x16::KERNEL,
    #[cfg(target_arch = "aarch64")]
    &i8i4_neon_4x16::KERNEL,
    #[cfg(target_arch = "aarch64")]
    &i8i4_neondot_4x16::KERNEL,
    #[cfg(target_arch = "aarch64")]
    &i8i8_neon_6x16::KERNEL,
    #[cfg(target_arch = "aarch64")]
    &i8i8_neondot_6x16::KERNEL,
];

/// How many panels a tile has, how it fetches, and its rows.
type Tile = (usize, Discriminant<Fetch>, usize);

/// Every tile that products of up to `rows` rows and steps of recurrent layers ask `kernel` for.
fn asked(kernel: &MicroKernel, rows: usize) -> HashSet<Tile> {
    let mut asked = HashSet::new();
    let most = [kernel.max_rows(), kernel.max_rows_of_pair()];
    for (rows, panels) in (1..=rows).flat_map(|rows| [(rows, 1), (rows, 2)]) {
        // Caches that hold any panel.
        if panels == 2 && !plan::in_pairs(rows, most[1], 0, 0) {
            continue;
        }
        let tiles = plan::tiles(rows, most[panels - 1]);
        for tile in 0..tiles {
            let height = plan::share(rows, tiles, tile).len();
            let product = plan::fetch((tile, tiles), rows, panels, most[0]);
            asked.insert((panels, discriminant(&product), height));
            if panels == 1 {
                asked.insert((1, discriminant(&plan::fetch_in_step(tile)), height));
            }
        }
    }
    asked
}

#[test]
fn what_is_asked_for_is_compiled_and_nothing_else() {
    let selected = levels()
        .into_iter()
        .flat_map(|isa| Format::ALL.map(|format| MicroKernel::select(isa, format)));
    for kernel in KERNELS.iter().copied().chain(selected) {
        let share = Fetch::Share { tile: 0, tiles: 1 };
        let all = [(1, Fetch::Near(0)), (1, Fetch::Far(0)), (1, share), (2, share)];
        let compiled = all.into_iter().flat_map(|(panels, fetch)| {
            let heights = kernel.heights(panels, fetch).all();
            heights.map(move |rows| (panels, discriminant(&fetch), rows))
        });
        assert_eq!(asked(kernel, 2048), compiled.collect(), "{kernel:?}");
    }
}

#[test]
fn the_largest_integers_do_not_saturate() {
    for isa in levels() {
        for (format, ends) in [
            (Format::Int8, [-127.0, 127.0]),
            (Format::Int4, [LEVELS[0], LEVELS[15]].map(f32::from)),
        ] {
            let kernel = MicroKernel::select(isa, format);
            let (rows, input) = (kernel.max_rows(), 65);
            for w in ends {
                for end in [-1.0, 1.0] {
                    let x = int8_rows(&vec![end; rows * input], input);
                    check(isa, kernel, input, &x, &vec![w; 2 * kernel.layout.columns * input]);
                }
            }
        }
    }
}

#[test]
#[should_panic]
fn a_short_panel_is_refused() {
    let kernel = MicroKernel::select(Isa::detect(), Format::F32);
    let x = LhsRows { bytes: &[0; 64], stride: 64 };
    kernel.multiply(Size::of_one_panel(1, 8), x, &[0; 16], Fetch::Near(0), &mut Sums::new());
}

#[test]
#[should_panic]
fn a_short_row_is_refused() {
    let kernel = MicroKernel::select(Isa::detect(), Format::F32);
    let x = LhsRows { bytes: &[0; 64], stride: 32 };
    let panel = vec![0; kernel.layout.panel_bytes(9)];
    kernel.multiply(Size::of_one_panel(2, 9), x, &panel, Fetch::Near(0), &mut Sums::new());
}
