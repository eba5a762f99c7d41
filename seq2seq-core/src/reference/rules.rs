//! Logit rules: each a few f32 operations, rounded one by one, so that every backend can give the same bits.

use crate::LogitRule;

/// Applies `rules` in their order to the scores of one row.
///
/// ```
/// use seq2seq_core::{LogitRule, reference::rules::apply};
///
/// // A token that has to come next: nothing is left of the others.
/// let mut scores = [2.0, -1.0, 0.5];
/// apply(&[LogitRule::Add(vec![(1, 9.0)]), LogitRule::Only(vec![2])], &mut scores);
/// assert_eq!(scores, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0]);
/// ```
///
/// # Panics
/// When an id is not below `scores.len()`; [`check::rules`](crate::backend::check::rules) finds those.
pub fn apply(rules: &[LogitRule], scores: &mut [f32]) {
    for rule in rules {
        match rule {
            LogitRule::Add(pairs) => pairs.iter().for_each(|&(id, v)| scores[id as usize] += v),
            LogitRule::Penalise { ids, penalty } => {
                each(ids, scores, |s| if s < 0.0 { s * penalty } else { s / penalty })
            }
            LogitRule::Ban(ids) => each(ids, scores, |_| f32::NEG_INFINITY),
            LogitRule::Only(ids) => {
                scores.fill(f32::NEG_INFINITY);
                each(ids, scores, |_| 0.0);
            }
            // A banned id stays banned: the formula would make it NaN.
            LogitRule::Grow { ids, factor } => each(ids, scores, |s| match s {
                f32::NEG_INFINITY => s,
                s => s + s.abs() * factor,
            }),
        }
    }
}

fn each(ids: &[u32], scores: &mut [f32], f: impl Fn(f32) -> f32) {
    for &id in ids {
        scores[id as usize] = f(scores[id as usize]);
    }
}

/// The rules of row `n`, where there may be none for any row.
pub(super) fn of(rules: &[Vec<LogitRule>], n: usize) -> &[LogitRule] {
    rules.get(n).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_does_what_it_says() {
        let scores = |rules: &[LogitRule]| {
            let mut s = [2.0, -2.0, 0.5, -4.0];
            apply(rules, &mut s);
            s
        };
        let no = f32::NEG_INFINITY;
        assert_eq!(
            scores(&[LogitRule::Add(vec![(0, 1.0), (0, 2.0), (3, no)])]),
            [5., -2., 0.5, no]
        );
        let penalise = LogitRule::Penalise { ids: vec![0, 1], penalty: 2.0 };
        assert_eq!(scores(std::slice::from_ref(&penalise)), [1.0, -4.0, 0.5, -4.0]);
        assert_eq!(scores(&[LogitRule::Ban(vec![2, 0])]), [no, -2.0, no, -4.0]);
        assert_eq!(scores(&[LogitRule::Only(vec![1])]), [no, 0.0, no, no]);
        assert_eq!(scores(&[LogitRule::Only(vec![3, 0])]), [0.0, no, no, 0.0]);
        let grow = LogitRule::Grow { ids: vec![0, 3], factor: 0.5 };
        assert_eq!(scores(std::slice::from_ref(&grow)), [3.0, -2.0, 0.5, -2.0]);
        assert_eq!(scores(&[LogitRule::Ban(vec![3]), grow]), [3.0, -2.0, 0.5, no]);
        // In order: the ban wins over the penalty before it.
        assert_eq!(scores(&[penalise, LogitRule::Ban(vec![1])]), [1.0, no, 0.5, -4.0]);
    }
}
