//! Hypotheses that continue others, the host not knowing which.
//!
//! A pass need not know: where hypotheses of a sequence are equally long, hypothesis i may write a page of its own at the
//! next position whatever it continues ([`Histories::growth_unknown`]), and the device finds by the parents which pages it reads
//! (`kernels/kv_parents.cu`). The host does the same to its own list once it knows, which is before whatever comes next.

use super::histories::{Growth, Histories};
use crate::kernels::chosen::{Chosen, Landed};
use seq2seq_core::{Error, Ragged, Result};
use std::sync::Arc;

/// Parents on their way to the host, and the pass that did not wait for them.
pub(super) struct Unknown {
    /// Until the tables of the pass are asked for, which are all that reads the parents.
    chosen: Option<Arc<Chosen>>,
    landed: Landed,
    /// What the hypotheses have grown by since.
    growth: Option<Growth>,
}

impl Unknown {
    /// None where the copy to the host has not been asked for.
    pub(super) fn new(chosen: &Arc<Chosen>) -> Option<Self> {
        let landed = chosen.landed()?;
        Some(Self { chosen: Some(Arc::clone(chosen)), landed, growth: None })
    }

    /// What was chosen, for who reads the parents.
    pub(super) fn take_chosen(&mut self) -> Option<Arc<Chosen>> {
        self.chosen.take()
    }

    /// Where the hypotheses have grown, by a row each.
    pub(super) fn growth(&self) -> Option<&Growth> {
        self.growth.as_ref()
    }

    /// Hypothesis i has grown by a row, as `growth` has it.
    pub(super) fn grow(&mut self, growth: Growth) {
        self.growth = Some(growth);
    }

    /// Waits for the parents.
    pub(super) fn parents(&self) -> Result<Vec<usize>> {
        Ok(self.landed.download()?.parents)
    }

    /// Does to the histories what was done without their knowing it.
    pub(super) fn tell(self, histories: &mut Histories, parents: &[usize]) {
        histories.reorder(parents);
        if let Some(growth) = self.growth {
            histories.grow(&Ragged::single_rows(parents.len()), growth);
        }
    }
}

/// Checks that the `width` hypotheses of each source go back to one sequence and are equally long, so that it makes no difference
/// which of them is continued.
pub(super) fn check(histories: &Histories, hypotheses: usize, width: usize) -> Result<()> {
    const OP: &str = "reorder_chosen";
    Error::expect(OP, "hypotheses", histories.lengths().len(), hypotheses)?;
    let all: Vec<_> = histories.origins().zip(histories.lengths()).collect();
    match all.chunks(width).position(|source| source.iter().any(|h| *h != source[0])) {
        None => Ok(()),
        Some(i) => {
            let reason =
                format!("the hypotheses of source {i} are not equally long, or of several");
            Err(Error::invalid(OP, reason))
        }
    }
}
