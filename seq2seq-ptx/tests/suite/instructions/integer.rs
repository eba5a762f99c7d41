//! Integer arithmetic.

use super::{check_longs, check_words, edges, predicates, shorts};

#[test]
fn sums_and_products() {
    check_words("add.s32 %d, %a, %b", |a, b, _| a.wrapping_add(b));
    check_words("sub.u32 %d, %a, %b", |a, b, _| a.wrapping_sub(b));
    check_words("add.sat.s32 %d, %a, %b", |a, b, _| (a as i32).saturating_add(b as i32) as u32);
    check_words("mul.lo.s32 %d, %a, %b", |a, b, _| a.wrapping_mul(b));
    check_words("mul.hi.u32 %d, %a, %b", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    check_words("mul.hi.s32 %d, %a, %b", |a, b, _| {
        ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32
    });
    check_words("mad.lo.s32 %d, %a, %b, %c", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check_longs("mul.wide.u32 %D, %a, %b", |a, b, _| u64::from(a as u32) * u64::from(b as u32));
    check_longs("mul.wide.s32 %D, %a, %b", |a, b, _| {
        (i64::from(a as i32) * i64::from(b as i32)) as u64
    });
    check_longs("mad.wide.s32 %D, %a, %b, %C", |a, b, c| {
        ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(c)
    });
    check_longs("mul.hi.u64 %D, %A, %B", |a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    check_longs("mul.hi.s64 %D, %A, %B", |a, b, _| {
        ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
    });
    check_longs("mad.lo.s64 %D, %A, %B, %C", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
}

#[test]
fn quotients() {
    let or = |b: u32| if b == 0 { 1 } else { b };
    let with = |op: &str| format!("max.u32 %b, %b, 1; {op} %d, %a, %b");
    check_words(&with("div.u32"), |a, b, _| a / or(b));
    check_words(&with("rem.u32"), |a, b, _| a % or(b));
    check_words(&with("div.s32"), |a, b, _| (a as i32).wrapping_div(or(b) as i32) as u32);
    check_words(&with("rem.s32"), |a, b, _| (a as i32).wrapping_rem(or(b) as i32) as u32);
    check_longs("max.u64 %B, %B, 1; div.s64 %D, %A, %B", |a, b, _| {
        (a as i64).wrapping_div(b.max(1) as i64) as u64
    });
}

#[test]
fn choices() {
    check_words("min.s32 %d, %a, %b", |a, b, _| (a as i32).min(b as i32) as u32);
    check_words("max.u32 %d, %a, %b", |a, b, _| a.max(b));
    check_words("abs.s32 %d, %a", |a, _, _| (a as i32).wrapping_abs() as u32);
    check_words("neg.s32 %d, %a", |a, _, _| a.wrapping_neg());
    check_longs("max.s64 %D, %A, %B", |a, b, _| (a as i64).max(b as i64) as u64);
    check_words("sad.s32 %d, %a, %b, %c", |a, b, c| (a as i32).abs_diff(b as i32).wrapping_add(c));
}

#[test]
fn dot_products_of_bytes() {
    let byte = |x: u32, i: u32| (x >> (8 * i)) as u8;
    check_words("dp4a.s32.s32 %d, %a, %b, %c", |a, b, c| {
        (0..4).fold(c, |sum, i| {
            let product = i32::from(byte(a, i) as i8) * i32::from(byte(b, i) as i8);
            sum.wrapping_add(product as u32)
        })
    });
    check_words("dp4a.u32.s32 %d, %a, %b, %c", |a, b, c| {
        (0..4).fold(c, |sum, i| {
            let product = i32::from(byte(a, i)) * i32::from(byte(b, i) as i8);
            sum.wrapping_add(product as u32)
        })
    });
}

#[test]
fn sixteen_bits() {
    let [a, b, c] = &edges();
    let found = shorts("mul.lo.s16 %hd, %ha, %hb", [a, b, c]);
    let shifted = shorts("shr.s16 %hd, %ha, 3", [a, b, c]);
    for i in 0..32 {
        assert_eq!(found[i], u64::from((a[i] as u16).wrapping_mul(b[i] as u16)));
        assert_eq!(shifted[i], u64::from((a[i] as i16 >> 3) as u16));
    }
}

#[test]
fn comparisons() {
    let [a, b, c] = &edges();
    type Relation = (&'static str, fn(u64, u64) -> bool);
    let relations: [Relation; 8] = [
        ("setp.lt.s32 %p, %a, %b", |a, b| (a as i32) < b as i32),
        ("setp.lt.u32 %p, %a, %b", |a, b| (a as u32) < b as u32),
        ("setp.hs.u32 %p, %a, %b", |a, b| a as u32 >= b as u32),
        ("setp.ne.s16 %p, %ha, %hb", |a, b| a as u16 != b as u16),
        ("setp.ge.s64 %p, %A, %B", |a, b| a as i64 >= b as i64),
        ("setp.gt.u64 %p, %A, %B", |a, b| a > b),
        ("setp.eq.s32 %q, %a, 0; setp.lt.and.s32 %p, %a, %b, %q", |a, b| {
            a as u32 == 0 && (a as i32) < b as i32
        }),
        ("setp.eq.s32 %q, %a, 0; setp.lt.or.s32 %p|%q, %a, %b, !%q", |a, b| {
            (a as i32) < b as i32 || a as u32 != 0
        }),
    ];
    for (instruction, expected) in relations {
        let found = predicates(instruction, [a, b, c]);
        for i in 0..32 {
            assert_eq!(found[i] == 1, expected(a[i], b[i]), "{instruction} {} {}", a[i], b[i]);
        }
    }
}
