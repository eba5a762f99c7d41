//! Sampling draws from the exact distribution, and a row's text depends on nothing but its seed and number.

use super::{case::Case, scripted};
use seq2seq_models::generate;
use serde_json::json;
use std::collections::HashSet;

/// Ids drawn first for 4000 rows of one input.
fn first_ids(kwargs: serde_json::Value) -> Vec<u32> {
    let mut case =
        Case::new(json!({"do_sample": true, "max_new_tokens": 1, "seed": 11, "top_k": 0}));
    case.kwargs.extend(kwargs.as_object().unwrap().clone());
    case.rows = vec![vec![2, 5]; 4000];
    case.run().unwrap().iter().map(|row| row[0].ids[1]).collect()
}

/// The softmax of `scores`, which may be minus infinity.
fn softmax(scores: &[f64]) -> Vec<f64> {
    let weights: Vec<f64> = scores.iter().map(|s| s.exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

/// Pearson's statistic over the possible ids and its degrees of freedom; impossible ids must not come.
fn chi_square(ids: &[u32], probabilities: &[f64]) -> (f64, usize) {
    let mut chi = 0.0;
    let possible = probabilities.iter().filter(|&&p| p > 0.0).count();
    for (id, &p) in probabilities.iter().enumerate() {
        let seen = ids.iter().filter(|&&t| t as usize == id).count() as f64;
        let expected = p * ids.len() as f64;
        match p > 0.0 {
            true => chi += (seen - expected).powi(2) / expected,
            false => assert_eq!(seen, 0.0, "id {id} cannot come"),
        }
    }
    (chi, possible - 1)
}

#[test]
fn frequencies_are_those_of_the_distribution() {
    let logits: Vec<f64> =
        scripted::logits(&[2, 5], &[0], 0, 9).into_iter().map(f64::from).collect();
    let mut ranking = logits.clone();
    ranking.sort_by(|a, b| b.total_cmp(a));
    let keep = |n: usize, scores: &[f64]| -> Vec<f64> {
        let cut = |(s, l): (&f64, &f64)| if *l >= ranking[n - 1] { *s } else { f64::NEG_INFINITY };
        scores.iter().zip(&logits).map(cut).collect()
    };
    let warm: Vec<f64> = logits.iter().map(|l| l / 2.5).collect();
    let mut banned = logits.clone();
    banned[3] = f64::NEG_INFINITY;
    // How many of the best ids reach 0.9 together.
    let mut mass = 0.0;
    let sorted = softmax(&ranking);
    let nucleus = 1 + sorted
        .iter()
        .take_while(|p| {
            mass += **p;
            mass < 0.9
        })
        .count();
    for (kwargs, scores) in [
        (json!({}), logits.clone()),
        (json!({"temperature": 2.5}), warm.clone()),
        (json!({"temperature": 2.5, "top_k": 4}), keep(4, &warm)),
        (json!({"top_p": 0.9}), keep(nucleus, &logits)),
        (json!({"suppress_tokens": [3]}), banned),
    ] {
        let ids = first_ids(kwargs.clone());
        let (chi, freedom) = chi_square(&ids, &softmax(&scores));
        // The mean of chi-square is `freedom`, its variance twice that: five deviations are out of the question.
        let limit = freedom as f64 + 5.0 * (2.0 * freedom as f64).sqrt();
        assert!(chi < limit, "{kwargs}: chi-square {chi:.1} at {freedom} degrees of freedom");
    }
}

#[test]
fn a_row_draws_the_same_alone_and_in_any_batch() {
    let case = Case::new(json!({"do_sample": true, "seed": 5, "num_return_sequences": 3}));
    let together = case.run().unwrap();
    assert_eq!(together, case.run_alone().unwrap());
    let mut turned = case.clone();
    turned.rows.reverse();
    let plan = turned.plan().unwrap().numbered(&[3, 2, 1, 0]).unwrap();
    let mut back = generate::run(&plan, &mut turned.session(&plan), &mut ()).unwrap();
    back.reverse();
    assert_eq!(together, back);
    assert!(case.plan().unwrap().numbered(&[1]).is_err());
}

#[test]
fn seeds_repeat_and_differ() {
    let texts = |seed: serde_json::Value| {
        let kwargs = json!({"do_sample": true, "seed": seed, "num_return_sequences": 4});
        Case::new(kwargs).run().unwrap()
    };
    assert_eq!(texts(json!(1)), texts(json!(1)));
    assert_ne!(texts(json!(1)), texts(json!(2)));
    assert_ne!(texts(json!(null)), texts(json!(null)));
    let drawn: HashSet<_> = texts(json!(1)).concat().into_iter().map(|g| g.ids).collect();
    assert!(drawn.len() > 8, "return sequences and rows draw their own numbers: {drawn:?}");
    let chosen = Case::new(json!({"do_sample": true, "seed": 9})).plan().unwrap().seed();
    assert_eq!(chosen, Some(9));
}

/// The score is the mean log-probability of what was drawn, after temperature.
#[test]
fn scores_are_those_of_the_warped_distribution() {
    let case = Case::new(json!({"do_sample": true, "seed": 3, "temperature": 0.5, "top_k": 0}));
    for (row, generated) in case.rows.iter().zip(case.run().unwrap().concat()) {
        let ids = &generated.ids;
        let log_p = |t: usize| {
            let logits = scripted::logits(row, &ids[..t], 0, 9);
            let halved: Vec<f64> = logits.iter().map(|&l| f64::from(l) / 0.5).collect();
            softmax(&halved)[ids[t] as usize].ln()
        };
        let sum: f64 = (1..ids.len()).map(log_p).sum();
        let mean = sum / (ids.len() - 1) as f64;
        assert!((f64::from(generated.score) - mean).abs() < 1e-5, "{} {mean}", generated.score);
    }
}
