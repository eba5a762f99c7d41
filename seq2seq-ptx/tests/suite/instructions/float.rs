//! Arithmetic of floats.

use super::{Lanes, lanes, predicates, shorts, words};
use half::{bf16, f16};

/// Pairs and triples of f32 where rounding, signs and NaN show.
fn singles() -> [Lanes; 3] {
    let some = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        1.0 + f32::EPSILON,
        3.0,
        0.1,
        -0.3,
        1e-40,
        -1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1.234_567e10,
    ];
    let set = |turn: usize| std::array::from_fn(|i| some[(i * turn + i / 7) % 16].to_bits().into());
    [set(1), set(3), set(5)]
}

fn check(instruction: &str, expected: impl Fn(f32, f32, f32) -> f32) {
    let [a, b, c] = &singles();
    let found = words(instruction, [a, b, c]);
    for i in 0..32 {
        let [x, y, z] = [a, b, c].map(|v| f32::from_bits(v[i] as u32));
        let (found, wanted) = (f32::from_bits(found[i] as u32), expected(x, y, z));
        let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
        assert!(same, "{instruction} of {x:e}, {y:e}, {z:e}: {found:e}, expected {wanted:e}");
    }
}

#[test]
fn nearest() {
    check("add.f32 %d, %a, %b", |a, b, _| a + b);
    check("sub.rn.f32 %d, %a, %b", |a, b, _| a - b);
    check("mul.f32 %d, %a, %b", |a, b, _| a * b);
    check("fma.rn.f32 %d, %a, %b, %c", |a, b, c| a.mul_add(b, c));
    check("div.rn.f32 %d, %a, %b", |a, b, _| a / b);
    check("sqrt.rn.f32 %d, %a", |a, _, _| a.sqrt());
    check("rcp.rn.f32 %d, %a", |a, _, _| 1.0 / a);
    check("neg.f32 %d, %a", |a, _, _| -a);
    check("abs.f32 %d, %a", |a, _, _| a.abs());
    check("copysign.f32 %d, %a, %b", |a, b, _| b.copysign(a));
}

#[test]
fn flushed_and_saturated() {
    let flush = |a: f32| if a.is_subnormal() { 0f32.copysign(a) } else { a };
    check("add.ftz.f32 %d, %a, %b", move |a, b, _| flush(flush(a) + flush(b)));
    check("fma.rn.ftz.f32 %d, %a, %b, %c", move |a, b, c| {
        flush(flush(a).mul_add(flush(b), flush(c)))
    });
    check("add.sat.f32 %d, %a, %b", |a, b, _| {
        let sum = a + b;
        if sum.is_nan() || sum < 0.0 {
            0.0
        } else {
            sum.min(1.0).max(if sum == 0.0 { sum } else { 0.0 })
        }
    });
}

#[test]
fn least_and_greatest() {
    let less = |a: f32, b: f32| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a.total_cmp(&b).is_lt() => a,
        _ => b,
    };
    check("min.f32 %d, %a, %b", |a, b, _| less(a, b));
    check("max.f32 %d, %a, %b", |a, b, _| -less(-a, -b));
    check(
        "min.NaN.f32 %d, %a, %b",
        |a, b, _| {
            if a.is_nan() || b.is_nan() { f32::NAN } else { less(a, b) }
        },
    );
}

/// A directed rounding is next to the exact value, on its own side.
#[test]
fn directed() {
    let [a, b, c] = &singles();
    let kinds = [("rm", -1), ("rp", 1), ("rz", 0)];
    for (mark, side) in kinds {
        let found = words(&format!("fma.{mark}.f32 %d, %a, %b, %c"), [a, b, c]);
        for i in 0..32 {
            let [x, y, z] = [a, b, c].map(|v| f32::from_bits(v[i] as u32));
            let near = x.mul_add(y, z);
            let found = f32::from_bits(found[i] as u32);
            if !near.is_finite() {
                continue;
            }
            let side = if side == 0 { if near > 0.0 { -1 } else { 1 } } else { side };
            // Compares with the exact sum through its sign: (x y - found) + z, both parts exact or rounded the right way.
            let product = f64::from(x) * f64::from(y);
            let (rest, z) = (product - f64::from(found), f64::from(z));
            let difference = rest + z;
            assert!(
                difference == 0.0 || (difference > 0.0) == (side < 0),
                "fma.{mark} of {x:e}, {y:e}, {z:e}: {found:e}"
            );
            assert!(found == near || found == near.next_up() || found == near.next_down());
        }
    }
}

/// The case that `expf` rests on: adding a large number moves the integral part into the low bits, rounded down.
#[test]
fn rounding_down_takes_the_floor() {
    let a: Lanes = std::array::from_fn(|i| (i as f32 * 0.37 - 5.0).to_bits().into());
    let found = words("fma.rm.f32 %d, %a, 0f3F800000, 0f4B400000", [&a, &a, &a]);
    for i in 0..32 {
        let floor = f32::from_bits(a[i] as u32).floor();
        assert_eq!(f32::from_bits(found[i] as u32) - 12_582_912.0, floor);
    }
}

