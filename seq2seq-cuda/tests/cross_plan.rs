//! Cross-attention keeps its plan from call to call; a call with other rows or other sources makes a new one.

mod common;

use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{AttentionSpec, Backend, CrossAttentionOps, HostTensor, Precision, Ragged};
use seq2seq_cuda::Cuda;

const WIDTH: usize = 16;

fn upload(cuda: &Cuda, rows: usize, width: usize, seed: u64) -> <Cuda as Backend>::Tensor {
    let x = values(Profile::Normal, seed, rows * width);
    cuda.upload(&HostTensor::from_f32(vec![rows, width], &x).unwrap()).unwrap()
}

#[test]
fn a_kept_plan_is_that_of_its_rows_and_sources() {
    let cuda = common::cuda();
    let spec = AttentionSpec {
        heads: 2,
        kv_heads: 2,
        head_dim: WIDTH / 2,
        scale: 0.5,
        causal: false,
        rotary: None,
        dropout: 0.0,
        precision: Precision::F32,
    };
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
