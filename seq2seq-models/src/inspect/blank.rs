//! A backend that takes any weights and computes nothing.

use seq2seq_core::{
    AttentionSpec, Backend, BucketSpec, CacheSpec, ConvolutionOps, CrossAttentionOps, DecoderOps,
    EncoderOps, Epilogue, Error, Format, Grid, HostTensor, LinearSpec, LogitRule, Lookup, NormSpec,
    Part, Pick, Picked, Pool, Ragged, RecurrentOps, RecurrentSpec, Result, Rows, Sampled,
    ScoreOrder, TopK, Warp, Windows,
};

/// Loading onto it finds everything that the model needs and leaves it where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blank;

/// There are no rows.
pub(crate) struct Nothing;

impl Rows for Nothing {
    fn rows(&self) -> usize {
        0
    }

    fn width(&self) -> usize {
        0
    }
}

fn refuse<T>() -> Result<T> {
    Err(Error::Unsupported {
        what: "computing while a model is only looked over".into(),
        hint: "load it on a device".into(),
    })
}

impl Backend for Blank {
    type Tensor = Nothing;
    type Linear = ();
    type Norm = ();
    type Embedding = ();

    fn describe(&self) -> String {
        "none".into()
    }
    fn upload(&self, _: &HostTensor) -> Result<Nothing> {
        refuse()
    }
    fn download(&self, _: &Nothing) -> Result<Vec<f32>> {
        refuse()
    }
    fn pack(&self, _: &LinearSpec, _: Format) -> Result<()> {
        Ok(())
    }
    fn linear(&self, _: &Nothing, _: &(), _: Epilogue<'_, Nothing>) -> Result<Nothing> {
        refuse()
    }
    fn embedding(&self, _: &HostTensor) -> Result<()> {
        Ok(())
    }
    fn embed(&self, _: &[Lookup<'_, ()>]) -> Result<Nothing> {
        refuse()
    }
    fn norm_weights(&self, _: &NormSpec) -> Result<()> {
        Ok(())
    }
    fn norm(&self, _: &Nothing, _: &()) -> Result<Nothing> {
        refuse()
    }
    fn gather_rows(&self, _: &Nothing, _: &[usize]) -> Result<Nothing> {
        refuse()
    }
    fn pool(&self, _: &Nothing, _: &Ragged, _: Pool) -> Result<Nothing> {
        refuse()
    }
}

impl EncoderOps for Blank {
    type RelativeBias = ();

    fn relative_bias(&self, _: &HostTensor, _: BucketSpec) -> Result<()> {
        Ok(())
    }
    fn attend(
        &self,
        _: &Nothing,
        _: &Ragged,
        _: &AttentionSpec,
        _: Option<&()>,
    ) -> Result<Nothing> {
        refuse()
    }
}

impl DecoderOps for Blank {
    type KvCache = ();
    type Chosen = Picked;

    fn kv_cache(&self, _: &CacheSpec) -> Result<()> {
        refuse()
    }
    fn extend(&self, _: &mut (), _: &Ragged) -> Result<()> {
        refuse()
    }
    fn attend_step(
        &self,
        _: &Nothing,
        _: &Ragged,
        _: &mut (),
        _: usize,
        _: &AttentionSpec,
        _: Option<&()>,
    ) -> Result<Nothing> {
        refuse()
    }
    fn reorder(&self, _: &mut (), _: &[usize]) -> Result<()> {
        refuse()
    }
    fn top_k(&self, _: &Nothing, _: usize, _: ScoreOrder, _: &[Vec<LogitRule>]) -> Result<TopK> {
        refuse()
    }
    fn sample(&self, _: &Nothing, _: &[Vec<LogitRule>], _: &Warp, _: &[f32]) -> Result<Sampled> {
        refuse()
    }
    fn sample_k(
        &self,
        _: &Nothing,
        _: usize,
        _: ScoreOrder,
        _: &[Vec<LogitRule>],
        _: &Warp,
        _: &[u64],
    ) -> Result<TopK> {
        refuse()
    }
    fn choose(&self, _: &Nothing, _: &[Vec<LogitRule>], _: &Pick<'_>) -> Result<Picked> {
        refuse()
    }
    fn chosen(&self, _: &Picked) -> Result<Picked> {
        refuse()
    }
}

impl CrossAttentionOps for Blank {
    type Memory = ();

    fn memory(&self, _: &Nothing, _: &Ragged, _: &AttentionSpec) -> Result<()> {
        refuse()
    }
    fn cross_attend(
        &self,
        _: &Nothing,
        _: &Ragged,
        _: &(),
        _: &[usize],
        _: &AttentionSpec,
        _: Option<&mut Vec<f32>>,
    ) -> Result<Nothing> {
        refuse()
    }
}

impl ConvolutionOps for Blank {
    fn windows(&self, _: &Nothing, _: &[Grid], _: &Windows) -> Result<Nothing> {
        refuse()
    }
}

impl RecurrentOps for Blank {
    type Recurrent = ();
    type Additive = ();
    type AdditiveMemory = ();

    fn recurrent(&self, _: &RecurrentSpec, _: Format) -> Result<()> {
        Ok(())
    }
    fn recur(
        &self,
        _: &Nothing,
        _: &Ragged,
        _: &(),
        _: Option<&Nothing>,
    ) -> Result<(Nothing, Nothing)> {
        refuse()
    }
    fn columns(&self, _: &[Part<'_, Nothing>]) -> Result<Nothing> {
        refuse()
    }
    fn stack_rows(&self, _: &[&Nothing]) -> Result<Nothing> {
        refuse()
    }
    fn additive(&self, _: &HostTensor) -> Result<()> {
        Ok(())
    }
    fn additive_memory(&self, _: &Nothing, _: &Nothing, _: &Ragged) -> Result<()> {
        refuse()
    }
    fn additive_attend(
        &self,
        _: &Nothing,
        _: &Ragged,
        _: &(),
        _: &(),
        _: &[usize],
        _: Option<&mut Vec<f32>>,
    ) -> Result<Nothing> {
        refuse()
    }
}
