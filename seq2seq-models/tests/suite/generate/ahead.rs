//! A search that goes ahead of the host cannot be told from one that waits, but by the order of what it asks for.

use super::{
    case::Case,
    scripted::{Failing, Scripted},
};
use crate::support::ahead::{Ahead, Asked, Held};
use seq2seq_core::{Backend, Ragged, reference::Reference};
use seq2seq_models::{
    Generated, Result,
    generate::{self, Context, DecodeSession, Plan, Sink},
};
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// The scripted model on a backend that chooses ahead.
struct Unseen<S> {
    inner: S,
    backend: Ahead,
}

impl<S: DecodeSession<Reference>> DecodeSession<Ahead> for Unseen<S> {
    fn step(&mut self, ids: &[u32], rows: &Ragged) -> Result<<Ahead as Backend>::Tensor> {
        self.inner.step(ids, rows)
    }

    fn step_chosen(
        &mut self,
        chosen: &Held,
        rows: &Ragged,
    ) -> Result<Option<<Ahead as Backend>::Tensor>> {
        self.inner.step(&self.backend.read_unseen(chosen), rows).map(Some)
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.inner.reorder(parents)
    }

    fn record_weights(&mut self) -> Result<()> {
        self.inner.record_weights()
    }

    fn take_weights(&mut self) -> Vec<Vec<Vec<f32>>> {
        self.inner.take_weights()
    }

    fn backend(&self) -> &Ahead {
        &self.backend
    }

    fn vocab(&self) -> usize {
        self.inner.vocab()
    }
}

fn unseen<S>(inner: S) -> Unseen<S> {
    Unseen { inner, backend: Ahead::new() }
}

/// All that a sink is told, in its order; it ends the search at a call.
#[derive(Default)]
struct Told {
    calls: Vec<String>,
    break_at: Option<usize>,
}

