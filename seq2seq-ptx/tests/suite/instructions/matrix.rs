//! `mma.sync`, `ldmatrix` and `movmatrix`: fragments are filled by the formulas of the ISA, element by element, and the result is
//! compared with a plain product.

use crate::host::{device, download, run, upload};
use half::{bf16, f16};
use seq2seq_ptx::{Arg, Module};

/// Row and column of element `i` of a lane's fragment of A: the ISA's text for 16-bit elements and k = 16.
fn a16(lane: usize, i: usize) -> (usize, usize) {
    let (group, in_group) = (lane >> 2, lane % 4);
    let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
    (row, if i < 4 { in_group * 2 + (i & 1) } else { in_group * 2 + (i & 1) + 8 })
}
fn b16(lane: usize, i: usize) -> (usize, usize) {
    let k = lane % 4 * 2 + (i & 1);
    (if i < 2 { k } else { k + 8 }, lane >> 2)
}
/// The same for k = 8.
fn a8(lane: usize, i: usize) -> (usize, usize) {
    (if i < 2 { lane >> 2 } else { (lane >> 2) + 8 }, lane % 4 * 2 + (i & 1))
}
fn b8(lane: usize, i: usize) -> (usize, usize) {
    (lane % 4 * 2 + i, lane >> 2)
}
/// tf32, k = 8.
fn a_tf32(lane: usize, i: usize) -> (usize, usize) {
    let row = if i == 0 || i == 2 { lane >> 2 } else { (lane >> 2) + 8 };
    (row, if i < 2 { lane % 4 } else { lane % 4 + 4 })
}
fn b_tf32(lane: usize, i: usize) -> (usize, usize) {
    (if i == 0 { lane % 4 } else { lane % 4 + 4 }, lane >> 2)
}
/// 8-bit elements, k = 32.
fn a_bytes(lane: usize, i: usize) -> (usize, usize) {
    let row = if i < 4 || (8..12).contains(&i) { lane >> 2 } else { (lane >> 2) + 8 };
    (row, if i < 8 { lane % 4 * 4 + (i & 3) } else { lane % 4 * 4 + (i & 3) + 16 })
}
fn b_bytes(lane: usize, i: usize) -> (usize, usize) {
    let k = lane % 4 * 4 + (i & 3);
    (if i < 4 { k } else { k + 16 }, lane >> 2)
}
/// Accumulators.
fn c(lane: usize, i: usize) -> (usize, usize) {
    (if i < 2 { lane >> 2 } else { (lane >> 2) + 8 }, lane % 4 * 2 + (i & 1))
}

type Place = fn(usize, usize) -> (usize, usize);

/// A kernel that loads fragments, multiplies and stores the accumulators; each lane's words lie together.
fn module(instruction: &str, counts: [usize; 3]) -> Module {
    let list =
        |name: &str, n: usize| (0..n).map(|i| format!("%{name}{i}")).collect::<Vec<_>>().join(", ");
    let [a, b, c] = counts;
    let loads: String = [("a", a, 0), ("b", b, a), ("c", c, a + b)]
        .iter()
        .flat_map(|(name, n, first)| {
            (0..*n)
                .map(move |i| format!("ld.global.b32 %{name}{i}, [%from+{}];\n", (first + i) * 4))
        })
        .collect();
    let stores: String =
        (0..c).map(|i| format!("st.global.b32 [%to+{}], %c{i};\n", i * 4)).collect();
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry test(.param .u64 from, .param .u64 to) {{
        .reg .b64 %from, %to, %at; .reg .b32 %t, %a<4>, %b<4>, %c<4>;
        ld.param.u64 %from, [from]; ld.param.u64 %to, [to]; mov.u32 %t, %tid.x;
        mad.wide.u32 %from, %t, {}, %from; mad.wide.u32 %to, %t, {}, %to;
        {loads} {instruction} {{{}}}, {{{}}}, {{{}}}, {{{}}};
        {stores} ret; }}",
        (a + b + c) * 4, c * 4, list("c", c), list("a", a), list("b", b), list("c", c)
    );
    Module::parse("mma.ptx", &text).unwrap_or_else(|e| panic!("{e}"))
}

