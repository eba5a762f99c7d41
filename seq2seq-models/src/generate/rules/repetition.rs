use super::{Processor, View, distinct};
use seq2seq_core::LogitRule;

/// Discourages what the hypothesis holds, the prompt and the decoder's start included (PARITY trap 58).
pub(super) struct RepetitionPenalty {
    pub(super) penalty: f32,
}

impl Processor for RepetitionPenalty {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        let ids = distinct(view.ids, view.vocab);
        out.push(LogitRule::Penalise { ids, penalty: self.penalty });
    }
}

/// Encourages what the encoder read: the repetition penalty by the inverse of what the user gives.
pub(super) struct EncoderRepetitionPenalty {
    inverse: f32,
}

impl EncoderRepetitionPenalty {
    pub(super) fn new(penalty: f64) -> Self {
        Self { inverse: (1.0 / penalty) as f32 }
    }
}

impl Processor for EncoderRepetitionPenalty {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        let ids = distinct(view.source, view.vocab);
        out.push(LogitRule::Penalise { ids, penalty: self.inverse });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::rules::testing::rules_after;

    #[test]
    fn each_id_once_and_only_those_with_a_score() {
        let rules = rules_after(RepetitionPenalty { penalty: 1.5 }, &[3, 1, 3, 11, 0], 1);
        assert_eq!(rules, [LogitRule::Penalise { ids: vec![0, 1, 3], penalty: 1.5 }]);
        let rules = rules_after(EncoderRepetitionPenalty::new(2.0), &[3], 1);
        assert_eq!(rules, [LogitRule::Penalise { ids: vec![4, 5, 6, 7], penalty: 0.5 }]);
    }
}
