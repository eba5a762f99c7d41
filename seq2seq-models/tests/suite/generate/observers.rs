//! What a caller sees of a generation: streamed ids, finished rows, interruption, cross-attention.

use super::{case::Case, scripted::Scripted};
use seq2seq_models::{
    Generated,
    generate::{self, Sink},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::ControlFlow};

#[derive(Default)]
struct Listener {
    streamed: BTreeMap<(usize, usize), Vec<u32>>,
    finished: BTreeMap<usize, Vec<Generated>>,
    steps: usize,
    /// Breaks at this step, unless 0.
    stop_at: usize,
    stop_when_finished: bool,
}

impl Sink for Listener {
    fn ids(&mut self, row: usize, sequence: usize, ids: &[u32]) -> ControlFlow<()> {
        assert!(!self.finished.contains_key(&row));
        self.streamed.entry((row, sequence)).or_default().extend(ids);
        ControlFlow::Continue(())
    }

    fn finished(&mut self, row: usize, sequences: &[Generated]) -> ControlFlow<()> {
        assert!(self.finished.insert(row, sequences.to_vec()).is_none(), "row {row} twice");
        if self.stop_when_finished { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn step(&mut self) -> ControlFlow<()> {
        self.steps += 1;
        if self.steps == self.stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

const MODES: [&str; 3] = [
    r#"{"max_new_tokens": 12}"#,
    r#"{"max_new_tokens": 12, "do_sample": true, "seed": 2, "num_return_sequences": 3}"#,
    r#"{"max_new_tokens": 12, "num_beams": 4, "num_return_sequences": 3}"#,
];

fn modes() -> impl Iterator<Item = Case> {
    MODES.iter().map(|kwargs| Case::new(serde_json::from_str::<Value>(kwargs).unwrap()))
}

#[test]
fn rows_are_told_once_and_ids_as_they_come() {
    for case in modes() {
        let mut listener = Listener::default();
        let rows = case.run_into(&mut listener).unwrap();
        let finished: Vec<_> = listener.finished.into_values().collect();
        assert_eq!(finished, rows);
        if case.kwargs.contains_key("num_beams") {
            assert!(listener.streamed.is_empty());
            continue;
        }
        for ((row, sequence), ids) in listener.streamed {
            assert_eq!(ids, rows[row][sequence].ids[1..], "{:?}", case.kwargs);
        }
    }
}

#[test]
fn breaking_returns_what_there_is() {
    for case in modes() {
        let whole = case.run().unwrap();
        let mut listener = Listener { stop_at: 2, ..Listener::default() };
        let part = case.run_into(&mut listener).unwrap();
        assert_eq!(part.len(), whole.len());
        for (row, (part, whole)) in part.iter().zip(&whole).enumerate() {
            assert!(part.iter().all(|g| g.ids.len() <= 3 && g.score.is_finite()), "{part:?}");
            if let Some(told) = listener.finished.get(&row) {
                assert_eq!(told, whole);
            }
        }
        let mut listener = Listener { stop_when_finished: true, ..Listener::default() };
        case.run_into(&mut listener).unwrap();
        assert!(!listener.finished.is_empty());
    }
}

/// Each id's weights are those of the very hypothesis, and its source, that the id was chosen from.
#[test]
fn weights_follow_the_ancestry() {
    for case in modes() {
        let plan = case.plan().unwrap().with_weights();
        let rows = generate::run(&plan, &mut case.session(&plan), &mut ()).unwrap();
        let without = case.run().unwrap();
        for (row, (with, without)) in rows.iter().zip(&without).enumerate() {
            for (g, without) in with.iter().zip(without) {
                assert_eq!((&g.ids, g.score), (&without.ids, without.score));
                let weights = g.weights.as_ref().unwrap();
                assert_eq!(weights.len(), g.ids.len() - 1, "one entry a generated id");
                for (t, layers) in weights.iter().enumerate() {
                    let first = Scripted::weights_of(row, &g.ids[..=t]);
                    let second: Vec<f32> = first.iter().map(|w| -w).collect();
                    assert_eq!(*layers, [first, second], "{:?} row {row} id {t}", case.kwargs);
                }
            }
        }
    }
}

/// Ended hypotheses and rows cost nothing more: the session computes one row of logits an id.
#[test]
fn what_has_ended_leaves_the_session() {
    for kwargs in
        [json!({"max_new_tokens": 30}), json!({"max_new_tokens": 30, "do_sample": true, "seed": 8})]
    {
        let case = Case::new(kwargs);
        let plan = case.plan().unwrap();
        let mut session = case.session(&plan);
        let rows = generate::run(&plan, &mut session, &mut ()).unwrap();
        let ids: usize = rows.iter().flatten().map(|g| g.ids.len() - 1).sum();
        let longest = rows.iter().flatten().map(|g| g.ids.len() - 1).max().unwrap();
        assert_eq!(session.work, ids);
        assert!(ids < longest * rows.len(), "the rows must end at different times");
    }
}
