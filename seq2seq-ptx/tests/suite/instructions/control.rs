//! Branches, calls, barriers, and text that cannot be read.

use super::{Lanes, lanes};
use crate::host::{device, download, run};
use seq2seq_ptx::{Arg, FaultKind, Module};

fn lane_numbers() -> Lanes {
    std::array::from_fn(|i| i as u64)
}

/// Each lane runs a loop as often as its number, with a branch inside; afterwards all are together again.
#[test]
fn loops_of_different_lengths() {
    let a = lane_numbers();
    let body = "mov.u32 %d, 0; mov.u32 %e, %a;
        LOOP: setp.eq.u32 %p, %e, 0; @%p bra DONE;
        and.b32 %b, %e, 1; setp.eq.u32 %q, %b, 0; @%q bra EVEN;
        add.u32 %d, %d, 100; bra.uni NEXT;
        EVEN: add.u32 %d, %d, 1;
        NEXT: sub.u32 %e, %e, 1; bra.uni LOOP;
        DONE: activemask.b32 %e; cvt.u64.u32 %D, %d; cvt.u64.u32 %E, %e; shl.b64 %E, %E, 32; or.b64 %D, %D, %E;";
    let found = lanes(body, [&a, &a, &a]);
    for i in 0..32u64 {
        let count = (1..=i).map(|v| if v % 2 == 1 { 100 } else { 1 }).sum::<u64>();
        assert_eq!(found[i as usize], 0xffff_ffff << 32 | count);
    }
}

#[test]
fn tables_of_branches() {
    let a = lane_numbers();
    let body = "TABLE: .branchtargets L0, L1, L2, L1;
        and.b32 %e, %a, 3; brx.idx %e, TABLE;
        L0: mov.u64 %D, 10; bra.uni DONE;
        L1: mov.u64 %D, 11; bra.uni DONE;
        L2: mov.u64 %D, 12;
        DONE:";
    let found = lanes(body, [&a, &a, &a]);
    (0..32).for_each(|i| assert_eq!(found[i], [10, 11, 12, 11][i % 4]));
}

/// Registers and labels in braces hide those outside; a guard stands before the braces' instructions only.
#[test]
fn braces_have_their_own_names() {
    let a = lane_numbers();
    let body = "mov.u32 %d, 5;
        { .reg .b32 %d; mov.u32 %d, 7; bra.uni OUT; OUT: }
        { .reg .b32 %x<2>; mov.u32 %x0, 1; add.u32 %x1, %x0, %d; mov.u32 %d, %x1; bra.uni OUT; OUT: }
        cvt.u64.u32 %D, %d;";
    assert_eq!(lanes(body, [&a, &a, &a]), [6; 32]);
}

/// A recursive function, called by some lanes only, each with its own depth.
#[test]
fn calls() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64
.func (.param .b32 result) factorial(.param .b32 n) {
    .reg .b32 %n, %m, %r; .reg .pred %p;
    ld.param.u32 %n, [n];
    setp.gt.u32 %p, %n, 1;
    @%p bra MORE;
    st.param.b32 [result], 1;
    ret;
MORE:
    sub.u32 %m, %n, 1;
    { .param .b32 given; .param .b32 taken;
      st.param.b32 [given], %m;
      call.uni (taken), factorial, (given);
      ld.param.b32 %r, [taken]; }
    mul.lo.u32 %r, %r, %n;
    st.param.b32 [result], %r;
    ret;
}
.visible .entry test(.param .u64 to) {
    .reg .b64 %to; .reg .b32 %t, %r; .reg .pred %p;
    ld.param.u64 %to, [to]; mov.u32 %t, %tid.x; mad.wide.u32 %to, %t, 4, %to;
    mov.u32 %r, 99; setp.gt.u32 %p, %t, 9; @%p bra DONE;
    { .param .b32 given; .param .b32 taken;
      st.param.b32 [given], %t; call (taken), factorial, (given); ld.param.b32 %r, [taken]; }
DONE: st.global.u32 [%to], %r; ret;
}";
    let (device, module) = (device(), Module::parse("calls.ptx", text).expect("text"));
    let to = device.alloc(128).expect("room");
    run(&device, &module, "test", [1, 32], &[Arg::pointer(to)]).unwrap_or_else(|f| panic!("{f}"));
    let found: Vec<u32> = download(&device, to, 32);
    for (i, v) in found.iter().enumerate() {
        assert_eq!(*v, if i > 9 { 99 } else { (1..=i as u32).product() });
    }
}