#[test]
fn approximations_are_close() {
    type Function = fn(f64) -> f64;
    let all: [(&str, Function); 8] = [
        ("ex2.approx.ftz.f32", f64::exp2),
        ("lg2.approx.f32", f64::log2),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt()),
        ("sqrt.approx.f32", f64::sqrt),
        ("rcp.approx.ftz.f32", |x| 1.0 / x),
        ("sin.approx.f32", f64::sin),
        ("cos.approx.f32", f64::cos),
        ("tanh.approx.f32", f64::tanh),
    ];
    let a: Lanes = std::array::from_fn(|i| (0.1 + i as f32 * 0.37).to_bits().into());
    for (name, f) in all {
        let found = words(&format!("{name} %d, %a"), [&a, &a, &a]);
        for i in 0..32 {
            let wanted = f(f64::from(f32::from_bits(a[i] as u32)));
            let found = f64::from(f32::from_bits(found[i] as u32));
            assert!((found - wanted).abs() <= 1e-6 * wanted.abs().max(1e-3), "{name}: {found}");
        }
    }
}

#[test]
fn comparisons_with_nan() {
    let [a, b, c] = &singles();
    use std::cmp::Ordering::{Equal, Greater, Less};
    type Relation = (&'static str, fn(Option<std::cmp::Ordering>) -> bool);
    let all: [Relation; 7] = [
        ("eq", |o| o == Some(Equal)),
        ("ne", |o| matches!(o, Some(Less | Greater))),
        ("neu", |o| o != Some(Equal)),
        ("ltu", |o| matches!(o, None | Some(Less))),
        ("ge", |o| matches!(o, Some(Equal | Greater))),
        ("num", |o| o.is_some()),
        ("nan", |o| o.is_none()),
    ];
    for (mark, expected) in all {
        let found = predicates(&format!("setp.{mark}.f32 %p, %a, %b"), [a, b, c]);
        for i in 0..32 {
            let (x, y) = (f32::from_bits(a[i] as u32), f32::from_bits(b[i] as u32));
            assert_eq!(found[i] == 1, expected(x.partial_cmp(&y)), "{mark} of {x}, {y}");
        }
    }
}

/// Numbers of f16 and bf16 that are exact in f64 arithmetic, so that one rounding is right.
#[test]
fn halves() {
    let values = [1.0f32, -2.5, 0.1, 1e-3, 100.25, -0.007, 3.0, 65_000.0];
    let pick = |turn: usize, i: usize| values[(i * turn + i / 3) % 8];
    let h =
        |turn| -> Lanes { std::array::from_fn(|i| f16::from_f32(pick(turn, i)).to_bits().into()) };
    let b =
        |turn| -> Lanes { std::array::from_fn(|i| bf16::from_f32(pick(turn, i)).to_bits().into()) };
    let half = shorts("fma.rn.f16 %hd, %ha, %hb, %hc", [&h(1), &h(3), &h(5)]);
    let brain = shorts("fma.rn.bf16 %hd, %ha, %hb, %hc", [&b(1), &b(3), &b(5)]);
    for i in 0..32 {
        let [x, y, z] = [1, 3, 5].map(|t| f16::from_bits(h(t)[i] as u16).to_f64());
        assert_eq!(half[i], u64::from(f16::from_f64(x * y + z).to_bits()), "{x} {y} {z}");
        let [x, y, z] = [1, 3, 5].map(|t| bf16::from_bits(b(t)[i] as u16).to_f64());
        assert_eq!(brain[i], u64::from(bf16::from_f64(x * y + z).to_bits()), "{x} {y} {z}");
    }
}

/// 1 + 2^-11 + 2^-35 rounds up in f16; rounding to f32 first would lose the last part and round to even, down.
#[test]
fn halves_round_once() {
    let bits = |x: f32| u64::from(f16::from_f32(x).to_bits());
    let (a, b, c) = ([bits(2f32.powi(-11) * 1.5); 32], [bits(0.667); 32], [bits(1.0); 32]);
    let exact = f16::from_f32(2f32.powi(-11) * 1.5).to_f64() * f16::from_f32(0.667).to_f64() + 1.0;
    assert!(exact > 1.0 + 2f64.powi(-11), "the case is just above a tie");
    let found = shorts("fma.rn.f16 %hd, %ha, %hb, %hc", [&a, &b, &c])[0];
    assert_eq!(found, bits(1.0) + 1);
}

#[test]
fn pairs() {
    let pack = |low: f32, high: f32| {
        u64::from(bf16::from_f32(low).to_bits()) | u64::from(bf16::from_f32(high).to_bits()) << 16
    };
    let (a, b) = ([pack(1.5, -2.0); 32], [pack(0.25, 8.0); 32]);
    let found = |instruction: &str| words(instruction, [&a, &b, &b])[7];
    assert_eq!(found("fma.rn.bf16x2 %d, %a, %b, %c"), pack(0.625, -8.0));
    assert_eq!(found("max.bf16x2 %d, %a, %b"), pack(1.5, 8.0));
    assert_eq!(found("neg.bf16x2 %d, %a"), pack(-1.5, 2.0));
    assert_eq!(found("fma.rn.relu.bf16x2 %d, %a, %b, %c"), pack(0.625, 0.0));
}

#[test]
fn doubles() {
    let a: Lanes = std::array::from_fn(|i| (i as f64 * 0.7 - 3.0).to_bits());
    let b: Lanes = std::array::from_fn(|i| (1.0 / (i as f64 + 0.3)).to_bits());
    let found = lanes("fma.rn.f64 %D, %A, %B, %B; div.rn.f64 %D, %D, %A;", [&a, &b, &b]);
    for i in 0..32 {
        let (x, y) = (f64::from_bits(a[i]), f64::from_bits(b[i]));
        assert_eq!(f64::from_bits(found[i]), x.mul_add(y, y) / x);
    }
}
