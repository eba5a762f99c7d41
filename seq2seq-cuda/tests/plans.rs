//! Attention keeps its plan from call to call; a call with other rows, other sources or of another kind makes a new one.

mod common;

use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{
    AttentionSpec, Backend, CrossAttentionOps, EncoderOps, HostTensor, Precision, Ragged, Rotary,
};
use seq2seq_cuda::Cuda;

const WIDTH: usize = 16;

fn upload(cuda: &Cuda, rows: usize, width: usize, seed: u64) -> <Cuda as Backend>::Tensor {
    let x = values(Profile::Normal, seed, rows * width);
    cuda.upload(&HostTensor::from_f32(vec![rows, width], &x).unwrap()).unwrap()
}

fn plain() -> AttentionSpec {
    AttentionSpec {
        heads: 2,
        kv_heads: 2,
        head_dim: WIDTH / 2,
        scale: 0.5,
        causal: false,
        rotary: None,
        dropout: 0.0,
        precision: Precision::F32,
    }
}

#[test]
fn a_kept_plan_is_that_of_its_rows_and_sources() {
    let cuda = common::cuda();
    let spec = plain();
    let sources = Ragged::from_lengths([3, 5, 2]);
    let kv = upload(&cuda, sources.rows(), 2 * WIDTH, 1);
    let memory = || cuda.memory(&kv, &sources, &spec).unwrap();
    let kept = memory();
    let q = upload(&cuda, 3, WIDTH, 2);
    let calls: [(&[usize], &[usize]); 6] = [
        (&[1, 1, 1], &[0, 1, 2]),
        (&[1, 1, 1], &[0, 1, 2]),
        (&[1, 1, 1], &[2, 1, 0]),
        (&[2, 1], &[2, 1]),
        (&[1, 2], &[2, 1]),
        (&[1, 1, 1], &[0, 1, 2]),
    ];
    for (i, (lengths, of)) in calls.into_iter().enumerate() {
        let rows = Ragged::from_lengths(lengths.iter().copied());
        let [a, b] = [&kept, &memory()].map(|memory| {
            let y = cuda.cross_attend(&q, &rows, memory, of, &spec, None).unwrap();
            cuda.download(&y).unwrap()
        });
        assert_eq!(a, b, "call {i}");
    }
}

#[test]
fn a_kept_plan_of_whole_sequences_is_that_of_their_rows_and_kind() {
    let rotary = |frequency| Some(Rotary { inv_freq: vec![frequency].into(), scale: 1.0 });
    let kinds = [
        plain(),
        AttentionSpec { causal: true, ..plain() },
        AttentionSpec { precision: Precision::Bf16, ..plain() },
        AttentionSpec { kv_heads: 1, ..plain() },
        AttentionSpec { rotary: rotary(1.0), ..plain() },
        AttentionSpec { rotary: rotary(0.3), ..plain() },
        AttentionSpec { heads: 1, kv_heads: 1, ..plain() },
        AttentionSpec { heads: 1, kv_heads: 1, head_dim: WIDTH, ..plain() },
    ];
    let rows = [&[6, 1, 1][..], &[1, 6, 1], &[8]];
    let attend = |cuda: &Cuda, spec: &AttentionSpec, lengths: &[usize]| {
        let x = upload(cuda, 8, spec.qkv_width(), 7);
        let rows = Ragged::from_lengths(lengths.iter().copied());
        cuda.download(&cuda.attend(&x, &rows, spec, None).unwrap()).unwrap()
    };
    let wanted = kinds.each_ref().map(|spec| rows.map(|l| attend(&common::cuda(), spec, l)));
    let kept = common::cuda();
    for (a, wanted_a) in kinds.iter().zip(&wanted) {
        // Each kind behind every other, and each division behind another.
        for (b, wanted_b) in kinds.iter().zip(&wanted) {
            assert_eq!(attend(&kept, a, rows[0]), wanted_a[0], "{a:?}");
            assert_eq!(attend(&kept, b, rows[0]), wanted_b[0], "{b:?} behind {a:?}");
        }
        for i in [1, 1, 2, 2, 0, 2, 1, 0] {
            assert_eq!(attend(&kept, a, rows[i]), wanted_a[i], "{a:?}, {:?}", rows[i]);
        }
    }
}
