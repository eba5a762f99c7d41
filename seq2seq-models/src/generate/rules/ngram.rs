use super::{Processor, View, ban, distinct};
use seq2seq_core::LogitRule;

/// Bans each id that would complete a run of `size` ids that the hypothesis holds already, prompt included.
pub(super) struct NoRepeatNgram {
    pub(super) size: usize,
}

impl Processor for NoRepeatNgram {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        ban_completions(view.ids, view, self.size, out);
    }
}

/// Bans each id that would complete a run of `size` ids that the encoder read.
pub(super) struct EncoderNoRepeatNgram {
    pub(super) size: usize,
}

impl Processor for EncoderNoRepeatNgram {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        ban_completions(view.source, view, self.size, out);
    }
}

/// Bans what follows, in `text`, the last `size - 1` ids of the hypothesis.
fn ban_completions(text: &[u32], view: &View<'_>, size: usize, out: &mut Vec<LogitRule>) {
    let Some(start) = (view.ids.len() + 1).checked_sub(size) else { return };
    let tail = &view.ids[start..];
    let banned: Vec<u32> =
        text.windows(size).filter_map(|w| w.strip_prefix(tail)?.first().copied()).collect();
    ban(distinct(&banned, view.vocab), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::rules::testing::rules_after;

    fn banned(ids: &[u32], size: usize) -> Vec<LogitRule> {
        rules_after(NoRepeatNgram { size }, ids, 1)
    }

    #[test]
    fn bans_what_would_repeat() {
        assert_eq!(banned(&[1, 2, 3, 1, 2], 3), [LogitRule::Ban(vec![3])]);
        assert_eq!(banned(&[1, 2, 1, 3, 1], 2), [LogitRule::Ban(vec![2, 3])]);
        assert_eq!(banned(&[5, 2, 5], 1), [LogitRule::Ban(vec![2, 5])]);
        assert_eq!(banned(&[1, 1], 2), [LogitRule::Ban(vec![1])]);
    }

    #[test]
    fn short_histories_and_ids_without_a_score_ban_nothing() {
        assert!(
            banned(&[], 1).is_empty()
                && banned(&[1], 3).is_empty()
                && banned(&[1, 2], 3).is_empty()
        );
        assert!(banned(&[1, 12, 1], 2).is_empty());
    }

    /// The source of `rules_after` is 4 5 6 4 5 7 12.
    #[test]
    fn looks_into_the_source() {
        let encoder = |ids: &[u32], size| rules_after(EncoderNoRepeatNgram { size }, ids, 1);
        assert_eq!(encoder(&[0, 4, 5], 3), [LogitRule::Ban(vec![6, 7])]);
        assert_eq!(encoder(&[0], 1), [LogitRule::Ban(vec![4, 5, 6, 7])]);
        assert!(encoder(&[5], 3).is_empty() && encoder(&[5, 4], 3).is_empty());
    }
}
