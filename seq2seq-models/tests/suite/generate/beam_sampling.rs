//! Beam sampling: its exact distribution over two steps, and that a row's text depends on nothing but its seed and number.

use super::{case::Case, scripted};
use serde_json::{Value, json};
use std::collections::HashMap;

const SOURCE: [u32; 2] = [2, 5];
const VOCAB: usize = 6;
const EOS: u32 = 1;
const BEAMS: usize = 2;
/// Twice the beams: there is one EOS id.
const KEEP: usize = 4;

/// The two sequences that come out, without the start id.
type Outcome = Vec<Vec<u32>>;

/// The settings that the oracle below knows.
#[derive(Clone, Copy)]
struct Settings {
    temperature: f64,
    /// Best ids that a beam draws from.
    top: usize,
    renormalise: bool,
}

impl Settings {
    /// The scores of the ids after `history`: log-softmax, temperature, top-k, and log-softmax again if so wished.
    fn scores(&self, history: &[u32]) -> Vec<f64> {
        let log_softmax = |x: &[f64]| -> Vec<f64> {
            let total = x.iter().map(|x| x.exp()).sum::<f64>().ln();
            x.iter().map(|x| x - total).collect()
        };
        let logits = scripted::logits(&SOURCE, history, 0, VOCAB);
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        let mut scores: Vec<f64> =
            log_softmax(&logits).into_iter().map(|s| s / self.temperature).collect();
        let mut falling = scores.clone();
        falling.sort_by(|a, b| b.total_cmp(a));
        let kth = falling[self.top - 1];
        scores.iter_mut().filter(|s| **s < kth).for_each(|s| *s = f64::NEG_INFINITY);
        if self.renormalise { log_softmax(&scores) } else { scores }
    }
}

/// An id after a beam: the ids with it and the sum of the scores.
#[derive(Clone)]
struct Continuation {
    ids: Vec<u32>,
    score: f64,
}

fn continuations(settings: Settings, beams: &[Continuation]) -> Vec<Continuation> {
    let of = |beam: &Continuation| {
        let scores = settings.scores(&[&[0], &beam.ids[..]].concat());
        let next = |(id, score): (u32, f64)| Continuation {
            ids: [&beam.ids[..], &[id]].concat(),
            score: beam.score + score,
        };
        (0..).zip(scores).map(next).collect::<Vec<_>>()
    };
    beams.iter().flat_map(of).filter(|c| c.score > f64::NEG_INFINITY).collect()
}

/// Calls `visit` with every sequence of `count` draws without replacement from e^score and its probability.
fn draws(from: &[Continuation], count: usize, visit: &mut impl FnMut(&[usize], f64)) {
    fn go(
        weights: &[f64],
        left: usize,
        p: f64,
        drawn: &mut Vec<usize>,
        visit: &mut impl FnMut(&[usize], f64),
    ) {
        if left == 0 {
            return visit(drawn, p);
        }
        let rest: f64 = (0..weights.len()).filter(|i| !drawn.contains(i)).map(|i| weights[i]).sum();
        for i in 0..weights.len() {
            if !drawn.contains(&i) {
                drawn.push(i);
                go(weights, left - 1, p * weights[i] / rest, drawn, visit);
                drawn.pop();
            }
        }
    }
    let weights: Vec<f64> = from.iter().map(|c| c.score.exp()).collect();
    go(&weights, count.min(from.len()), 1.0, &mut Vec::new(), visit);
}

/// The probability of every outcome of two steps, by going through all draws. In the first step the second beam does not
/// count; what ends among the first `BEAMS` draws is finished, the best of the others run on. In the second all end.
fn distribution(settings: Settings) -> HashMap<Outcome, f64> {
    let first = continuations(settings, &[Continuation { ids: vec![], score: 0.0 }]);
    let mut states: HashMap<(Outcome, bool), f64> = HashMap::new();
    draws(&first, KEEP, &mut |drawn, p| {
        let ended = drawn[..BEAMS].iter().any(|&i| first[i].ids[0] == EOS);
        let mut on: Vec<&Continuation> =
            drawn.iter().map(|&i| &first[i]).filter(|c| c.ids[0] != EOS).collect();
        on.sort_by(|a, b| b.score.total_cmp(&a.score));
        let running = on[..BEAMS].iter().map(|c| c.ids.clone()).collect();
        *states.entry((running, ended)).or_default() += p;
    });
    let end = first.iter().find(|c| c.ids[0] == EOS);
    let mut outcomes = HashMap::new();
    for ((running, ended), state) in states {
        let beams: Vec<Continuation> = running
            .iter()
            .filter_map(|ids| first.iter().find(|c| &c.ids == ids))
            .cloned()
            .collect();
        let second = continuations(settings, &beams);
        draws(&second, BEAMS, &mut |drawn, p| {
            let mut finished: Vec<(f64, &Vec<u32>)> =
                drawn.iter().map(|&i| (second[i].score / 2.0, &second[i].ids)).collect();
            finished.extend(end.filter(|_| ended).map(|c| (c.score, &c.ids)));
            finished.sort_by(|a, b| b.0.total_cmp(&a.0));
            let best = finished[..BEAMS].iter().map(|f| f.1.clone()).collect();
            *outcomes.entry(best).or_insert(0.0) += state * p;
        });
    }
    outcomes
}

fn tiny(kwargs: Value) -> Case {
    let mut case = Case::new(json!({
        "do_sample": true, "num_beams": BEAMS, "num_return_sequences": BEAMS, "top_k": 0, "seed": 4,
    }));
    case.kwargs.extend(kwargs.as_object().unwrap().clone());
    case.vocab = VOCAB;
    case
}