/// A warp that produces and one that consumes, with a barrier each way; then a count over the block.
#[test]
fn barriers() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64
.visible .entry test(.param .u64 to) {
    .shared .align 4 .b8 s[128];
    .reg .b64 %to; .reg .b32 %t, %l, %at, %i, %v, %sum, %n; .reg .pred %p, %q;
    ld.param.u64 %to, [to]; mov.u32 %t, %tid.x; mad.wide.u32 %to, %t, 4, %to;
    and.b32 %l, %t, 31; mov.u32 %at, s; mad.lo.u32 %at, %l, 4, %at;
    mov.u32 %i, 0; mov.u32 %sum, 0; setp.lt.u32 %p, %t, 32; @!%p bra CONSUMER;
PRODUCER:
    mad.lo.u32 %v, %i, 100, %l; st.shared.u32 [%at], %v;
    bar.arrive 1, 64;
    bar.sync 2, 64;
    add.u32 %i, %i, 1; setp.lt.u32 %q, %i, 5; @%q bra PRODUCER;
    bra.uni DONE;
CONSUMER:
    xor.b32 %at, %at, 4;
CONSUME:
    bar.sync 1, 64;
    ld.shared.u32 %v, [%at]; add.u32 %sum, %sum, %v;
    bar.arrive 2, 64;
    add.u32 %i, %i, 1; setp.lt.u32 %q, %i, 5; @%q bra CONSUME;
DONE:
    setp.gt.u32 %q, %t, 39; bar.red.popc.u32 %n, 0, %q;
    add.u32 %sum, %sum, %n; st.global.u32 [%to], %sum; ret;
}";
    let module = Module::parse("barriers.ptx", text).expect("text");
    for seed in 0..8 {
        let device = device();
        device.set_schedule(seed);
        let to = device.alloc(256).expect("room");
        let result = run(&device, &module, "test", [1, 64], &[Arg::pointer(to)]);
        result.unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        let found: Vec<u32> = download(&device, to, 64);
        for (i, v) in found.iter().enumerate() {
            let sum = if i < 32 { 0 } else { 1000 + 5 * ((i as u32 % 32) ^ 1) };
            assert_eq!(*v, sum + 24);
        }
    }
}

/// Leaving the barrier back to the producer out is a race.
#[test]
fn a_producer_that_does_not_wait() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64
.visible .entry test() {
    .shared .align 4 .b8 s[128];
    .reg .b32 %t, %l, %at, %v; .reg .pred %p;
    mov.u32 %t, %tid.x; and.b32 %l, %t, 31; mov.u32 %at, s; mad.lo.u32 %at, %l, 4, %at;
    setp.lt.u32 %p, %t, 32; @!%p bra CONSUMER;
    st.shared.u32 [%at], %l; bar.arrive 1, 64; st.shared.u32 [%at], %l; ret;
CONSUMER:
    bar.sync 1, 64; ld.shared.u32 %v, [%at]; ret;
}";
    let (device, module) = (device(), Module::parse("barriers.ptx", text).expect("text"));
    let fault = run(&device, &module, "test", [1, 64], &[]).expect_err("a race");
    assert!(matches!(fault.kind, FaultKind::Race { .. }), "{fault}");
}

/// Lanes that wait in a loop for another lane of their own warp.
#[test]
fn lanes_wait_for_each_other() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64
.visible .entry test(.param .u64 to) {
    .shared .align 4 .b8 flag[4];
    .reg .b64 %to; .reg .b32 %t, %v; .reg .pred %p;
    ld.param.u64 %to, [to]; mov.u32 %t, %tid.x; mad.wide.u32 %to, %t, 4, %to;
    setp.ne.u32 %p, %t, 7; @!%p st.volatile.shared.u32 [flag], 0; bar.warp.sync 0xffffffff;
    @!%p bra SET;
WAIT: ld.volatile.shared.u32 %v, [flag]; setp.eq.u32 %p, %v, 0; @%p bra WAIT;
    bra.uni DONE;
SET: mov.u32 %v, 3; st.volatile.shared.u32 [flag], 3;
DONE: st.global.u32 [%to], %v; ret;
}";
    let (device, module) = (device(), Module::parse("wait.ptx", text).expect("text"));
    let to = device.alloc(128).expect("room");
    run(&device, &module, "test", [1, 32], &[Arg::pointer(to)]).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(download::<u32>(&device, to, 32), vec![3; 32]);
}

#[test]
fn text_that_cannot_be_read() {
    let refused = |body: &str, line: u32, reason: &str| {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.entry test() {{\n.reg .b32 %r<3>;\n{body}\nret;\n}}"
        );
        let error = Module::parse("bad.ptx", &text).expect_err(body);
        assert_eq!(error.line, line, "{error}");
        assert!(error.reason.contains(reason), "{error}");
        assert!(error.to_string().starts_with("bad.ptx:"), "{error}");
    };
    refused("frobnicate.b32 %r0, %r1;", 6, "instruction frobnicate.b32 is not known");
    refused("add.s32.wrong %r0, %r1, %r2;", 6, "add.s32.wrong");
    refused("add.s32 %r0, %r1;", 6, "2 operands, expected 3");
    refused("\n\nadd.s32 %r0, %r1, %r7;", 8, "unknown register %r7");
    refused("bra NOWHERE;", 6, "label NOWHERE is not there");
    refused("add.s32 %r0, %r1, %r2", 7, "expected ';'");
    refused(".surprise 3;", 6, "directive .surprise is not known");
    refused("tcgen05.wait::ld.sync.aligned;", 6, "tcgen05.wait::ld.sync.aligned");
    let open = Module::parse("bad.ptx", ".version 8.0\n/* never ends").expect_err("a comment");
    assert_eq!((open.line, open.reason.as_str()), (2, "a comment without end"));
}

/// Text that was cut off or spoilt is an error or still a module, never a panic.
#[test]
fn spoilt_text_gives_errors() {
    let text = include_str!("../../kernels/whole.ptx");
    let short = &text[..text.find(".visible .entry softmax").expect("the second kernel")];
    assert!(Module::parse("whole.ptx", short).is_ok());
    for at in (0..short.len()).step_by(211) {
        let _ = Module::parse("cut.ptx", &short[..at]);
        for other in ["", "{", "}", "[", "9999999999", "-", ";", "%r99999", ".v4"] {
            let spoilt = format!("{}{other}{}", &short[..at], &short[at + 1..]);
            let _ = Module::parse("spoilt.ptx", &spoilt);
        }
    }
}
