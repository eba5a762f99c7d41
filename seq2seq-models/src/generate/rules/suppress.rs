use super::{Processor, View, ban, distinct};
use seq2seq_core::LogitRule;

/// Ids that never come.
pub(super) struct SuppressTokens {
    ids: Vec<u32>,
}

impl SuppressTokens {
    pub(super) fn new(ids: &[u32], vocab: usize) -> Self {
        Self { ids: distinct(ids, vocab) }
    }
}

impl Processor for SuppressTokens {
    fn rules(&self, _: &View<'_>, out: &mut Vec<LogitRule>) {
        ban(self.ids.clone(), out);
    }
}

/// Ids that do not come first; second, where the first is forced after a decoder start of one id (PARITY trap 57).
pub(super) struct BeginSuppressTokens {
    pub(super) ids: Vec<u32>,
    pub(super) forced_bos: bool,
}

impl Processor for BeginSuppressTokens {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        let shift = usize::from(self.forced_bos && view.prompt <= 1);
        if view.ids.len() == view.prompt + shift {
            ban(distinct(&self.ids, view.vocab), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::rules::testing::rules_after;

    #[test]
    fn the_beginning_moves_behind_a_forced_bos() {
        let after = |forced_bos, ids: &[u32], prompt| {
            !rules_after(BeginSuppressTokens { ids: vec![3], forced_bos }, ids, prompt).is_empty()
        };
        assert!(after(false, &[0], 1) && !after(false, &[0, 1], 1));
        assert!(!after(true, &[0], 1) && after(true, &[0, 1], 1) && !after(true, &[0, 1, 1], 1));
        assert!(after(true, &[0, 1], 2) && !after(true, &[0, 1, 1], 2));
    }
}
