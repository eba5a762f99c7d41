//! The parts of a stack, each once for all families.

mod attention;
mod block;
mod embedding;
mod feed_forward;
mod rotary;
mod sinusoid;

pub(crate) use block::{Block, Cross, Pass};
pub(crate) use embedding::{Embedding, Ids, Scratch, Tokens};

use crate::{
    Result,
    checkpoint::Scope,
    plan::{NormPlace, NormPlan},
};
use seq2seq_core::Backend;

/// The normalisation and the residual connection around one half of a block.
struct Residual<B: Backend> {
    norm: B::Norm,
    place: NormPlace,
}

impl<B: Backend> Residual<B> {
    fn load(
        place: NormPlace,
        norm: &NormPlan,
        width: usize,
        scope: &Scope<'_, '_, B>,
    ) -> Result<Self> {
        Ok(Self { norm: scope.norm("norm", norm, width)?, place })
    }

    /// x + f(norm(x)) or norm(x + f(x)). `half` gets its input and the residual that its last layer adds.
    fn around(
        &self,
        backend: &B,
        x: &B::Tensor,
        half: impl FnOnce(&B::Tensor, &B::Tensor) -> Result<B::Tensor>,
    ) -> Result<B::Tensor> {
        match self.place {
            NormPlace::Pre => half(&backend.norm(x, &self.norm)?, x),
            NormPlace::Post => Ok(backend.norm(&half(x, x)?, &self.norm)?),
        }
    }
}
