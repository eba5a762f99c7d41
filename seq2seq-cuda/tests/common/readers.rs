//! What gives rows to linear layers, and layers that read them: norms, and attention of whole sequences and over a memory.

use super::attend;
use super::tiles::{Product, Sizes};
use seq2seq_core::{
    AttentionSpec, Backend, CrossAttentionOps, EncoderOps, Epilogue, Format, HostTensor, NormKind,
    NormSpec, Precision, Ragged,
};
use seq2seq_cuda::{Cuda, Tensor};

/// Any bits, one list a result.
pub(crate) type Bits = Vec<Vec<u32>>;

fn bits(cuda: &Cuda, results: &[&Tensor]) -> Bits {
    let of = |y: &&Tensor| cuda.download(y).unwrap().iter().map(|v| v.to_bits()).collect();
    results.iter().map(of).collect()
}

pub(crate) fn upload(cuda: &Cuda, values: &[f32], width: usize) -> Tensor {
    let shape = vec![values.len() / width, width];
    cuda.upload(&HostTensor::from_f32(shape, values).unwrap()).unwrap()
}

pub(crate) fn norm_spec(kind: NormKind, width: usize) -> NormSpec {
    let values = |factor: usize| -> Vec<f32> {
        (0..width).map(|i| (i * factor % 101) as f32 / 50.0 - 0.7).collect()
    };
    let host = |values: Vec<f32>| HostTensor::from_f32(vec![width], &values).unwrap();
    let bias = (kind == NormKind::Layer).then(|| host(values(53)));
    NormSpec { kind, eps: 1e-6, weight: host(values(37)), bias }
}

/// A norm, and two layers that read what it gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Normed {
    pub(crate) format: Format,
    kind: NormKind,
    rows: usize,
    input: usize,
}

impl Normed {
    /// Rows of a rest, columns of whole slabs and of a rest, a width that is no multiple of 4, and one that a whole block holds.
    pub(crate) fn cases() -> Vec<Self> {
        let kinds = [NormKind::Layer, NormKind::Rms].into_iter().cycle();
        let formats = Format::ALL.into_iter().zip(kinds);
        let sizes = [(9, 100), (21, 256), (16, 71), (10, 2050)];
        let of = |(format, kind)| sizes.map(|(rows, input)| Self { format, kind, rows, input });
        formats.flat_map(of).collect()
    }

    /// Does it, each time anew.
    pub(crate) fn on(self, cuda: &Cuda) -> impl Fn() -> Bits {
        let Self { format, kind, rows, input } = self;
        let product = Product::new(Sizes { rows, input, output: 40 });
        let layer = cuda.pack(&product.layer(false), format).unwrap();
        let norm = cuda.norm_weights(&norm_spec(kind, input)).unwrap();
        let x = cuda.upload(product.x()).unwrap();
        move || {
            let normed = cuda.norm(&x, &norm).unwrap();
            let [a, b] = [0, 1].map(|_| cuda.linear(&normed, &layer, Epilogue::NONE).unwrap());
            bits(cuda, &[&normed, &a, &b])
        }
    }
}

/// Attention, and an output layer in bf16.
#[derive(Debug, Clone)]
pub(crate) struct Attended {
    spec: AttentionSpec,
    lengths: Vec<usize>,
    /// For each query the sequence that it attends to; none within sequences.
    sources: Option<Vec<usize>>,
}

impl Attended {
    fn within(spec: AttentionSpec, lengths: &[usize]) -> Self {
        Self { spec, lengths: lengths.to_vec(), sources: None }
    }

    /// Whose results are laid out where they are made. Within sequences: tiles that are high and low, a rest of rows that fills no tile
    /// of the layer, and none. Over a memory: single rows, sources within a chunk and across three, which are merged, and of none.
    pub(crate) fn cases() -> Vec<Self> {
        let within = [
            (32, &[97, 3][..]),
            (64, &[150, 1, 0, 70]),
            (64, &[16]),
            (128, &[70]),
            (96, &[9]),
            (256, &[10]),
        ];
        let within = within.map(|(width, lengths)| Self::within(attend::spec(width), lengths));
        let of =
            [&[0, 0, 0, 1, 1, 2, 3, 3, 1][..], &[1, 2, 1, 0, 3, 3, 3, 3, 0, 0, 0, 0, 2, 2, 2, 2]];
        let over = [32, 64, 128, 256].into_iter().flat_map(|width| {
            let spec = AttentionSpec { causal: false, ..attend::spec(width) };
            of.map(|of| Self {
                spec: spec.clone(),
                lengths: vec![30, 150, 0, 65],
                sources: Some(of.to_vec()),
            })
        });
        within.into_iter().chain(over).collect()
    }

    /// Whose results are laid out by the layer: heads that are no whole eights, few rows, and f32.
    pub(crate) fn others() -> [Self; 3] {
        let f32 = AttentionSpec { precision: Precision::F32, ..attend::spec(64) };
        let all = [(attend::spec(20), 20), (attend::spec(64), 8), (f32, 20)];
        all.map(|(spec, rows)| Self::within(spec, &[rows]))
    }

    /// Does it, each time anew.
    pub(crate) fn on(self, cuda: &Cuda) -> impl Fn() -> Bits {
        let Self { spec, lengths, sources } = self;
        let rows = Ragged::from_lengths(lengths);
        let values = attend::rows(&spec, rows.rows() + sources.as_ref().map_or(0, Vec::len));
        let output = Product::new(Sizes { rows: 1, input: spec.inner(), output: 24 }).layer(false);
        let output = cuda.pack(&output, Format::Bf16).unwrap();
        move || {
            let y = match &sources {
                None => cuda.attend(&upload(cuda, &values, spec.qkv_width()), &rows, &spec, None),
                Some(sources) => {
                    let (kv, q) = values.split_at(rows.rows() * 2 * spec.kv_width());
                    let kv = upload(cuda, kv, 2 * spec.kv_width());
                    let memory = cuda.memory(&kv, &rows, &spec).unwrap();
                    let q = upload(cuda, &q[..sources.len() * spec.inner()], spec.inner());
                    let single = Ragged::single_rows(sources.len());
                    cuda.cross_attend(&q, &single, &memory, sources, &spec, None)
                }
            };
            let y = y.unwrap();
            let z = cuda.linear(&y, &output, Epilogue::NONE).unwrap();
            bits(cuda, &[&y, &z])
        }
    }
}
