//! The key-value cache: each hypothesis has its keys and values, one tensor a layer. Those who continue one hypothesis share
//! them until they grow.

use super::attention::{self, RelativeBias, Scope};
use crate::fault::Result;
use crate::tensor::Shared;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check::{self, Pass};
use seq2seq_core::{AttentionSpec, CacheSpec, Ragged, Rows};

/// Keys and values of every layer for each hypothesis.
///
/// ```
/// use seq2seq_core::{
///     AttentionSpec, Backend, CacheSpec, DecoderOps, EncoderOps, HostTensor, Precision, Ragged,
/// };
/// use seq2seq_tch::{KvCache, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 4, scale: 0.5, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let size = CacheSpec {
///     layers: 1, kv_heads: 1, head_dim: 4, sequences: 1, beams: 1, capacity: 64,
///     precision: Precision::F32,
/// };
/// let mut cache: KvCache = tch.kv_cache(&size)?;
/// let values: Vec<f32> = (0..4 * 12).map(|i| (i % 7) as f32).collect();
/// let x = tch.upload(&HostTensor::from_f32(vec![4, 12], &values)?)?;
///
/// let (mut steps, one) = (Vec::new(), Ragged::single_rows(1));
/// for position in 0..4 {
///     tch.extend(&mut cache, &one)?;
///     let row = tch.gather_rows(&x, &[position])?;
///     let y = tch.attend_step(&row, &one, &mut cache, 0, &spec, None)?;
///     steps.extend(tch.download(&y)?);
/// }
/// // Within rounding: libtorch sums in another order for another shape.
/// let whole = tch.download(&tch.attend(&x, &Ragged::from_lengths([4]), &spec, None)?)?;
/// assert!(steps.iter().zip(&whole).all(|(step, whole)| (step - whole).abs() < 1e-5));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct KvCache {
    spec: CacheSpec,
    pass: Pass,
    hypotheses: Vec<Hypothesis>,
}

#[derive(Debug)]
struct Hypothesis {
    /// The first sequence that it goes back to.
    origin: usize,
    /// Positions held, those of the present pass included.
    length: usize,
    /// Keys and values of each layer, `[positions, G, D]`.
    layers: Vec<Option<[Shared; 2]>>,
}

impl Hypothesis {
    fn share(&self) -> Self {
        let share = |held: &[Shared; 2]| [held[0].share(), held[1].share()];
        let layers = self.layers.iter().map(|layer| layer.as_ref().map(share)).collect();
        Self { origin: self.origin, length: self.length, layers }
    }
}

impl KvCache {
    pub(crate) fn new(spec: &CacheSpec) -> Result<Self> {
        check::kv_cache(spec)?;
        let empty = |origin| Hypothesis {
            origin,
            length: 0,
            layers: (0..spec.layers).map(|_| None).collect(),
        };
        let hypotheses = (0..spec.sequences).map(empty).collect();
        Ok(Self { spec: *spec, pass: Pass::new(spec.layers), hypotheses })
    }

    pub(crate) fn extend(&mut self, rows: &Ragged) -> Result<()> {
        self.pass.finished("extend")?;
        check::extend(self.hypotheses.iter().map(|h| h.length), rows, self.spec.capacity)?;
        self.pass.begin(rows);
        for (hypothesis, new) in self.hypotheses.iter_mut().zip(rows.lengths()) {
            hypothesis.length += new;
        }
        Ok(())
    }

    pub(crate) fn attend_step(
        &mut self,
        tch: &Tch,
        qkv: &Tensor,
        rows: &Ragged,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
    ) -> Result<Tensor> {
        check::attend_step(qkv, rows, &self.spec, layer, spec, bias.map(RelativeBias::heads))?;
        self.pass.step(layer, rows)?;
        let wide = tch.wide(qkv)?;
        let table = bias.map(|b| b.table.f_to_kind(tch.kind())).transpose()?;
        let bias = bias.zip(table.as_ref());
        let mut ys = vec![wide.f_narrow(0, 0, 0)?.f_narrow(1, 0, spec.inner() as i64)?];
        let groups = self.hypotheses.iter_mut().zip(rows.ranges());
        for (hypothesis, range) in groups.filter(|(_, range)| !range.is_empty()) {
            let positions = hypothesis.length - range.len()..hypothesis.length;
            let own = wide.f_narrow(0, range.start as i64, range.len() as i64)?;
            let [q, k, v] = attention::split(tch, &own, positions.clone(), spec)?;
            let held = &mut hypothesis.layers[layer];
            let [k, v] = match held {
                Some([keys, values]) => [
                    tch::Tensor::f_cat(&[&**keys, &k], 0)?,
                    tch::Tensor::f_cat(&[&**values, &v], 0)?,
                ],
                None => [k, v],
            };
            let scope = Scope { spec, positions, causal: true, bias, dropout: None };
            ys.push(attention::attend_to(tch, &q, [&k, &v], &scope)?.y);
            *held = Some([Shared::new(k), Shared::new(v)]);
        }
        Tensor::new(qkv.rows(), spec.inner(), tch::Tensor::f_cat(&ys, 0)?)
    }

    pub(crate) fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.pass.finished("reorder")?;
        let origins: Vec<usize> = self.hypotheses.iter().map(|h| h.origin).collect();
        check::reorder(parents, &origins, self.spec.beams)?;
        self.hypotheses = parents.iter().map(|&p| self.hypotheses[p].share()).collect();
        Ok(())
    }
}
