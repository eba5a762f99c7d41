use super::{Processor, View, ban, distinct};
use seq2seq_core::LogitRule;

/// No EOS before the least length (`min_length`, or `min_new_tokens` after the prompt).
pub(super) struct MinLength {
    pub(super) eos: Vec<u32>,
}

impl Processor for MinLength {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        if view.ids.len() < view.min_length {
            ban(distinct(&self.eos, view.vocab), out);
        }
    }
}

/// The first id after a decoder start of one id (PARITY trap 55).
pub(super) struct ForcedBos(pub(super) u32);

impl Processor for ForcedBos {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        if view.ids.len() == 1 {
            out.push(LogitRule::Only(vec![self.0]));
        }
    }
}

/// One of these ids is the last that fits (PARITY trap 55).
pub(super) struct ForcedEos(pub(super) Vec<u32>);

impl Processor for ForcedEos {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        if view.ids.len() + 1 == view.max_length {
            out.push(LogitRule::Only(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::rules::testing::rules_after;

    #[test]
    fn act_at_their_length_only() {
        let min = |ids: &[u32]| rules_after(MinLength { eos: vec![9, 2, 20] }, ids, 1);
        assert_eq!(min(&[0, 1]), [LogitRule::Ban(vec![2, 9])]);
        assert!(min(&[0, 1, 1]).is_empty());
        assert_eq!(rules_after(ForcedBos(4), &[0], 1), [LogitRule::Only(vec![4])]);
        assert!(rules_after(ForcedBos(4), &[0, 4], 1).is_empty());
        let last = |ids: &[u32]| rules_after(ForcedEos(vec![4, 2]), ids, 1);
        assert_eq!(last(&[0; 7]), [LogitRule::Only(vec![4, 2])]);
        assert!(last(&[0; 6]).is_empty());
    }
}
