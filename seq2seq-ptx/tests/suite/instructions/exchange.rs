//! Shuffles, votes, matches, reductions.

use super::{Lanes, lanes, words};

fn lane_numbers() -> Lanes {
    std::array::from_fn(|i| i as u64)
}

/// The value of the lane that each lane reads, 100 and more where it lies in range.
fn shuffled(instruction: &str) -> Lanes {
    let (a, tag) = (lane_numbers(), [100; 32]);
    let body =
        format!("{instruction}; selp.u32 %e, %b, 0, %p; add.u32 %d, %d, %e; cvt.u64.u32 %D, %d;");
    lanes(&body, [&a, &tag, &a])
}

#[test]
fn shuffles() {
    let up = shuffled("shfl.sync.up.b32 %d|%p, %a, 3, 0, -1");
    let down = shuffled("shfl.sync.down.b32 %d|%p, %a, 5, 31, -1");
    let butterfly = shuffled("shfl.sync.bfly.b32 %d|%p, %a, 9, 31, -1");
    let index = shuffled("shfl.sync.idx.b32 %d|%p, %a, 7, 31, -1");
    for i in 0..32u64 {
        let at = i as usize;
        assert_eq!(up[at], if i >= 3 { 97 + i } else { i });
        assert_eq!(down[at], if i + 5 < 32 { 105 + i } else { i });
        assert_eq!(butterfly[at], 100 + (i ^ 9));
        assert_eq!(index[at], 107);
    }
}

/// `width` of the CUDA functions is coded as (32 - width) << 8 beside the clamp.
#[test]
fn shuffles_within_segments() {
    let down = shuffled("shfl.sync.down.b32 %d|%p, %a, 2, 0x181f, -1");
    let up = shuffled("shfl.sync.up.b32 %d|%p, %a, 2, 0x1800, -1");
    let index = shuffled("shfl.sync.idx.b32 %d|%p, %a, 3, 0x181f, -1");
    for i in 0..32u64 {
        let at = i as usize;
        assert_eq!(down[at], if i % 8 < 6 { 102 + i } else { i });
        assert_eq!(up[at], if i % 8 >= 2 { 98 + i } else { i });
        assert_eq!(index[at], 100 + i / 8 * 8 + 3);
    }
}

#[test]
fn votes_and_matches() {
    let a = lane_numbers();
    let three = "setp.lt.u32 %p, %a, 3;";
    let ballot = words(&format!("{three} vote.sync.ballot.b32 %d, %p, -1"), [&a, &a, &a]);
    assert_eq!(ballot, [7; 32]);
    let any = words(
        &format!("{three} vote.sync.any.pred %q, %p, -1; selp.u32 %d, 1, 0, %q"),
        [&a, &a, &a],
    );
    assert_eq!(any, [1; 32]);
    let all = words(
        &format!("{three} vote.sync.all.pred %q, %p, -1; selp.u32 %d, 1, 0, %q"),
        [&a, &a, &a],
    );
    assert_eq!(all, [0; 32]);
    let same = words("and.b32 %e, %a, 3; match.any.sync.b32 %d, %e, -1", [&a, &a, &a]);
    (0..32).for_each(|i| assert_eq!(same[i], 0x1111_1111 << (i % 4)));
    let sum = words("redux.sync.add.s32 %d, %a, -1", [&a, &a, &a]);
    assert_eq!(sum, [496; 32]);
    let least = words("sub.s32 %e, %a, 5; redux.sync.min.s32 %d, %e, -1", [&a, &a, &a]);
    assert_eq!(least, [u64::from(-5i32 as u32); 32]);
}

/// Halves of a warp, in different branches, each exchange among themselves.
#[test]
fn exchanges_in_branches() {
    let a = lane_numbers();
    let body = "setp.lt.u32 %p, %a, 16; @%p bra LOW;
        activemask.b32 %e; shfl.sync.bfly.b32 %d, %a, 1, 31, 0xffff0000; bra.uni DONE;
        LOW: activemask.b32 %e; shfl.sync.idx.b32 %d, %a, 4, 31, 0xffff;
        DONE: cvt.u64.u32 %D, %d; cvt.u64.u32 %E, %e; shl.b64 %E, %E, 32; or.b64 %D, %D, %E;";
    let found = lanes(body, [&a, &a, &a]);
    for i in 0..32u64 {
        let (value, active) = if i < 16 { (4, 0xffff) } else { (i ^ 1, 0xffff_0000u64) };
        assert_eq!(found[i as usize], active << 32 | value);
    }
}
