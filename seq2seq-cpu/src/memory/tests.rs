use super::*;
use crate::threads::Threads;
use seq2seq_core::Rows;

#[test]
fn buffers_are_aligned_zeroed_and_as_long_as_asked() {
    for len in [0, 1, 63, 1000, 300_000, 3 << 20] {
        for _ in 0..2 {
            let mut b = Buffer::<f32>::zeroed(len);
            assert_eq!(b.len(), len);
            assert!(len == 0 || b.as_ptr().addr().is_multiple_of(64));
            assert!(b.iter().all(|&v| v == 0.0), "{len}");
            // The next one is made of this memory and must be zeros all the same.
            b.fill(7.0);
        }
    }
}

#[cfg(not(seq2seq_strict_memory))]
#[test]
fn a_dropped_buffer_serves_the_next() {
    for len in [1, 100, 1 << 20] {
        let first = Buffer::<u16>::scratch(len).as_ptr().addr();
        assert_eq!(Buffer::<u8>::scratch(2 * len).as_ptr().addr(), first);
        let (a, b) = (Buffer::<u16>::scratch(len), Buffer::<u16>::scratch(len));
        assert_ne!(a.as_ptr(), b.as_ptr());
    }
}

#[cfg(not(seq2seq_strict_memory))]
#[test]
fn lists_are_bounded() {
    // More blocks than a list holds, and one too large for it.
    let many: Vec<_> = (0..200).map(|_| Buffer::<u8>::scratch(1 << 12)).collect();
    drop(many);
    drop(Buffer::<u8>::scratch(200 << 20));
    assert!(recycle::take(200 << 20).is_none());
    let kept = std::iter::from_fn(|| recycle::take(1 << 12)).count();
    assert!((1..=64).contains(&kept), "{kept}");
}

#[cfg(not(seq2seq_strict_memory))]
#[test]
fn a_thread_that_trains_keeps_the_blocks_of_a_step() {
    std::thread::spawn(|| {
        keep_steps();
        // 300 MB at once, in more blocks than other lists hold; then the same again, from the list.
        let step = || (0..100).map(|_| Buffer::<u8>::scratch(3 << 20)).collect::<Vec<_>>();
        let places = |step: &[Buffer<u8>]| {
            let mut places: Vec<_> = step.iter().map(|b| b.as_ptr().addr()).collect();
            places.sort_unstable();
            places
        };
        let first = places(&step());
        assert_eq!(places(&step()), first);
        // What never was in use at once does not wait.
        drop(Buffer::<u8>::scratch(200 << 20));
        let kept = std::iter::from_fn(|| recycle::take(3 << 20)).count();
        assert!(kept * (3 << 20) <= 303 << 20, "{kept}");
    })
    .join()
    .unwrap();
}

#[test]
fn sparse_buffers_are_zeros_and_never_recycled() {
    let mut b = Buffer::<f32>::sparse(1 << 20).unwrap();
    b[12345] = 1.0;
    drop(b);
    assert!(recycle::take(4 << 20).is_none());
    let b = Buffer::<f32>::sparse(1 << 20).unwrap();
    assert_eq!(b[12345], 0.0);
}

#[test]
fn what_no_machine_has_is_an_error() {
    for len in [usize::MAX, usize::MAX / 4, 1 << 60] {
        let error = Buffer::<f32>::sparse(len).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }
}

#[test]
fn buffers_may_outlive_their_thread() {
    let b = std::thread::spawn(|| Buffer::<f32>::zeroed(1000)).join().unwrap();
    assert_eq!(b[999], 0.0);
}

#[test]
fn rows_have_room_for_whole_vectors() {
    for width in [0, 1, 15, 16, 17, 768] {
        let mut t = Tensor::scratch(3, width);
        assert!(t.stride() >= width.next_multiple_of(16) + 16 && t.stride().is_multiple_of(16));
        assert_eq!(t.values().len(), 3 * t.stride());
        t.values_mut().fill(1.0);
        assert_eq!((t.rows(), t.width(), t.row(2).len()), (3, width, width));
    }
}