impl Told {
    fn hear(&mut self, call: String) -> ControlFlow<()> {
        self.calls.push(call);
        match self.break_at {
            Some(at) if self.calls.len() > at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Sink for Told {
    fn ids(&mut self, row: usize, sequence: usize, ids: &[u32]) -> ControlFlow<()> {
        self.hear(format!("{row}.{sequence}: {ids:?}"))
    }

    fn finished(&mut self, row: usize, sequences: &[Generated]) -> ControlFlow<()> {
        self.hear(format!("{row}: {sequences:?}"))
    }

    fn step(&mut self) -> ControlFlow<()> {
        self.hear("step".into())
    }
}

/// Searches whose rows end at different steps, each with what could come too late.
fn cases() -> Vec<Case> {
    let all = [
        json!({}),
        json!({"max_new_tokens": 12, "repetition_penalty": 1.7}),
        json!({"max_new_tokens": 30, "no_repeat_ngram_size": 2, "min_new_tokens": 3}),
        json!({"max_new_tokens": 9, "forced_eos_token_id": 1, "bad_words_ids": [[4, 5], [2]]}),
        json!({"max_new_tokens": 30, "eos_token_id": [1, 4], "begin_suppress_tokens": [4]}),
        json!({"max_length": 9, "exponential_decay_length_penalty": [2, 1.5]}),
        json!({"max_new_tokens": 30, "do_sample": true, "seed": 8}),
        json!({"max_new_tokens": 12, "do_sample": true, "seed": 2, "num_return_sequences": 3}),
        json!({"max_new_tokens": 20, "do_sample": true, "seed": 3, "top_p": 0.7, "temperature": 1.9,
               "num_return_sequences": 2, "repetition_penalty": 1.3}),
        json!({"max_new_tokens": 1}),
    ];
    let mut cases: Vec<Case> = all.into_iter().map(Case::new).collect();
    // Prompts of unequal lengths: rows that are full at different steps.
    let unequal = Case::new(json!({"max_length": 12, "eos_token_id": [1]}));
    cases.push(Case { encoder_decoder: false, ..unequal });
    cases
}

fn searched<B, S>(
    plan: &Plan<'_>,
    mut session: S,
    break_at: Option<usize>,
) -> (std::result::Result<Vec<Vec<Generated>>, String>, Vec<String>, S)
where
    B: seq2seq_core::DecoderOps,
    S: DecodeSession<B>,
{
    let mut told = Told { break_at, ..Told::default() };
    let rows = generate::run(plan, &mut session, &mut told).map_err(|e| e.to_string());
    (rows, told.calls, session)
}

#[test]
fn nobody_can_tell_by_the_results() {
    let mut late = 0;
    for case in cases() {
        let plan = case.plan().unwrap();
        let (rows, calls, waiting) = searched(&plan, case.session(&plan), None);
        let (found, told, session) = searched(&plan, unseen(case.session(&plan)), None);
        assert_eq!((&found, &told), (&rows, &calls), "{:?}", case.kwargs);
        // A row that ends is computed once more at most.
        let (work, most) = (session.inner.work, waiting.work + rows.unwrap().concat().len());
        assert!((waiting.work..=most).contains(&work), "{:?}: {work}", case.kwargs);
        late += work - waiting.work;
        for at in 0..calls.len() {
            let (rows, calls, _) = searched(&plan, case.session(&plan), Some(at));
            let (found, told, _) = searched(&plan, unseen(case.session(&plan)), Some(at));
            assert_eq!((found, told), (rows, calls), "{:?}, broken at {at}", case.kwargs);
        }
    }
    assert!(late > 10, "{late}: rows end that have gone ahead");
}

/// The host waits for ids behind the step that reads them; the last ids, and those that fill a row, are read by none.
#[test]
fn a_step_is_asked_for_before_its_ids_are_known() {
    let settings = json!({"max_new_tokens": 5, "eos_token_id": []});
    for more in [json!({}), json!({"do_sample": true, "seed": 1})] {
        let mut case = Case::new(settings.clone());
        case.kwargs.extend(more.as_object().unwrap().clone());
        let plan = case.plan().unwrap();
        let (_, _, session) = searched(&plan, unseen(case.session(&plan)), None);
        let mut expected = [Asked::Choice, Asked::Step, Asked::Ids].repeat(4);
        expected.extend([Asked::Choice, Asked::Ids]);
        assert_eq!(*session.backend.asked(), expected);
    }
}

/// What is kept of each step is looked at before the next.
#[test]
fn a_search_that_keeps_its_steps_waits() {
    let case = Case::new(json!({"max_new_tokens": 12}));
    for (plan, other) in [
        (case.plan().unwrap().with_weights(), case.plan().unwrap().with_weights()),
        (case.plan().unwrap().with_choices(2), case.plan().unwrap().with_choices(2)),
    ] {
        let (rows, calls, _) = searched(&plan, case.session(&plan), None);
        let (found, told, session) = searched(&other, unseen(case.session(&other)), None);
        assert_eq!((found, told), (rows, calls));
        assert!(!session.backend.asked().contains(&Asked::Step));
    }
}

#[test]
fn stop_strings_end_one_step_late() {
    let text = |id: u32| vec![b'a' + id as u8];
    let case = Case::new(json!({"stop_strings": ["ec", "d", "zz"], "max_new_tokens": 25}));
    let context = Context { token_bytes: Some(&text), ..case.context() };
    let plan = Plan::new(&case.layers().unwrap(), &context, &case.prompts()).unwrap();
    let (rows, calls, _) = searched(&plan, case.session(&plan), None);
    let (found, told, _) = searched(&plan, unseen(case.session(&plan)), None);
    assert_eq!((&found, told), (&rows, calls));
    let lengths: Vec<usize> = rows.unwrap().concat().iter().map(|g| g.ids.len()).collect();
    assert!(lengths.iter().any(|&n| n < 26), "{lengths:?}");
}

/// An error of a step that was asked for too early comes when the step is needed, and never where it is not.
#[test]
fn errors_come_where_a_search_that_waits_has_them() {
    let all: Vec<u32> = (0..9).collect();
    let cases: [Value; 4] = [
        json!({}),
        json!({"do_sample": true, "seed": 1}),
        json!({"suppress_tokens": all}),
        json!({"suppress_tokens": all, "do_sample": true}),
    ];
    for kwargs in cases {
        let case = Case::new(kwargs);
        let plan = case.plan().unwrap();
        let (rows, calls, _) = searched(&plan, Failing(case.session(&plan)), None);
        let failing = unseen(Failing(case.session(&plan)));
        let (found, told, _) = searched(&plan, failing, None);
        assert!(rows.is_err());
        assert_eq!((found, told), (rows, calls), "{:?}", case.kwargs);
    }
    // Every row ends with its first id, so that nobody needs the step that fails.
    let ends = Case::new(json!({"eos_token_id": all, "max_new_tokens": 4}));
    let plan = ends.plan().unwrap();
    let (rows, _, session) = searched(&plan, unseen(Failing(ends.session(&plan))), None);
    assert!(session.backend.asked().contains(&Asked::Step));
    assert_eq!(rows, searched::<Reference, Scripted>(&plan, ends.session(&plan), None).0);
}
