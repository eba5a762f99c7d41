//! Choosing ids, which the host hears of while the device goes on.

use super::{sample, top_k};
use crate::Cuda;
use crate::kernels::{beams, chosen};
use crate::memory::Tensor;
use seq2seq_core::{Continued, LogitRule, Pick, Picked, Result, Rows, ScoreOrder, backend::check};
use std::sync::Arc;

/// Ids in the device's memory, on their way to the host. The host may or may not wait for them.
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
    picked: Arc<chosen::Chosen>,
    /// V: every id is below it.
    vocab: usize,
    /// Whether they were drawn, which rows without a distribution cannot be.
    drawn: bool,
    /// Hypotheses of each source, where a beam search goes on with some of its ids.
    width: Option<usize>,
}

impl Chosen {
    pub(super) fn picked(&self) -> &Arc<chosen::Chosen> {
        &self.picked
    }

    /// Hypotheses of the next step, and V.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.picked.hypotheses(), self.vocab]
    }

    /// Hypotheses of each source; none where each continues itself.
    pub(super) fn width(&self) -> Option<usize> {
        self.width
    }
}

pub(crate) fn choose(
    cuda: &Cuda,
    logits: &Tensor,
    rules: &[Vec<LogitRule>],
    pick: &Pick<'_>,
) -> Result<Chosen> {
    let (mut drawn, mut width) = (false, None);
    let mut picked = match *pick {
        Pick::Best => top_k::best(cuda, logits, 1, ScoreOrder::RulesThenNormalise, rules, 0)?,
        Pick::Draw { warp, uniforms } => {
            drawn = true;
            sample::draw(cuda, logits, (rules, uniforms), warp)?
        }
        Pick::Beams(spec) => {
            check::beams(logits, rules, &spec)?;
            width = Some(spec.width);
            let best = top_k::best(cuda, logits, spec.k, spec.order, rules, logits.rows())?;
            beams::beams(cuda, &spec, &best)?;
            best
        }
    };
    picked.land()?;
    Ok(Chosen { picked: Arc::new(picked), vocab: logits.width(), drawn, width })
}

pub(crate) fn chosen(chosen: &Chosen) -> Result<Picked> {
    let words = chosen.picked.download()?;
    if chosen.drawn {
        return Ok(sample::drawn(words)?.into());
    }
    let chosen::Words { ids, scores, next, parents } = words;
    let continued = chosen.width.map(|_| Continued { ids: next, parents });
    Ok(Picked { ids, scores, continued })
}