/// Small whole numbers, so that sums are exact in every format.
fn number(seed: usize, row: usize, column: usize) -> i32 {
    ((row * 31 + column * 17 + seed * 7 + row * column) % 13) as i32 - 6
}

/// Runs an instruction. `code` gives the bits of an element of A or B, `bits` its width.
fn product(
    instruction: &str,
    depth: usize,
    bits: usize,
    places: [Place; 2],
    code: [fn(i32) -> u32; 2],
    accumulator: fn(i32) -> u32,
) -> Vec<u32> {
    let width = 32 / bits;
    let counts = [16 * depth / 32 / width, 8 * depth / 32 / width, 4];
    let mut words = Vec::new();
    for lane in 0..32 {
        for side in 0..2 {
            for register in 0..counts[side] {
                words.push((0..width).fold(0, |word, e| {
                    let (row, column) = places[side](lane, register * width + e);
                    word | code[side](number(side, row, column)) << (e * bits)
                }));
            }
        }
        words.extend((0..4).map(|i| {
            let (row, column) = c(lane, i);
            accumulator(number(2, row, column))
        }));
    }
    let device = device();
    let to = device.alloc(512).expect("room");
    let arguments = [Arg::pointer(upload(&device, &words)), Arg::pointer(to)];
    run(&device, &module(instruction, counts), "test", [1, 32], &arguments)
        .unwrap_or_else(|fault| panic!("{fault}"));
    download(&device, to, 128)
}

/// What the accumulators must hold.
fn expected(depth: usize) -> Vec<i32> {
    (0..128)
        .map(|at| {
            let (row, column) = c(at / 4, at % 4);
            (0..depth).map(|k| number(0, row, k) * number(1, k, column)).sum::<i32>()
                + number(2, row, column)
        })
        .collect()
}

fn check_floats(
    instruction: &str,
    depth: usize,
    bits: usize,
    places: [Place; 2],
    code: fn(i32) -> u32,
) {
    let found = product(instruction, depth, bits, places, [code; 2], |v| (v as f32).to_bits());
    let found: Vec<f32> = found.into_iter().map(f32::from_bits).collect();
    let wanted: Vec<f32> = expected(depth).into_iter().map(|v| v as f32).collect();
    assert_eq!(found, wanted, "{instruction}");
}

#[test]
fn floats() {
    let brain = |v: i32| u32::from(bf16::from_f32(v as f32).to_bits());
    let half = |v: i32| u32::from(f16::from_f32(v as f32).to_bits());
    let name =
        |shape: &str, kind: &str| format!("mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32");
    check_floats(&name("m16n8k16", "bf16"), 16, 16, [a16, b16], brain);
    check_floats(&name("m16n8k16", "f16"), 16, 16, [a16, b16], half);
    check_floats(&name("m16n8k8", "bf16"), 8, 16, [a8, b8], brain);
    check_floats(&name("m16n8k8", "tf32"), 8, 32, [a_tf32, b_tf32], |v| (v as f32).to_bits());
}

#[test]
fn bytes() {
    let whole = |v: i32| v as u32;
    let signed = |v: i32| u32::from(v as i8 as u8);
    let instruction = "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32";
    let found = product(instruction, 32, 8, [a_bytes, b_bytes], [signed; 2], whole);
    let found: Vec<i32> = found.into_iter().map(|v| v as i32).collect();
    assert_eq!(found, expected(32));
}

/// An element that is unsigned in B: 250 is not -6.
#[test]
fn unsigned_bytes() {
    let code: [fn(i32) -> u32; 2] = [|_| 1, |_| 250];
    let instruction = "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32";
    let found = product(instruction, 32, 8, [a_bytes, b_bytes], code, |_| 0);
    assert_eq!(found, vec![32 * 250; 128]);
}