#[test]
fn parts_cover_without_overlap() {
    let threads = Threads::new(Some(2)).unwrap();
    let mut values = [0.0; 50];
    threads.each_part(Runs::new(&mut values, &[3, 3, 20, 50]), 1 << 20, |i, run| {
        run.iter_mut().for_each(|v| *v += 1.0 + i as f32);
    });
    let want = |i| if i < 3 { 0.0 } else { if i < 20 { 2.0 } else { 3.0 } };
    assert!((0..50).all(|i| values[i] == want(i)));

    threads.each_part(Chunks::new(&mut values, 7), 1 << 20, |i, chunk| chunk.fill(i as f32));
    assert!((0..50).all(|i| values[i] == (i / 7) as f32));
}

#[test]
fn tiles_are_rows_by_columns() {
    let threads = Threads::new(Some(2)).unwrap();
    let mut x = Tensor::scratch(5, 6);
    x.values_mut().fill(-1.0);
    threads.each_part(Tiles::new(&mut x, &[0, 2, 2, 5], 3, 2), 1 << 20, |i, mut tile| {
        for r in 0..[2, 0, 3][i / 3] {
            tile.row(r).fill(i as f32);
        }
    });
    for (r, first) in [(0, 0), (1, 0), (2, 6), (4, 6)] {
        let first = first as f32;
        assert_eq!(x.row(r), [first, first, first + 1.0, first + 1.0, first + 2.0, first + 2.0]);
        assert_eq!(x.values()[r * x.stride() + 6], -1.0);
    }
}

#[test]
#[should_panic(expected = "row 1 of 1")]
fn a_tile_ends() {
    let mut x = Tensor::scratch(2, 2);
    let tiles = Tiles::new(&mut x, &[0, 1, 2], 1, 2);
    // SAFETY: the only call.
    unsafe { tiles.part(0) }.row(1);
}

#[test]
fn vectors_are_cut_within_their_direction() {
    let threads = Threads::new(Some(2)).unwrap();
    // Two directions of three vectors of five units.
    let mut x = Tensor::scratch(2, 30);
    x.values_mut().fill(-1.0);
    let split = Vectors::new(&mut x, &[0, 4, 5, 9, 10], (5, 3));
    threads.each_part(split, 1 << 20, |i, mut tile| {
        for r in 0..2 {
            let vectors = tile.row::<4>(r);
            assert!(vectors[3].is_empty());
            for (v, vector) in vectors.into_iter().enumerate() {
                vector.fill((10 * i + v) as f32);
            }
        }
    });
    for r in 0..2 {
        for (column, got) in x.row(r).iter().enumerate() {
            let (d, v, unit) = (column / 15, column / 5 % 3, column % 5);
            let part = 2 * d + usize::from(unit == 4);
            assert_eq!(*got, (10 * part + v) as f32, "column {column}");
        }
        assert_eq!(x.values()[r * x.stride() + 30], -1.0);
    }
}

#[test]
#[should_panic(expected = "inside")]
fn a_part_has_units_of_one_direction() {
    let mut x = Tensor::scratch(1, 30);
    Vectors::new(&mut x, &[0, 6, 10], (5, 3));
}

#[test]
fn lasting_buffers_are_zeros_of_their_own_wherever_they_are_dropped() {
    let make = |i: usize| {
        let mut b = Buffer::<u32>::lasting(i * 70_001 % 900_000);
        assert!(b.iter().all(|&v| v == 0), "{i}");
        assert!(b.is_empty() || b.as_ptr().addr().is_multiple_of(64));
        b.fill(i as u32);
        b
    };
    // More than a region holds, one larger than a region, and some dropped before others are made.
    let mut all: Vec<_> = (1..100).map(|i| (i, make(i))).collect();
    all.retain(|(i, _)| i % 3 != 0);
    all.push((1, Buffer::lasting(20 << 20)));
    all.last_mut().unwrap().1.fill(1);
    all.extend((100..150).map(|i| (i, make(i))));
    std::thread::spawn(move || {
        for (i, b) in all.into_iter().rev() {
            assert!(b.iter().all(|&v| v == i as u32), "{i}");
        }
    })
    .join()
    .unwrap();
    assert!(recycle::take(280_000).is_none());
    assert!(make(5).iter().all(|&v| v == 5));
}

#[cfg(all(target_os = "linux", not(any(miri, seq2seq_strict_memory))))]
#[test]
fn lasting_buffers_lie_side_by_side() {
    let all: Vec<_> = (1..20).map(|_| Buffer::<u8>::lasting(100_032)).collect();
    for pair in all.windows(2) {
        assert_eq!(pair[1].as_ptr().addr() - pair[0].as_ptr().addr(), 100_032);
    }
}
