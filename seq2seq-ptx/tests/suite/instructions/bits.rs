//! Logic, shifts and bit fields.

use super::{check_longs, check_words};

#[test]
fn shifts_stop_at_the_width() {
    check_words("shl.b32 %d, %a, %b", |a, b, _| a.checked_shl(b).unwrap_or(0));
    check_words("shr.u32 %d, %a, %b", |a, b, _| a.checked_shr(b).unwrap_or(0));
    check_words("shr.s32 %d, %a, %b", |a, b, _| (a as i32 >> b.min(31)) as u32);
    check_longs("shl.b64 %D, %A, %b", |a, b, _| a.checked_shl(b as u32).unwrap_or(0));
    check_longs("shr.s64 %D, %A, %b", |a, b, _| (a as i64 >> (b as u32).min(63)) as u64);
}

#[test]
fn funnels() {
    let both = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    check_words("shf.l.wrap.b32 %d, %a, %b, %c", |a, b, c| ((both(a, b) << (c & 31)) >> 32) as u32);
    check_words("shf.r.wrap.b32 %d, %a, %b, %c", |a, b, c| (both(a, b) >> (c & 31)) as u32);
    check_words("shf.r.clamp.b32 %d, %a, %b, %c", |a, b, c| (both(a, b) >> c.min(32)) as u32);
    check_words("shf.l.clamp.b32 %d, %a, %b, %c", |a, b, c| {
        ((both(a, b) << c.min(32)) >> 32) as u32
    });
}

#[test]
fn counts() {
    check_words("popc.b32 %d, %a", |a, _, _| a.count_ones());
    check_words("clz.b32 %d, %a", |a, _, _| a.leading_zeros());
    check_words("brev.b32 %d, %a", |a, _, _| a.reverse_bits());
    check_words("bfind.u32 %d, %a", |a, _, _| a.checked_ilog2().unwrap_or(u32::MAX));
    check_words(
        "bfind.shiftamt.u32 %d, %a",
        |a, _, _| {
            if a == 0 { u32::MAX } else { a.leading_zeros() }
        },
    );
    check_words("bfind.s32 %d, %a", |a, _, _| {
        let a = if (a as i32) < 0 { !a } else { a };
        a.checked_ilog2().unwrap_or(u32::MAX)
    });
    check_longs("clz.b64 %d, %A; cvt.u64.u32 %D, %d", |a, _, _| u64::from(a.leading_zeros()));
    check_longs("brev.b64 %D, %A", |a, _, _| a.reverse_bits());
}

/// The table of `lop3` is what the operation makes of 0xf0, 0xcc and 0xaa.
#[test]
fn logic_of_three() {
    type Logic = fn(u32, u32, u32) -> u32;
    let all: [Logic; 5] = [
        |a, b, c| a & b | c,
        |a, b, c| a ^ b ^ c,
        |a, b, c| (a & b) | (!a & c),
        |a, b, _| !(a | b),
        |a, b, c| a & b | a & c | b & c,
    ];
    for f in all {
        let table = f(0xf0, 0xcc, 0xaa) & 0xff;
        check_words(&format!("lop3.b32 %d, %a, %b, %c, {table:#x}"), f);
    }
    check_words("not.b32 %d, %a", |a, _, _| !a);
    check_words("cnot.b32 %d, %a", |a, _, _| u32::from(a == 0));
}

/// The pseudo-code of the ISA.
#[test]
fn fields() {
    let extract = |a: u32, at: u32, length: u32, signed: bool| {
        let (at, length) = (at & 0xff, length & 0xff);
        let bit = |i: u32| if i < 32 { a >> i & 1 } else { 0 };
        let sign = if signed && length > 0 { bit((at + length - 1).min(31)) } else { 0 };
        (0..32).fold(0, |word, i| {
            let inside = i < length && at + i <= 31;
            word | (if inside { bit(at + i) } else { sign }) << i
        })
    };
    check_words("bfe.u32 %d, %a, %b, %c", |a, b, c| extract(a, b, c, false));
    check_words("bfe.s32 %d, %a, %b, %c", |a, b, c| extract(a, b, c, true));
    check_words("bfi.b32 %d, %a, 0x12345678, %b, %c", |a, at, length| {
        let (at, length) = (at & 0xff, length & 0xff);
        (0..32).fold(0x1234_5678u32, |word, i| {
            let to = at + i;
            if i < length && to <= 31 { word & !(1 << to) | (a >> i & 1) << to } else { word }
        })
    });
}

#[test]
fn permutations() {
    let pick =
        |a: u32, b: u32, i: u32| ((u64::from(b) << 32 | u64::from(a)) >> (8 * (i & 7))) as u8;
    check_words("prmt.b32 %d, %a, %b, %c", |a, b, c| {
        u32::from_le_bytes(std::array::from_fn(|i| {
            let selector = c >> (4 * i) & 0xf;
            let byte = pick(a, b, selector);
            if selector & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 }
        }))
    });
    // The rows of the ISA's table, from the highest byte to the lowest, for selectors 0 to 3.
    let tables = [
        ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        ("rc8", [[0; 4], [1; 4], [2; 4], [3; 4]]),
        ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    for (mode, rows) in tables {
        check_words(&format!("prmt.b32.{mode} %d, %a, %b, %c"), |a, b, c| {
            let row: [u32; 4] = rows[(c & 3) as usize];
            u32::from_be_bytes(row.map(|i| pick(a, b, i)))
        });
    }
}