/// Loads four matrices from rows that lie apart; the ISA: lane l gets elements 2 (l % 4) and the next of row l / 4, of matrix
/// j in register j, whose row r is addressed by lane 8 j + r.
fn loaded(count: usize, transposed: bool) -> Vec<u32> {
    let list = (0..count).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(", ");
    let stores: String =
        (0..count).map(|i| format!("st.global.b32 [%to+{}], %r{i};\n", i * 4)).collect();
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry test(.param .u64 from, .param .u64 to) {{
        .shared .align 16 .b8 rows[1024]; .reg .b64 %from, %to; .reg .b32 %t, %s, %r<4>, %v<4>;
        ld.param.u64 %from, [from]; ld.param.u64 %to, [to]; mov.u32 %t, %tid.x;
        mad.wide.u32 %from, %t, 16, %from; mad.wide.u32 %to, %t, {}, %to;
        ld.global.v4.b32 {{%v0, %v1, %v2, %v3}}, [%from];
        mov.u32 %s, rows; mad.lo.u32 %s, %t, 32, %s;
        st.shared.v4.b32 [%s], {{%v0, %v1, %v2, %v3}}; bar.warp.sync 0xffffffff;
        ldmatrix.sync.aligned.m8n8.x{count}{}.shared.b16 {{{list}}}, [%s];
        {stores} ret; }}",
        count * 4,
        if transposed { ".trans" } else { "" }
    );
    let module = Module::parse("ldmatrix.ptx", &text).unwrap_or_else(|e| panic!("{e}"));
    let device = device();
    let rows: Vec<u16> = (0..256).collect();
    let to = device.alloc(128 * count as u64).expect("room");
    let arguments = [Arg::pointer(upload(&device, &rows)), Arg::pointer(to)];
    run(&device, &module, "test", [1, 32], &arguments).unwrap_or_else(|fault| panic!("{fault}"));
    download(&device, to, 32 * count)
}

#[test]
fn ldmatrix() {
    for count in [1, 2, 4] {
        for transposed in [false, true] {
            let found = loaded(count, transposed);
            for (at, word) in found.iter().enumerate() {
                let (lane, matrix) = (at / count, at % count);
                let (row, column) = (lane / 4, lane % 4 * 2);
                let element = |r: usize, c: usize| (matrix * 64 + r * 8 + c) as u32;
                let wanted = if transposed {
                    element(column, row) | element(column + 1, row) << 16
                } else {
                    element(row, column) | element(row, column + 1) << 16
                };
                assert_eq!(*word, wanted, "x{count}, transposed {transposed}, lane {lane}");
            }
        }
    }
}

/// The ISA: a lane gives elements 2 (l % 4) and the next of row l / 4, and gets those of the transposed matrix.
#[test]
fn movmatrix() {
    let text =
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry test(.param .u64 from, .param .u64 to) {
        .reg .b64 %from, %to; .reg .b32 %t, %r<2>;
        ld.param.u64 %from, [from]; ld.param.u64 %to, [to]; mov.u32 %t, %tid.x;
        mad.wide.u32 %from, %t, 4, %from; mad.wide.u32 %to, %t, 4, %to;
        ld.global.b32 %r0, [%from];
        movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0;
        st.global.b32 [%to], %r1; ret; }";
    let module = Module::parse("movmatrix.ptx", text).unwrap_or_else(|e| panic!("{e}"));
    let device = device();
    let elements: Vec<u16> = (0..64).map(|at| 1000 * (at / 8) + at % 8).collect();
    let to = device.alloc(128).expect("room");
    let arguments = [Arg::pointer(upload(&device, &elements)), Arg::pointer(to)];
    run(&device, &module, "test", [1, 32], &arguments).unwrap_or_else(|fault| panic!("{fault}"));
    let wanted: Vec<u32> = (0..32)
        .map(|lane| {
            let (row, column) = (lane / 4, lane % 4 * 2);
            (1000 * column + row) | (1000 * (column + 1) + row) << 16
        })
        .collect();
    assert_eq!(download::<u32>(&device, to, 32), wanted);
    let without = text.replace(".trans", "");
    assert!(Module::parse("movmatrix.ptx", &without).is_err());
}
