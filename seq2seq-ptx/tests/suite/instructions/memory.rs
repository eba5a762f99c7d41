//! Loads, stores, spaces and atomic operations.

use super::{Lanes, lanes};
use crate::host::{device, download, run, upload};
use seq2seq_ptx::{Arg, Device, Module};

fn parse(text: &str) -> Module {
    let text = format!(".version 8.0\n.target sm_80\n.address_size 64\n{text}");
    Module::parse("memory.ptx", &text).unwrap_or_else(|e| panic!("{e}"))
}

fn launch(device: &Device, module: &Module, args: &[Arg]) {
    run(device, module, "test", [1, 32], args).unwrap_or_else(|fault| panic!("{fault}"));
}

/// Narrow loads extend by the sign or by zeros, vectors keep their order.
#[test]
fn widths_and_vectors() {
    let module = parse(
        ".visible .entry test(.param .u64 from, .param .u64 to) {
        .reg .b64 %from, %to, %x, %y; .reg .b32 %r<5>, %t; .reg .b16 %h<3>;
        ld.param.u64 %from, [from]; ld.param.u64 %to, [to]; mov.u32 %t, %tid.x;
        mad.wide.u32 %to, %t, 64, %to;
        ld.global.s8 %r0, [%from]; ld.global.u8 %r1, [%from+1]; ld.global.s16 %r2, [%from+2];
        ld.global.v2.u16 {%h0, %h1}, [%from+4]; mov.b32 %r3, {%h1, %h0};
        st.global.v4.b32 [%to], {%r0, %r1, %r2, %r3};
        ld.global.v2.b64 {%x, %y}, [%from+16]; st.global.v2.u64 [%to+16], {%y, %x};
        st.global.u8 [%to+32], %r2; st.global.u8 [%to+33], %r0; ld.global.u16 %h2, [%to+32];
        st.global.u16 [%to+34], %h2; ret; }",
    );
    let device = device();
    let bytes: Vec<u8> = (0..32).map(|i| 0xf0 - i * 3).collect();
    let from = upload(&device, &bytes);
    let to = device.alloc(32 * 64).expect("room");
    launch(&device, &module, &[Arg::pointer(from), Arg::pointer(to)]);
    let mut found = [0; 36];
    device.read(to + 31 * 64, &mut found).expect("written");
    let mut wanted = Vec::new();
    wanted.extend(i32::from(bytes[0] as i8).to_le_bytes());
    wanted.extend(u32::from(bytes[1]).to_le_bytes());
    wanted.extend(i32::from(i16::from_le_bytes([bytes[2], bytes[3]])).to_le_bytes());
    wanted.extend([bytes[6], bytes[7], bytes[4], bytes[5]]);
    wanted.extend(&bytes[24..32]);
    wanted.extend(&bytes[16..24]);
    wanted.extend([bytes[2], bytes[0], bytes[2], bytes[0]]);
    assert_eq!(found.to_vec(), wanted);
}

/// One function reads through generic addresses of every space.
#[test]
fn generic_addresses() {
    let a: Lanes = std::array::from_fn(|i| i as u64 + 1);
    let body = "{ .shared .align 4 .b8 s[128]; .local .align 8 .b8 l[8]; .reg .b64 %g<3>; .reg .b32 %x, %y, %z;
        mov.u32 %d, s; mad.lo.u32 %d, %t, 4, %d; st.shared.u32 [%d], %a;
        cvt.u64.u32 %g0, %d; cvta.shared.u64 %g0, %g0; ld.u32 %x, [%g0];
        mov.u64 %g1, l; st.local.u32 [%g1+4], %a; cvta.local.u64 %g1, %g1; ld.u32 %y, [%g1+4];
        cvta.global.u64 %g2, %from; ld.u32 %z, [%g2];
        isspacep.shared %p, %g0; isspacep.shared %q, %g1;
        add.u32 %x, %x, %y; add.u32 %x, %x, %z; selp.u32 %y, 1000, 0, %p; add.u32 %x, %x, %y;
        selp.u32 %y, 5000, 0, %q; add.u32 %x, %x, %y; cvt.u64.u32 %D, %x; }";
    let found = lanes(body, [&a, &a, &a]);
    (0..32).for_each(|i| assert_eq!(found[i], 1000 + 3 * (i as u64 + 1)));
}

/// Variables of the module keep their values from launch to launch; constants lie where their names say.
#[test]
fn variables() {
    let module = parse(
        ".const .align 4 .u32 table[4] = {5, 6, 7, 8};\n.global .align 4 .u32 count = 3;
        .visible .entry test(.param .u64 to) {
        .reg .b64 %to, %at; .reg .b32 %t, %v, %n;
        ld.param.u64 %to, [to]; mov.u32 %t, %tid.x; mad.wide.u32 %to, %t, 4, %to;
        and.b32 %v, %t, 3; mov.u64 %at, table; mad.wide.u32 %at, %v, 4, %at; ld.const.u32 %v, [%at];
        ld.const.u32 %n, [table+8]; add.u32 %v, %v, %n; st.global.u32 [%to], %v;
        red.global.add.u32 [count], 1; ret; }",
    );
    let device = device();
    let to = device.alloc(128).expect("room");
    launch(&device, &module, &[Arg::pointer(to)]);
    launch(&device, &module, &[Arg::pointer(to)]);
    let wanted: Vec<u32> = (0..32).map(|i| 5 + i % 4 + 7).collect();
    assert_eq!(download::<u32>(&device, to, 32), wanted);
    let (count, bytes) = device.variable(&module, "count").expect("a variable");
    assert_eq!((download::<u32>(&device, count, 1), bytes), (vec![67], 4));
    assert!(device.variable(&module, "nothing").is_err());
}

