//! Choosing one id a row, which the host hears of while the device goes on.

use super::{sample, top_k};
use crate::Cuda;
use crate::kernels::chosen;
use crate::memory::Tensor;
use seq2seq_core::{LogitRule, Pick, Result, Rows, Sampled, ScoreOrder};

/// Ids in the device's memory, one a row, on their way to the host. The host may or may not wait for them.
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
