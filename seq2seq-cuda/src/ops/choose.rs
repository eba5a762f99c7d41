//! Choosing one id a row, which the host hears of while the device goes on.

use super::{sample, top_k};
use crate::Cuda;
use crate::kernels::chosen;
use crate::memory::Tensor;
use seq2seq_core::{LogitRule, Pick, Result, Rows, Sampled, ScoreOrder};

/// Ids in the device's memory, one a row, on their way to the host. The host may or may not wait for them.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{Backend, DecoderOps, HostTensor, Pick};
/// use seq2seq_cuda::Chosen;
///
/// let logits = cuda.upload(&HostTensor::from_f32(vec![1, 3], &[0.1, 0.9, 0.5])?)?;
/// let table = cuda.embedding(&HostTensor::from_f32(vec![3, 1], &[10.0, 20.0, 30.0])?)?;
/// let chosen: Chosen = cuda.choose(&logits, &[], &Pick::Best)?;
/// let next = cuda.embed_chosen((&table, 1.0), &chosen, &[])?;
/// // The device is at what follows while the host hears of the ids.
/// assert_eq!(cuda.chosen(&chosen)?.ids, [1]);
/// assert_eq!(cuda.download(&next)?, [20.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Chosen {
    picked: chosen::Chosen,
    /// V: every id is below it.
    vocab: usize,
    /// Whether they were drawn, which rows without a distribution cannot be.
    drawn: bool,
}

impl Chosen {
    pub(super) fn picked(&self) -> &chosen::Chosen {
        &self.picked
    }

    /// N and V.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.picked.count(), self.vocab]
    }
}

pub(crate) fn choose(
    cuda: &Cuda,
    logits: &Tensor,
    rules: &[Vec<LogitRule>],
    pick: &Pick<'_>,
) -> Result<Chosen> {
    let (mut picked, drawn) = match *pick {
        Pick::Best => (top_k::best(cuda, logits, 1, ScoreOrder::RulesThenNormalise, rules)?, false),
        Pick::Draw { warp, uniforms } => {
            (sample::draw(cuda, logits, (rules, uniforms), warp)?, true)
        }
    };
    picked.land()?;
    Ok(Chosen { picked, vocab: logits.width(), drawn })
}

pub(crate) fn chosen(chosen: &Chosen) -> Result<Sampled> {
    let (ids, scores) = chosen.picked.download()?;
    match chosen.drawn {
        true => sample::drawn((ids, scores)),
        false => Ok(Sampled { ids, scores }),
    }
}
