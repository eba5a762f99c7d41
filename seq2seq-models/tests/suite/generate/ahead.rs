//! A search that goes ahead of the host cannot be told from one that waits, but by the order of what it asks for.

use super::{
    case::Case,
    scripted::{Failing, Scripted},
};
use crate::support::ahead::{Ahead, Asked, Held};
use seq2seq_core::{Backend, Ragged, reference::Reference};
use seq2seq_models::{
    Generated, Result,
    generate::{self, Context, DecodeSession, Lost, Plan, Sink},
};
use serde_json::json;
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
        if let Some(parents) = Ahead::follow_unseen(chosen) {
            self.inner.reorder(parents)?;
        }
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

    fn hears_lost(&self) -> bool {
        true
    }

    fn lost(&mut self, row: usize, lost: &Lost<'_>) {
        self.calls.push(format!("{row}: {lost:?}"));
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

/// Beam searches, of which the device finds what runs on: rows are done at different steps, ids that end push others out,
/// scores are equal, and some have too few continuations.
fn beam_cases() -> Vec<Case> {
    let settings = [
        json!({"max_new_tokens": 12}),
        json!({"max_new_tokens": 12, "early_stopping": true, "length_penalty": 0.3}),
        json!({"max_new_tokens": 14, "early_stopping": "never", "length_penalty": 2.0}),
        json!({"max_new_tokens": 14, "early_stopping": "never", "length_penalty": -0.5}),
        json!({"max_new_tokens": 12, "eos_token_id": [1, 4, 6], "early_stopping": true}),
        json!({"max_new_tokens": 12, "no_repeat_ngram_size": 2, "min_new_tokens": 4, "repetition_penalty": 1.4}),
        json!({"max_new_tokens": 7, "forced_bos_token_id": 3, "forced_eos_token_id": 1}),
        json!({"max_length": 9, "bad_words_ids": [[4, 5], [2]], "renormalize_logits": true}),
        json!({"max_new_tokens": 6, "suppress_tokens": [2, 3, 4, 5, 6, 7, 8]}),
        json!({"max_new_tokens": 8, "eos_token_id": []}),
        json!({"max_new_tokens": 2}),
        json!({"max_new_tokens": 1}),
    ];
    let mut cases = Vec::new();
    for (i, kwargs) in settings.into_iter().enumerate() {
        for beams in [2, 3, 4, 8] {
            let mut case = Case::new(kwargs.clone());
            case.kwargs.insert("num_beams".into(), beams.into());
            case.kwargs.insert("num_return_sequences".into(), (1 + i % 2).into());
            // Of a window of one id most steps are like others, and scores are equal.
            case.window = i % 2;
            cases.push(case);
        }
    }
    // Prompts of unequal lengths.
    let unequal = Case::new(json!({"max_length": 12, "eos_token_id": [1], "num_beams": 3}));
    cases.push(Case { encoder_decoder: false, ..unequal });
    // More continuations are looked at than there are ids.
    let few = Case::new(json!({"max_new_tokens": 7, "eos_token_id": [1, 2], "num_beams": 3}));
    cases.push(Case { vocab: 4, rows: vec![vec![1], vec![2]], ..few });
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

#[test]
fn nobody_can_tell_beams_by_the_results() {
    let (mut late, mut ahead, mut outrun) = (0, 0, 0);
    for case in beam_cases() {
        let plan = case.plan().unwrap();
        let (rows, calls, waiting) = searched(&plan, case.session(&plan), None);
        let (found, told, session) = searched(&plan, unseen(case.session(&plan)), None);
        assert_eq!((&found, &told), (&rows, &calls), "{:?}", case.kwargs);
        // A row that is done is computed once more at most.
        let (work, most) = (session.inner.work, case.rows.len() * plan.hypotheses());
        assert!((waiting.work..=waiting.work + most).contains(&work), "{:?}: {work}", case.kwargs);
        late += work - waiting.work;
        ahead += session.backend.asked().iter().filter(|&&asked| asked == Asked::Step).count();
        outrun += calls.iter().filter(|call| call.contains("Outrun")).count();
        for at in 0..calls.len().min(12) {
            let (rows, calls, _) = searched(&plan, case.session(&plan), Some(at));
            let (found, told, _) = searched(&plan, unseen(case.session(&plan)), Some(at));
            assert_eq!((found, told), (rows, calls), "{:?}, broken at {at}", case.kwargs);
        }
    }
    assert!(late > 20 && ahead > 100 && outrun > 100, "{late}, {ahead}, {outrun}");
}

/// Beams wait where the device cannot tell which continuations run on: drawn ones, and those that a text ends.
#[test]
fn some_beams_wait() {
    let text = |id: u32| vec![b'a' + id as u8];
    for (more, waits) in [
        (json!({}), false),
        (json!({"do_sample": true, "seed": 3}), true),
        (json!({"stop_strings": ["ec", "zz"]}), true),
    ] {
        let mut case = Case::new(json!({"num_beams": 3, "max_new_tokens": 9}));
        case.kwargs.extend(more.as_object().unwrap().clone());
        let context = Context { token_bytes: Some(&text), ..case.context() };
        let plan = Plan::new(&case.layers().unwrap(), &context, &case.prompts()).unwrap();
        let (rows, calls, _) = searched(&plan, case.session(&plan), None);
        let (found, told, session) = searched(&plan, unseen(case.session(&plan)), None);
        assert_eq!((found, told), (rows, calls));
        assert_eq!(session.backend.asked().is_empty(), waits, "{more}");
    }
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
    // The first choice of beams spreads the rows, and is waited for in another way.
    let mut case = Case::new(settings);
    case.kwargs.insert("num_beams".into(), 3.into());
    let plan = case.plan().unwrap();
    let (_, _, session) = searched(&plan, unseen(case.session(&plan)), None);
    assert_eq!(*session.backend.asked(), [Asked::Choice, Asked::Step, Asked::Ids].repeat(3));
}

/// What is kept of each step is looked at before the next.
#[test]
fn a_search_that_keeps_its_steps_waits() {
    for settings in [json!({"max_new_tokens": 12}), json!({"max_new_tokens": 12, "num_beams": 3})] {
        let case = Case::new(settings);
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
    let mut failing = vec![
        json!({}),
        json!({"do_sample": true, "seed": 1}),
        json!({"suppress_tokens": all}),
        json!({"suppress_tokens": all, "do_sample": true}),
    ];
    failing.extend([json!({"num_beams": 3}), json!({"suppress_tokens": all, "num_beams": 3})]);
    for kwargs in failing {
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
