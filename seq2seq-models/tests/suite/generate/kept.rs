//! What is kept of a generation where it is asked for: how each id was chosen, and the hypotheses that beam search lost.

use super::{case::Case, scripted::logits};
use seq2seq_models::{
    Choice, Generated, Result,
    generate::{self, LossReason, Lost, Sink},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SAMPLES: &str =
    r#"{"max_new_tokens": 9, "do_sample": true, "seed": 3, "num_return_sequences": 3, "top_k": 4}"#;
const MODES: [&str; 4] = [
    r#"{"max_new_tokens": 9}"#,
    SAMPLES,
    r#"{"max_new_tokens": 9, "num_beams": 4, "num_return_sequences": 3}"#,
    r#"{"max_new_tokens": 9, "num_beams": 3, "do_sample": true, "seed": 1, "repetition_penalty": 1.3}"#,
];

fn case(kwargs: &str) -> Case {
    Case::new(serde_json::from_str::<Value>(kwargs).unwrap())
}

fn with_choices(case: &Case, likeliest: usize) -> Result<Vec<Vec<Generated>>> {
    let plan = case.plan()?.with_choices(likeliest);
    generate::run(&plan, &mut case.session(&plan), &mut ())
}

/// The log-probabilities after `ids`, by the definition.
fn log_probs(case: &Case, row: usize, ids: &[u32]) -> Vec<f64> {
    let scores = logits(&case.rows[row], ids, case.window, case.vocab);
    let total: f64 = scores.iter().map(|&s| f64::from(s).exp()).sum();
    scores.iter().map(|&s| f64::from(s) - total.ln()).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * b.abs().max(1.0)
}

/// The choices add up to the score, and looking at them changes nothing.
#[test]
fn choices_add_up_to_the_score() {
    for kwargs in MODES {
        let case = case(kwargs);
        let (with, without) = (with_choices(&case, 5).unwrap(), case.run().unwrap());
        for (with, without) in with.iter().flatten().zip(without.iter().flatten()) {
            assert_eq!((&with.ids, with.score), (&without.ids, without.score), "{kwargs}");
            assert_eq!(without.choices, None);
            let choices = with.choices.as_ref().unwrap();
            assert_eq!(choices.len(), with.ids.len() - 1, "one a generated id");
            let sum: f64 = choices.iter().map(|c| f64::from(c.log_prob)).sum();
            let score = sum / choices.len() as f64;
            assert!(close(score, f64::from(with.score)), "{kwargs}: {score}, not {}", with.score);
        }
    }
}

/// Where no rule changes them, the likeliest ids are those of the model's own distribution, best first.
#[test]
fn the_likeliest_ids_are_those_of_the_very_hypothesis() {
    for kwargs in &MODES[..3] {
        let case = case(kwargs);
        for (row, sequences) in with_choices(&case, 4).unwrap().iter().enumerate() {
            for Generated { ids, choices, .. } in sequences {
                for (t, choice) in choices.as_ref().unwrap().iter().enumerate() {
                    let expected = log_probs(&case, row, &ids[..=t]);
                    let Choice { log_prob, likeliest } = choice;
                    assert_eq!(likeliest.len(), 4);
                    assert!(likeliest.is_sorted_by(|a, b| a.1 >= b.1));
                    assert!(
                        likeliest.iter().all(|&(id, l)| close(l.into(), expected[id as usize]))
                    );
                    let better = expected.iter().filter(|e| **e > likeliest[3].1.into()).count();
                    assert!(better <= 4, "{kwargs}: {likeliest:?} of {expected:?}");
                    if *kwargs != SAMPLES {
                        let own = expected[ids[t + 1] as usize];
                        assert!(close((*log_prob).into(), own), "{kwargs}: {log_prob}, not {own}");
                    }
                }
            }
        }
    }
}

/// Step, ids, score, reason.
type Heard = (usize, Vec<u32>, f32, LossReason);

/// Keeps what is lost.
#[derive(Default)]
struct Losses {
    rows: BTreeMap<usize, Vec<Heard>>,
    finished: BTreeSet<usize>,
}

impl Sink for Losses {
    fn finished(&mut self, row: usize, _: &[Generated]) -> std::ops::ControlFlow<()> {
        self.finished.insert(row);
        std::ops::ControlFlow::Continue(())
    }

    fn hears_lost(&self) -> bool {
        true
    }

    fn lost(&mut self, row: usize, lost: &Lost<'_>) {
        assert!(!self.finished.contains(&row), "told after its row has finished");
        let Lost { step, ids, score, reason } = *lost;
        self.rows.entry(row).or_default().push((step, ids.to_vec(), score, reason));
    }
}

#[test]
fn what_is_lost_has_its_score_and_its_step() {
    let mut seen = BTreeSet::new();
    for kwargs in [
        json!({"max_new_tokens": 12, "num_beams": 4, "num_return_sequences": 2}),
        json!({"max_new_tokens": 12, "num_beams": 3, "early_stopping": true, "length_penalty": 2.0}),
        json!({"max_new_tokens": 12, "num_beams": 5, "length_penalty": -0.5}),
    ] {
        let case = Case::new(kwargs);
        let penalty = case.kwargs.get("length_penalty").map_or(1.0, |p| p.as_f64().unwrap());
        let mut losses = Losses::default();
        let rows = case.run_into(&mut losses).unwrap();
        assert_eq!(rows, case.run().unwrap(), "listening changes nothing");
        for (row, lost) in &losses.rows {
            for (step, ids, score, reason) in lost {
                let sum: f64 = (1..ids.len())
                    .map(|t| log_probs(&case, *row, &ids[..t])[ids[t] as usize])
                    .sum();
                let generated = ids.len() - 1;
                let expected = sum / (generated as f64).powf(penalty);
                assert!(close((*score).into(), expected), "{ids:?}: {score}, not {expected}");
                match reason {
                    LossReason::Outrun => assert_eq!(generated + 1, *step),
                    LossReason::Unfinished => assert_eq!(generated, *step),
                    LossReason::Surpassed => {
                        assert!(generated <= *step);
                        let worst = rows[*row].last().unwrap().score;
                        assert!(*score <= worst, "{score} surpassed by {worst}");
                    }
                }
                assert!(rows[*row].iter().all(|g| g.ids != *ids), "{ids:?} is returned");
                seen.insert(reason.name());
            }
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// Where nothing can end early, as many hypotheses run in every step as there are beams: those that are told of, and those
/// that they and the returned ones grew from, are all of them.
#[test]
fn nothing_is_lost_unheard() {
    let (beams, new) = (4, 8);
    let case = Case::new(json!({"max_new_tokens": new, "min_new_tokens": new, "num_beams": beams}));
    let mut losses = Losses::default();
    let rows = case.run_into(&mut losses).unwrap();
    for (row, sequences) in rows.iter().enumerate() {
        let lost = &losses.rows[&row];
        let leaves = lost.iter().map(|l| &l.1).chain(sequences.iter().map(|g| &g.ids));
        let leaves: Vec<&Vec<u32>> = leaves.collect();
        for depth in 2..=new + 1 {
            let there: BTreeSet<&[u32]> =
                leaves.iter().filter(|l| l.len() >= depth).map(|l| &l[..depth]).collect();
            assert_eq!(there.len(), beams, "row {row}, after {depth} ids");
        }
        // None is told of twice, and none that went on.
        for (i, a) in leaves.iter().enumerate() {
            assert!(leaves.iter().enumerate().all(|(j, b)| i == j || !b.starts_with(a)), "{a:?}");
        }
    }
}

#[test]
fn greedy_search_loses_nothing() {
    let mut losses = Losses::default();
    case(MODES[0]).run_into(&mut losses).unwrap();
    assert!(losses.rows.is_empty());
}
