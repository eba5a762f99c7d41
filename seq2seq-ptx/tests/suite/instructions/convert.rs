//! Conversions.

use super::{Lanes, check_longs, lanes, words};
use half::{bf16, f16};

const VALUES: [f32; 16] = [
    0.0,
    0.5,
    1.5,
    2.5,
    -0.5,
    -1.5,
    -2.5,
    2.4,
    -2.6,
    1e10,
    -1e10,
    3e19,
    -3e19,
    255.7,
    -128.9,
    f32::NAN,
];

fn values() -> Lanes {
    std::array::from_fn(|i| VALUES[i % 16].to_bits().into())
}

#[test]
fn integers_to_integers() {
    check_longs("cvt.s64.s32 %D, %a", |a, _, _| a as i32 as i64 as u64);
    check_longs("cvt.u64.u32 %D, %a", |a, _, _| u64::from(a as u32));
    check_longs("cvt.s64.s8 %D, %A", |a, _, _| a as i8 as i64 as u64);
    check_longs("cvt.sat.u8.s32 %d, %a; cvt.u64.u32 %D, %d", |a, _, _| {
        (a as i32).clamp(0, 255) as u64
    });
    check_longs("cvt.sat.s8.s32 %d, %a; cvt.s64.s32 %D, %d", |a, _, _| {
        i64::from((a as i32).clamp(-128, 127)) as u64
    });
}

#[test]
fn floats_to_integers() {
    type Case = (&'static str, fn(f32) -> u32);
    let cases: [Case; 6] = [
        ("cvt.rni.s32.f32", |v| v.round_ties_even() as i32 as u32),
        ("cvt.rzi.s32.f32", |v| v as i32 as u32),
        ("cvt.rmi.s32.f32", |v| v.floor() as i32 as u32),
        ("cvt.rpi.s32.f32", |v| v.ceil() as i32 as u32),
        ("cvt.rzi.u32.f32", |v| v as u32),
        ("cvt.rni.f32.f32", |v| v.round_ties_even().to_bits()),
    ];
    let a = values();
    for (name, expected) in cases {
        let found = words(&format!("{name} %d, %a"), [&a, &a, &a]);
        for i in 0..32 {
            let value = f32::from_bits(a[i] as u32);
            let wanted = expected(value);
            let both_nan = value.is_nan() && name.ends_with("f32.f32");
            assert!(both_nan || found[i] == u64::from(wanted), "{name} of {value}: {}", found[i]);
        }
    }
}

#[test]
fn integers_to_floats() {
    check_longs("cvt.rn.f32.s32 %d, %a; cvt.u64.u32 %D, %d", |a, _, _| {
        u64::from((a as i32 as f32).to_bits())
    });
    check_longs("cvt.rn.f32.u64 %d, %A; cvt.u64.u32 %D, %d", |a, _, _| {
        u64::from((a as f32).to_bits())
    });
    check_longs("cvt.rn.f64.s64 %D, %A", |a, _, _| (a as i64 as f64).to_bits());
}

#[test]
fn to_sixteen_bits_and_back() {
    let a: Lanes = std::array::from_fn(|i| (1.0f32 + i as f32 * 0.012_345).to_bits().into());
    let b: Lanes = std::array::from_fn(|i| (-3.0f32 + i as f32 * 0.31).to_bits().into());
    let half = words("cvt.rn.f16.f32 %hd, %a; cvt.u32.u16 %d, %hd", [&a, &b, &b]);
    let brain = words("cvt.rn.bf16x2.f32 %d, %a, %b", [&a, &b, &b]);
    let back = words("cvt.rn.bf16.f32 %hd, %a; cvt.f32.bf16 %d, %hd", [&a, &b, &b]);
    for i in 0..32 {
        let (x, y) = (f32::from_bits(a[i] as u32), f32::from_bits(b[i] as u32));
        assert_eq!(half[i], u64::from(f16::from_f32(x).to_bits()));
        let (high, low) = (bf16::from_f32(x), bf16::from_f32(y));
        assert_eq!(brain[i], u64::from(high.to_bits()) << 16 | u64::from(low.to_bits()));
        assert_eq!(back[i], u64::from(high.to_f32().to_bits()));
    }
}

#[test]
fn toward_zero_up_and_down() {
    let a: Lanes = std::array::from_fn(|i| ((i as f32 - 15.5) * 0.123_456_7).to_bits().into());
    for (mark, side) in [("rz", 0), ("rm", -1), ("rp", 1)] {
        if side == 0 {
            let found = words("cvt.rz.bf16.f32 %hd, %a; cvt.u32.u16 %d, %hd", [&a, &a, &a]);
            (0..32).for_each(|i| assert_eq!(found[i], a[i] >> 16));
        }
        let found =
            words(&format!("cvt.{mark}.f16.f32 %hd, %a; cvt.u32.u16 %d, %hd"), [&a, &a, &a]);
        for i in 0..32 {
            let x = f64::from(f32::from_bits(a[i] as u32));
            let y = f16::from_bits(found[i] as u16).to_f64();
            let right = match side {
                0 => y.abs() <= x.abs(),
                -1 => y <= x,
                _ => y >= x,
            };
            assert!(right && (x - y).abs() < x.abs() / 1024.0, "{mark} of {x}: {y}");
        }
    }
}

#[test]
fn doubles_to_singles() {
    let a: Lanes = std::array::from_fn(|i| (i as f64 / 3.0 - 4.0).to_bits());
    let near = words("cvt.rn.f32.f64 %d, %A", [&a, &a, &a]);
    let up = words("cvt.rp.f32.f64 %d, %A", [&a, &a, &a]);
    let wide = lanes("cvt.rn.f32.f64 %d, %A; cvt.f64.f32 %D, %d;", [&a, &a, &a]);
    for i in 0..32 {
        let x = f64::from_bits(a[i]);
        assert_eq!(near[i], u64::from((x as f32).to_bits()));
        assert_eq!(f64::from_bits(wide[i]), f64::from(x as f32));
        let up = f64::from(f32::from_bits(up[i] as u32));
        assert!(up >= x && f64::from((up as f32).next_down()) < x, "{x}: {up}");
    }
}

#[test]
fn tf32_keeps_ten_bits() {
    let a: Lanes = std::array::from_fn(|i| (1.0f32 + i as f32 * 0.000_3).to_bits().into());
    let found = words("cvt.rna.tf32.f32 %d, %a", [&a, &a, &a]);
    for i in 0..32 {
        let (x, y) = (f32::from_bits(a[i] as u32), f32::from_bits(found[i] as u32));
        assert_eq!(found[i] & 0x1fff, 0);
        assert!((x - y).abs() <= 2f32.powi(-11), "{x}: {y}");
    }
}
