//! Logit rules on the device.

use super::best::{Segments, segments};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Together};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::LogitRule;
use std::collections::HashSet;

static ARTIFACT: Artifact = artifact!("rule_scores");
static RULES: Kernel = Kernel::new(&ARTIFACT, "rule_scores");

/// Rules as the kernel takes them: each touches ids that are all different.
#[derive(Debug, Default, PartialEq)]
struct Flat {
    /// For each row its first rule, and one past the last of all.
    starts: Vec<i32>,
    /// Kind, first id, ids, the bits of a value.
    rules: Vec<[i32; 4]>,
    ids: Vec<u32>,
    /// Of the ids of `Add`; anything for others.
    values: Vec<f32>,
}

impl Flat {
    fn new(rules: &[Vec<LogitRule>], rows: usize) -> Self {
        let mut flat = Self::default();
        for row in 0..rows {
            flat.starts.push(flat.rules.len() as i32);
            for rule in rules.get(row).into_iter().flatten() {
                match rule {
                    LogitRule::Add(pairs) => flat.push(0, 0.0, pairs.iter().copied()),
                    LogitRule::Penalise { ids, penalty } => flat.push(1, *penalty, unvalued(ids)),
                    LogitRule::Ban(ids) => flat.push(2, 0.0, unvalued(&distinct(ids))),
                    LogitRule::Only(ids) => flat.push(3, 0.0, unvalued(&distinct(ids))),
                    LogitRule::Grow { ids, factor } => flat.push(4, *factor, unvalued(ids)),
                }
            }
        }
        flat.starts.push(flat.rules.len() as i32);
        flat
    }

    /// One rule; where an id comes again, the rest of the list is another.
    fn push(&mut self, kind: i32, value: f32, pairs: impl Iterator<Item = (u32, f32)>) {
        let mut start = self.ids.len();
        let mut seen = HashSet::new();
        for (id, value_of_id) in pairs {
            if !seen.insert(id) {
                self.close(kind, value, start);
                start = self.ids.len();
                seen = HashSet::from([id]);
            }
            self.ids.push(id);
            self.values.push(value_of_id);
        }
        self.close(kind, value, start);
    }

    fn close(&mut self, kind: i32, value: f32, start: usize) {
        let count = self.ids.len() - start;
        self.rules.push([kind, start as i32, count as i32, value.to_bits() as i32]);
    }
}

fn unvalued(ids: &[u32]) -> impl Iterator<Item = (u32, f32)> + '_ {
    ids.iter().map(|&id| (id, 0.0))
}

fn distinct(ids: &[u32]) -> Vec<u32> {
    let mut seen = HashSet::new();
    ids.iter().copied().filter(|&id| seen.insert(id)).collect()
}

/// `[N, vocab]` scores: the rules of each row applied to its logits, or to their log-softmax where their sums are given.
/// The ids of rules are below `vocab`.
pub(crate) fn apply(
    cuda: &Cuda,
    (logits, vocab): (&Buffer<f32>, usize),
    sums: Option<&Segments>,
    rules: &[Vec<LogitRule>],
) -> Result<Buffer<f32>> {
    let (rows, segments) = (logits.len() / vocab, segments(vocab));
    assert!(sums.is_none_or(|s| s.parts.len() == rows * segments));
    let mut out = cuda.buffer(logits.len())?;
    let flat = Flat::new(rules, rows);
    let (starts, rules, ids, values) = Together::upload(cuda.pool(), |tables| {
        let (starts, rules) = (tables.add(&flat.starts), tables.add(&flat.rules));
        (starts, rules, tables.add(&flat.ids), tables.add(&flat.values))
    })?;
    let launch = Launch::new(cuda, &RULES)
        .grid(rows, segments, 1)
        .block(super::column_threads(vocab))
        .arg(logits)
        .size(vocab)
        .arg(sums.map_or(0, |s| s.parts.address()))
        .arg(&starts)
        .arg(&rules)
        .arg(&ids)
        .arg(&values)
        .out(&mut out);
    // SAFETY: logits and results are [N, vocab], starts [N + 1] into the rules, whose ids and values lie where they say;
    // the parts, where there are any, are of as many segments.
    unsafe { launch.run() }?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_touches_an_id_once() {
        let rules = [
            vec![
                LogitRule::Add(vec![(3, 1.0), (5, 2.0), (3, 4.0), (5, 1.0)]),
                LogitRule::Ban(vec![7, 7, 2]),
            ],
            vec![],
            vec![LogitRule::Penalise { ids: vec![], penalty: 2.0 }],
        ];
        let flat = Flat::new(&rules, 3);
        assert_eq!(flat.starts, [0, 3, 3, 4]);
        let two = 2f32.to_bits() as i32;
        assert_eq!(flat.rules, [[0, 0, 2, 0], [0, 2, 2, 0], [2, 4, 2, 0], [1, 6, 0, two]]);
        assert_eq!(flat.ids, [3, 5, 3, 5, 7, 2]);
        assert_eq!(flat.values[..4], [1.0, 2.0, 4.0, 1.0]);
        assert_eq!(Flat::new(&[], 2).starts, [0, 0, 0]);
    }
}
