//! Attention in bf16: the kernels of the matrix units give one another's bits, round what they may and nothing else, and
//! keep what a row does not see from it. The conformance suite holds them to the reference, with biases, rotary positions and heads
//! of up to 128 columns.

mod common;

use common::attend::{self, formula, rounded, rows, spec, whole};
use seq2seq_core::train::TrainBackend;
use seq2seq_core::{AttentionSpec, Backend, CrossAttentionOps, HostTensor, Precision, Ragged};

/// Of every kernel, with a rest and without.
const WIDTHS: [usize; 7] = [20, 32, 50, 64, 128, 200, 256];

#[test]
fn rows_have_the_same_bits_in_any_number() {
    let cuda = common::cuda();
    for width in WIDTHS {
        attend::rows_have_the_same_bits(&cuda, width);
        attend::a_batch_has_the_same_bits(&cuda, width, 2);
    }
}

/// Results are those of rounded operands, closer than those of any that are not.
#[test]
fn operands_are_rounded() {
    let cuda = common::cuda();
    for width in [32, 64, 128, 256] {
        let spec = AttentionSpec { scale: (width as f32).powf(-0.5), ..spec(width) };
        let x = rows(&spec, 70);
        let y = whole(&cuda, &spec, &x);
        let mut errors = [0.0f64; 2];
        for n in 0..70 {
            let wanted = [formula(&spec, &x, n, rounded), formula(&spec, &x, n, |x| x)];
            for (error, wanted) in errors.iter_mut().zip(wanted) {
                let off = |(y, w): (&f32, f64)| (f64::from(*y) - w).abs();
                *error = y[n].iter().zip(wanted).map(off).fold(*error, f64::max);
            }
        }
        // A probability at the border of two bf16 may fall to either.
        assert!(errors[0] < 0.3 * errors[1], "width {width}: {errors:?}");
        assert!(errors[1] < 0.02, "width {width}: {errors:?}");
    }
}

#[test]
fn unseen_values_are_not_met() {
    let cuda = common::cuda();
    for (width, bad, value) in [
        (64, 0, f32::INFINITY),
        (64, 8, f32::NAN),
        (50, 15, f32::NEG_INFINITY),
        (128, 16, f32::INFINITY),
        (33, 62, f32::INFINITY),
        (32, 63, f32::NAN),
        (256, 64, f32::INFINITY),
        (64, 74, f32::NAN),
        (64, 33, 1e30),
    ] {
        attend::unseen_values_are_not_met(&cuda, &spec(width), bad, value);
    }
}

/// Sixteen vectors of one row see the same keys, none of which may be the last of the sixteen that a product takes. Tiles of 128
/// have 32 vectors a warp.
#[test]
fn unseen_values_are_not_met_by_large_groups() {
    let cuda = common::cuda();
    for (group, width, bad, value) in [
        (16, 128, 8, f32::INFINITY),
        (16, 20, 74, f32::NAN),
        (17, 64, 62, f32::NEG_INFINITY),
        (24, 256, 33, f32::NAN),
        (32, 32, 20, f32::INFINITY),
        (32, 64, 65, f32::NAN),
    ] {
        attend::unseen_values_are_not_met(&cuda, &attend::of_group(group, width), bad, value);
    }
}

/// A memory is read in the precision that it was made in; one in bf16 is not for training.
#[test]
fn a_memory_says_its_precision() {
    let cuda = common::cuda();
    let spec = |precision| AttentionSpec { causal: false, precision, ..spec(24) };
    let x = rows(&spec(Precision::F32), 9);
    let tensor = |width: usize| {
        let part = &x[..9 * width];
        cuda.upload(&HostTensor::from_f32(vec![9, width], part).unwrap()).unwrap()
    };
    let (q, kv, rows) = (tensor(96), tensor(96), Ragged::from_lengths([9]));
    let attend = |memory, asked| {
        let memory = cuda.memory(&kv, &rows, &spec(memory)).unwrap();
        let y = cuda.cross_attend(&q, &rows, &memory, &[0], &spec(asked), None).unwrap();
        cuda.download(&y).unwrap()
    };
    let [single, rounded] = [Precision::F32, Precision::Bf16].map(|memory| {
        let [a, b] = [Precision::F32, Precision::Bf16].map(|asked| attend(memory, asked));
        assert_eq!(a, b, "a memory in {memory:?}");
        a
    });
    assert_ne!(single, rounded);
    let memory = cuda.memory(&kv, &rows, &spec(Precision::Bf16)).unwrap();
    let trained = spec(Precision::F32);
    let error = cuda.cross_attend_forward(&q, &rows, &memory, &[0], &trained, None).err().unwrap();
    assert!(error.to_string().contains("TrainBackend::trained_attention"), "{error}");
}
