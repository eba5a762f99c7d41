use super::{Processor, View, distinct};
use seq2seq_core::LogitRule;

/// Raises EOS by a share of its magnitude that grows exponentially once `start` new ids have come.
pub(super) struct ExponentialDecay {
    pub(super) start: usize,
    pub(super) factor: f64,
    pub(super) eos: Vec<u32>,
}

impl Processor for ExponentialDecay {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        let start = view.prompt.saturating_add(self.start);
        if view.ids.len() > start {
            // Python's float power; the product with the score is taken in f32.
            let power = self.factor.powf((view.ids.len() - start) as f64);
            let factor = (power - 1.0) as f32;
            out.push(LogitRule::Grow { ids: distinct(&self.eos, view.vocab), factor });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::rules::testing::rules_after;

    #[test]
    fn grows_after_its_start() {
        let after = |ids: &[u32]| {
            rules_after(ExponentialDecay { start: 2, factor: 1.5, eos: vec![9] }, ids, 1)
        };
        assert!(after(&[0, 1, 1]).is_empty());
        assert_eq!(after(&[0, 1, 1, 1]), [LogitRule::Grow { ids: vec![9], factor: 0.5 }]);
        assert_eq!(after(&[0, 1, 1, 1, 1]), [LogitRule::Grow { ids: vec![9], factor: 1.25 }]);
    }
}
