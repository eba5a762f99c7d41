//! Instructions against their definition in the PTX ISA, in small kernels written by hand.

mod bits;
mod control;
mod convert;
mod exchange;
mod float;
mod integer;
mod matrix;
mod memory;

use crate::host::{device, download, run, upload};
use seq2seq_ptx::{Arg, Module};

/// Numbers of the 32 lanes.
pub(crate) type Lanes = [u64; 32];

/// Runs instructions on one warp. They find the operands in `%A`, `%B`, `%C` (64 bits), `%a`, `%b`, `%c` (their low 32) and
/// `%ha`, `%hb`, `%hc` (their low 16), and leave the result in `%D`; `%d`, `%e` (32), `%hd` (16), `%p`, `%q` are free.
pub(crate) fn lanes(body: &str, operands: [&Lanes; 3]) -> Lanes {
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n
.visible .entry test(.param .u64 from, .param .u64 to)
{{
    .reg .b64 %A, %B, %C, %D, %E, %from, %to, %at;
    .reg .b32 %a, %b, %c, %d, %e, %t;
    .reg .b16 %ha, %hb, %hc, %hd;
    .reg .pred %p, %q;
    ld.param.u64 %from, [from];
    ld.param.u64 %to, [to];
    mov.u32 %t, %tid.x;
    mul.wide.u32 %at, %t, 8;
    add.s64 %from, %from, %at;
    add.s64 %to, %to, %at;
    ld.global.u64 %A, [%from];
    ld.global.u64 %B, [%from+256];
    ld.global.u64 %C, [%from+512];
    cvt.u32.u64 %a, %A;
    cvt.u32.u64 %b, %B;
    cvt.u32.u64 %c, %C;
    cvt.u16.u64 %ha, %A;
    cvt.u16.u64 %hb, %B;
    cvt.u16.u64 %hc, %C;
    {body}
    st.global.u64 [%to], %D;
    ret;
}}"
    );
    let module = Module::parse("test.ptx", &text).unwrap_or_else(|e| panic!("{e}"));
    let device = device();
    let from = upload(&device, &operands.map(|o| o.to_vec()).concat());
    let to = device.alloc(256).expect("room");
    run(&device, &module, "test", [1, 32], &[Arg::pointer(from), Arg::pointer(to)])
        .unwrap_or_else(|fault| panic!("{body}: {fault}"));
    download(&device, to, 32).try_into().expect("32 numbers")
}

/// The result of an instruction that leaves 32 bits in `%d`.
pub(crate) fn words(instruction: &str, operands: [&Lanes; 3]) -> Lanes {
    lanes(&format!("{instruction};\n cvt.u64.u32 %D, %d;"), operands)
}

/// The result of an instruction that leaves 16 bits in `%hd`.
pub(crate) fn shorts(instruction: &str, operands: [&Lanes; 3]) -> Lanes {
    lanes(&format!("{instruction};\n cvt.u64.u16 %D, %hd;"), operands)
}

/// The result of an instruction that leaves a predicate in `%p`.
pub(crate) fn predicates(instruction: &str, operands: [&Lanes; 3]) -> Lanes {
    lanes(&format!("{instruction};\n selp.u64 %D, 1, 0, %p;"), operands)
}

/// Numbers at the edges of integer types, and others; three sets that meet in many ways.
pub(crate) fn edges() -> [Lanes; 3] {
    let some: [u64; 16] = [
        0,
        1,
        2,
        31,
        32,
        63,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        i64::MAX as u64,
        i64::MIN as u64,
        u64::MAX,
    ];
    let mut state = 88_172_645_463_325_252u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut set = |turn: usize| {
        std::array::from_fn(|i| if i % 4 < 3 { some[(i * turn + i / 5) % 16] } else { draw() })
    };
    [set(1), set(3), set(7)]
}

/// Checks an instruction of 32 bits on the edges.
pub(crate) fn check_words(instruction: &str, expected: impl Fn(u32, u32, u32) -> u32) {
    let [a, b, c] = &edges();
    let found = words(instruction, [a, b, c]);
    for i in 0..32 {
        let wanted = expected(a[i] as u32, b[i] as u32, c[i] as u32);
        let (x, y, z) = (a[i] as u32, b[i] as u32, c[i] as u32);
        assert_eq!(found[i], u64::from(wanted), "{instruction} of {x:#x}, {y:#x}, {z:#x}");
    }
}

/// Checks an instruction of 64 bits on the edges.
pub(crate) fn check_longs(instruction: &str, expected: impl Fn(u64, u64, u64) -> u64) {
    let [a, b, c] = &edges();
    let found = lanes(&format!("{instruction};"), [a, b, c]);
    for i in 0..32 {
        let (x, y, z) = (a[i], b[i], c[i]);
        assert_eq!(found[i], expected(x, y, z), "{instruction} of {x:#x}, {y:#x}, {z:#x}");
    }
}
