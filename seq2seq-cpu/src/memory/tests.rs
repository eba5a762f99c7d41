use super::*;
use seq2seq_core::Rows;

#[test]
fn buffers_are_aligned_zeroed_and_as_long_as_asked() {
    for len in [0, 1, 63, 1000, 300_000, 3 << 20] {
        for _ in 0..2 {
            let mut b = Buffer::<f32>::zeroed(len);
            assert_eq!(b.len(), len);
            assert!(len == 0 || b.as_ptr().addr() % 64 == 0);
            assert!(b.iter().all(|&v| v == 0.0), "{len}");
            // The next one is made of this memory and must be zeros all the same.
            b.fill(7.0);
        }
    }
}

#[test]
fn a_dropped_buffer_serves_the_next() {
    for len in [100, 1 << 20] {
        let first = Buffer::<u16>::scratch(len).as_ptr().addr();
        assert_eq!(Buffer::<u8>::scratch(2 * len).as_ptr().addr(), first);
        let (a, b) = (Buffer::<u16>::scratch(len), Buffer::<u16>::scratch(len));
        assert_ne!(a.as_ptr(), b.as_ptr());
    }
}

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
        assert!(t.stride() >= width.next_multiple_of(16) + 16 && t.stride() % 16 == 0);
        assert_eq!(t.values().len(), 3 * t.stride());
        t.values_mut().fill(1.0);
        assert_eq!((t.rows(), t.width(), t.row(2).len()), (3, width, width));
    }
}
