//! The key-value cache: each hypothesis owns its keys and values, so reordering copies them.
//!
//! Fast backends share them between hypotheses. This one is what they must be indistinguishable from.

use super::Tensor;
use super::attention::{self, RelativeBias, Seen};
use crate::backend::check::{self, Pass};
use crate::{AttentionSpec, CacheSpec, Ragged, Result, Rows};

/// Keys and values of every layer for each hypothesis.
///
/// ```
/// use seq2seq_core::{CacheSpec, DecoderOps, Precision, Ragged, reference::{Reference, cache::KvCache}};
///
/// let spec = CacheSpec {
///     layers: 1, kv_heads: 1, head_dim: 4, sequences: 2, beams: 1, capacity: 16, precision: Precision::F32,
/// };
/// let mut cache: KvCache = Reference.kv_cache(&spec)?;
/// Reference.extend(&mut cache, &Ragged::from_lengths([3, 5]))?;
/// // The layer has not attended yet: its keys and values of this pass are missing.
/// assert!(Reference.extend(&mut cache, &Ragged::from_lengths([1, 1])).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct KvCache {
    spec: CacheSpec,
    pass: Pass,
    hypotheses: Vec<Hypothesis>,
}

#[derive(Debug, Clone)]
struct Hypothesis {
    /// The first sequence that it goes back to.
    origin: usize,
    /// Positions held, those of the present pass included.
    length: usize,
    layers: Vec<Layer>,
}

/// Keys and values of one layer: a row `[G, D]` a position.
#[derive(Debug, Clone, Default)]
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KvCache {
    pub(super) fn new(spec: &CacheSpec) -> Result<Self> {
        check::kv_cache(spec)?;
        let empty =
            |origin| Hypothesis { origin, length: 0, layers: vec![Layer::default(); spec.layers] };
        let hypotheses = (0..spec.sequences).map(empty).collect();
        Ok(Self { spec: *spec, pass: Pass::new(spec.layers), hypotheses })
    }

    pub(super) fn extend(&mut self, rows: &Ragged) -> Result<()> {
        self.pass.finished("extend")?;
        check::extend(self.hypotheses.iter().map(|h| h.length), rows, self.spec.capacity)?;
        self.pass.begin(rows);
        for (hypothesis, new) in self.hypotheses.iter_mut().zip(rows.lengths()) {
            hypothesis.length += new;
        }
        Ok(())
    }

    pub(super) fn attend_step(
        &mut self,
        qkv: &Tensor,
        rows: &Ragged,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
    ) -> Result<Tensor> {
        check::attend_step(qkv, rows, &self.spec, layer, spec, bias.map(RelativeBias::heads))?;
        self.pass.step(layer, rows)?;
        let mut out = Vec::with_capacity(qkv.rows() * spec.inner());
        for (hypothesis, range) in self.hypotheses.iter_mut().zip(rows.ranges()) {
            let before = hypothesis.length - range.len();
            let held = &mut hypothesis.layers[layer];
            for (position, n) in (before..).zip(range) {
                let (q, k, v) = attention::split(qkv.row(n), position, spec);
                held.keys.extend(k);
                held.values.extend(v);
                let seen = Seen { keys: &held.keys, values: &held.values, len: position + 1 };
                attention::row((&q, position), &seen, spec, bias, &mut out, None);
            }
        }
        Ok(Tensor::new(qkv.rows(), spec.inner(), out))
    }

    pub(super) fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.pass.finished("reorder")?;
        let origins: Vec<usize> = self.hypotheses.iter().map(|h| h.origin).collect();
        check::reorder(parents, &origins, self.spec.beams)?;
        self.hypotheses = parents.iter().map(|&p| self.hypotheses[p].clone()).collect();
        Ok(())
    }
}
