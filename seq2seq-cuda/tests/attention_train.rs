//! Attention of training: its gradients depend on nothing but the sequence, meet nothing that a row does not see, and take memory by
//! the length of sequences; in bf16 they are those of rounded factors. The conformance suite holds them to the reference, over borders
//! of tiles and with heads of every kernel.

mod common;

use common::attend_back::{self, With, gradients, in_bf16, operands, spec, there_and_back, upload};
use seq2seq_core::train::{CrossBackward, Dropout, TrainBackend};
use seq2seq_core::{AttentionSpec, Backend, BucketSpec, CrossAttentionOps, Precision, Ragged};
use seq2seq_cuda::Cuda;

/// Of every kernel in bf16, with a rest and without.
const WIDTHS: [usize; 8] = [20, 32, 50, 64, 100, 128, 200, 256];

/// A pass that is trained on is in the precision that it is asked for.
#[test]
fn passes_have_their_own_precision() {
    let (cuda, rows) = (common::cuda(), Ragged::from_lengths([9]));
    let single = spec((2, 1), 8, true);
    let (x, dy) = operands(&single, rows.rows());
    let rounded = in_bf16(single.clone());
    assert_eq!([&single, &rounded].map(|s| cuda.trained_attention(s)), [single.clone(), rounded]);
    let run = |spec| there_and_back(&cuda, (&x, &dy), &rows, spec, With::default());
    let (a, b) = (run(&single), run(&in_bf16(single.clone())));
    assert!(a.iter().zip(&b).take(3).all(|(a, b)| a != b));
}

#[test]
fn factors_are_rounded() {
    let cuda = common::cuda();
    for (i, width) in WIDTHS.into_iter().enumerate() {
        attend_back::factors_are_rounded(&cuda, width, attend_back::kinds()[i % 4]);
    }
    // The others of heads of 64 columns.
    for kind in &attend_back::kinds()[..3] {
        attend_back::factors_are_rounded(&cuda, 64, *kind);
    }
}

#[test]
fn results_are_those_of_inference() {
    let cuda = common::cuda();
    for spec in [spec((2, 1), 40, true), spec((3, 3), 6, false)] {
        attend_back::results_are_those_of_inference(&cuda, &spec);
        attend_back::results_are_those_of_inference(&cuda, &in_bf16(spec));
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone() {
    let cuda = common::cuda();
    for (heads, width, causal) in [((3, 1), 6, true), ((1, 1), 36, false)] {
        let spec = spec(heads, width, causal);
        attend_back::a_sequence_has_the_same_bits_alone(&cuda, &spec);
        attend_back::a_sequence_has_the_same_bits_alone(&cuda, &in_bf16(spec));
    }
    for width in [128, 200] {
        let spec = in_bf16(spec((2, 1), width, true));
        attend_back::a_sequence_has_the_same_bits_alone(&cuda, &spec);
    }
}

/// Gradients, that of the table included, in whatever order blocks and warps run.
#[test]
fn runs_give_the_same_bits() {
    let dropout = Some(Dropout { rate: 0.3, seed: 1, step: 2, place: 3 });
    let buckets = Some(BucketSpec { buckets: 6, max_distance: 30, bidirectional: true });
    let rows = Ragged::from_lengths([67, 2, 9]);
    for spec in [spec((2, 1), 9, false), in_bf16(spec((2, 1), 9, false))] {
        let (x, dy) = operands(&spec, rows.rows());
        let [first, second] = [1, 2].map(|seed| {
            let cuda = common::hopper(4, seed);
            gradients(&cuda, (&x, &dy), &rows, &spec, With { buckets, dropout })
        });
        assert!(first.iter().flatten().all(|v| v.is_finite()) && first[1].len() == 12);
        assert_eq!(first, second);
    }
}

#[test]
fn unseen_rows_are_not_met() {
    let cuda = common::cuda();
    attend_back::unseen_rows_are_not_met(&cuda, &spec((2, 1), 5, true));
    for (heads, width) in [((2, 1), 5), ((1, 1), 64), ((2, 2), 100), ((1, 1), 256), ((16, 1), 32)] {
        attend_back::unseen_rows_are_not_met(&cuda, &in_bf16(spec(heads, width, true)));
    }
}

/// Its probabilities would take 512 KB, of which a device has half.
#[test]
fn memory_is_taken_by_the_length() {
    for spec in [spec((2, 1), 4, true), in_bf16(spec((2, 1), 4, true))] {
        let rows = Ragged::from_lengths([256]);
        let probabilities = 256 * 256 * spec.heads * size_of::<f32>();
        let cuda = common::with_memory(probabilities as u64 / 2);
        let (x, dy) = operands(&spec, rows.rows());
        let dropout = Some(Dropout { rate: 0.1, seed: 1, step: 2, place: 3 });
        let [dx, _] = gradients(&cuda, (&x, &dy), &rows, &spec, With { buckets: None, dropout });
        assert!(dx.iter().all(|v| v.is_finite()) && dx.iter().any(|&v| v != 0.0));
    }
}

/// The way back from a memory in bf16 reads its pages, which have to be of the sources that it is asked for.
#[test]
fn a_memory_is_that_of_its_sources() {
    let cuda = common::cuda();
    let spec = AttentionSpec { causal: false, ..in_bf16(spec((2, 2), 8, false)) };
    let back = |made: &Ragged, told: &Ragged| {
        let ones =
            |cuda: &Cuda, rows: usize, width: usize| upload(cuda, &vec![1.0; rows * width], width);
        let (q, kv) = (ones(&cuda, 3, 16), ones(&cuda, 5, 32));
        let memory = cuda.memory(&kv, made, &spec).unwrap();
        let rows = Ragged::from_lengths([3]);
        let (y, log_sums) =
            cuda.cross_attend_forward(&q, &rows, &memory, &[0], &spec, None).unwrap();
        let of = CrossBackward {
            q: &q,
            y: &y,
            log_sums: &log_sums,
            rows: &rows,
            kv: &kv,
            source_rows: told,
            memory: &memory,
            sources: &[0],
            spec: &spec,
            dropout: None,
            dy: &y,
        };
        let mut dkv = None;
        cuda.cross_attend_backward(&of, None, Some(&mut dkv))?;
        cuda.download(&dkv.unwrap())
    };
    let rows = Ragged::from_lengths([5]);
    assert_eq!(spec.precision, Precision::Bf16);
    // Five equal values of 1 have a fifth of three rows of 1 each.
    let dkv = back(&rows, &rows).unwrap();
    assert!(
        dkv.chunks(32)
            .all(|r| r[..16] == [0.0; 16] && r[16..].iter().all(|v| (v - 0.6).abs() < 0.01))
    );
    let error = back(&rows, &Ragged::from_lengths([4, 1])).unwrap_err();
    assert!(error.to_string().contains("other sources"), "{error}");
}