/// Pearson's statistic; outcomes that are seldom expected are counted together.
fn chi_square(
    seen: &HashMap<Outcome, usize>,
    expected: &HashMap<Outcome, f64>,
    n: usize,
) -> (f64, usize) {
    let (mut chi, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
    let cell = |seen: f64, expected: f64| (seen - expected).powi(2) / expected;
    for (outcome, p) in expected {
        let (seen, e) = (seen.get(outcome).copied().unwrap_or(0) as f64, p * n as f64);
        if e < 8.0 {
            rare = (rare.0 + seen, rare.1 + e);
        } else {
            chi += cell(seen, e);
            cells += 1;
        }
    }
    if rare.1 >= 8.0 {
        chi += cell(rare.0, rare.1);
        cells += 1;
    }
    (chi, cells - 1)
}

#[test]
fn outcomes_have_the_probabilities_of_all_draws() {
    const ROWS: usize = 20_000;
    let all = Settings { temperature: 1.0, top: VOCAB, renormalise: false };
    for (kwargs, settings) in [
        (json!({}), all),
        (json!({"temperature": 2.5}), Settings { temperature: 2.5, ..all }),
        (json!({"temperature": 2.5, "top_k": 4}), Settings { temperature: 2.5, top: 4, ..all }),
        (
            json!({"temperature": 1.5, "top_k": 5, "renormalize_logits": true}),
            Settings { temperature: 1.5, top: 5, renormalise: true },
        ),
    ] {
        let mut case = tiny(kwargs.clone());
        case.kwargs.insert("max_new_tokens".into(), 2.into());
        case.rows = vec![SOURCE.to_vec(); ROWS];
        let expected = distribution(settings);
        assert!((expected.values().sum::<f64>() - 1.0).abs() < 1e-9);
        let mut seen = HashMap::new();
        for row in case.run().unwrap() {
            let outcome: Outcome = row.into_iter().map(|g| g.ids[1..].to_vec()).collect();
            assert!(expected.contains_key(&outcome), "{kwargs}: {outcome:?} cannot come");
            *seen.entry(outcome).or_insert(0) += 1;
        }
        let (chi, freedom) = chi_square(&seen, &expected, ROWS);
        assert!(freedom > 10, "{kwargs}: {freedom} degrees of freedom");
        // The mean of chi-square is `freedom`, its variance twice that: five deviations are out of the question.
        let limit = freedom as f64 + 5.0 * (2.0 * freedom as f64).sqrt();
        assert!(chi < limit, "{kwargs}: chi-square {chi:.1} at {freedom} degrees of freedom");
    }
}

#[test]
fn a_row_draws_the_same_alone_and_in_any_batch() {
    let case = Case::new(json!({
        "do_sample": true, "num_beams": 3, "num_return_sequences": 2, "seed": 5, "max_new_tokens": 12,
    }));
    let together = case.run().unwrap();
    assert_eq!(together, case.run_alone().unwrap());
}

#[test]
fn seeds_repeat_and_differ() {
    let texts = |seed: Value| {
        Case::new(json!({"do_sample": true, "num_beams": 3, "seed": seed})).run().unwrap()
    };
    assert_eq!(texts(json!(1)), texts(json!(1)));
    assert_ne!(texts(json!(1)), texts(json!(2)));
    assert_ne!(texts(json!(null)), texts(json!(null)));
    let plan = Case::new(json!({"do_sample": true, "num_beams": 3, "seed": 9})).plan().unwrap();
    assert_eq!(plan.seed(), Some(9));
}

/// Near temperature 0 no noise makes up for a lower score. Scores grow as the temperature falls: theirs over the
/// temperature's.
#[test]
fn near_temperature_0_it_is_beam_search() {
    let temperature = (2.0f64).powi(-14);
    for more in [json!({}), json!({"early_stopping": true}), json!({"eos_token_id": [1, 7]})] {
        let mut search = Case::new(json!({"num_beams": 3, "num_return_sequences": 3}));
        search.kwargs.extend(more.as_object().unwrap().clone());
        let mut sampling = search.clone();
        let cold = json!({"do_sample": true, "temperature": temperature, "top_k": 0, "seed": 1});
        sampling.kwargs.extend(cold.as_object().unwrap().clone());
        let (search, sampling) = (search.run().unwrap(), sampling.run().unwrap());
        for (best, drawn) in search.concat().iter().zip(sampling.concat()) {
            assert_eq!(best.ids, drawn.ids, "{more}");
            let score = f64::from(drawn.score) * temperature;
            assert!((score - f64::from(best.score)).abs() < 1e-5, "{more}: {score} {}", best.score);
        }
    }
}

/// A warper keeps an id more than can end, so that a beam may run on: with top_k 1, two.
#[test]
fn a_hypothesis_that_may_end_may_also_run_on() {
    let mut case = tiny(json!({"top_k": 1, "max_new_tokens": 2, "num_return_sequences": 1}));
    case.rows = vec![SOURCE.to_vec(); 200];
    let settings = Settings { temperature: 1.0, top: 2, renormalise: false };
    let two: Vec<u32> =
        (0..).zip(settings.scores(&[0])).filter(|s| s.1.is_finite()).map(|s| s.0).collect();
    let first: Vec<u32> = case.run().unwrap().iter().map(|row| row[0].ids[1]).collect();
    assert!(first.iter().all(|id| two.contains(id)), "{first:?} are not of {two:?}");
}