/// A structure passed by value, read field by field and through an address.
#[test]
fn structures_as_arguments() {
    let module = parse(
        ".visible .entry test(.param .align 8 .b8 given[24], .param .u64 to) {
        .reg .b64 %to, %at; .reg .b32 %t, %v, %w;
        ld.param.u64 %to, [to]; mov.u32 %t, %tid.x; mad.wide.u32 %to, %t, 4, %to;
        ld.param.u32 %v, [given+16]; mov.b64 %at, given; and.b32 %w, %t, 3; mad.wide.u32 %at, %w, 4, %at;
        ld.param.u32 %w, [%at]; add.u32 %v, %v, %w; st.global.u32 [%to], %v; ret; }",
    );
    let device = device();
    let to = device.alloc(128).expect("room");
    let given: Vec<u8> = [1u32, 2, 3, 4, 100, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
    launch(&device, &module, &[Arg::bytes(given), Arg::pointer(to)]);
    let wanted: Vec<u32> = (0..32).map(|i| 100 + i % 4 + 1).collect();
    assert_eq!(download::<u32>(&device, to, 32), wanted);
}

/// All lanes on one number; what it is in the end does not depend on their order.
#[test]
fn atomics() {
    let after = |operation: &str, kind: &str, start: u32| {
        let module = parse(&format!(
            ".visible .entry test(.param .u64 x) {{ .reg .b64 %x; .reg .b32 %t, %v; .reg .f32 %f;
            ld.param.u64 %x, [x]; mov.u32 %t, %tid.x; cvt.rn.f32.u32 %f, %t;
            atom.global.{operation}.{kind} %v, [%x], {}; ret; }}",
            match (operation, kind) {
                ("cas", _) => "5, 77",
                (_, "f32") => "%f",
                _ => "%t",
            }
        ));
        let device = device();
        let x = upload(&device, &[start]);
        launch(&device, &module, &[Arg::pointer(x)]);
        download::<u32>(&device, x, 1)[0]
    };
    assert_eq!(after("add", "u32", 4), 500);
    assert_eq!(after("add", "f32", 0.5f32.to_bits()), 496.5f32.to_bits());
    assert_eq!(after("max", "s32", -3i32 as u32), 31);
    assert_eq!(after("min", "s32", -3i32 as u32), -3i32 as u32);
    assert_eq!(after("min", "u32", -3i32 as u32), 0);
    assert_eq!(after("or", "b32", 64), 64 | 31);
    assert_eq!(after("and", "b32", 64), 0);
    assert_eq!(after("xor", "b32", 64), 64);
    assert_eq!(after("cas", "b32", 5), 77);
    assert_eq!(after("cas", "b32", 6), 6);
    assert_eq!(after("exch", "b32", 6), 31);
    // A bound of 0 sends it back to 0 whenever lane 0 comes; lanes come in order.
    assert_eq!(after("inc", "u32", 9), 31);
}

/// `inc` and `dec` as the ISA defines them, on one lane.
#[test]
fn counters_with_bounds() {
    let a: Lanes = std::array::from_fn(|i| i as u64);
    let body = "{ .shared .align 4 .b8 s[256]; .reg .b32 %x, %y, %at;
        mov.u32 %at, s; mad.lo.u32 %at, %t, 8, %at; st.shared.u32 [%at], %a; st.shared.u32 [%at+4], %a;
        atom.shared.inc.u32 %x, [%at], 10; red.shared.dec.u32 [%at+4], 10;
        ld.shared.u32 %x, [%at]; ld.shared.u32 %y, [%at+4]; mad.lo.u32 %x, %x, 1000, %y; cvt.u64.u32 %D, %x; }";
    let found = lanes(body, [&a, &a, &a]);
    for i in 0..32u64 {
        let up = if i >= 10 { 0 } else { i + 1 };
        let down = if i == 0 || i > 10 { 10 } else { i - 1 };
        assert_eq!(found[i as usize], up * 1000 + down);
    }
}

/// Bytes beyond those given are zero, and a source of which nothing is taken is not looked at.
#[test]
fn asynchronous_copies() {
    let a: Lanes = std::array::from_fn(|i| 0x0101_0101_0101_0101 * (i as u64 + 1));
    let body = "{ .shared .align 16 .b8 s[512]; .reg .b64 %source; .reg .b32 %at, %n;
        mov.u32 %at, s; mad.lo.u32 %at, %t, 16, %at; and.b32 %n, %t, 7; setp.eq.u32 %p, %n, 0;
        selp.b64 %source, 16, %from, %p;
        cp.async.ca.shared.global [%at], [%source], 8, %n; cp.async.commit_group; cp.async.wait_group 0;
        ld.shared.u64 %D, [%at]; }";
    let found = lanes(body, [&a, &a, &a]);
    for i in 0..32u64 {
        let given = u64::MAX.checked_shr(64 - 8 * (i as u32 % 8)).unwrap_or(0);
        assert_eq!(found[i as usize], (0x0101_0101_0101_0101 * (i + 1)) & given);
    }
}
