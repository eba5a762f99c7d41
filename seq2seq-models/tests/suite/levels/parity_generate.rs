//! The same ids and scores as transformers' `generate()`: every case of every fixture.

use crate::support::{self, engines, fixtures_with, label};
use seq2seq_models::{Generated, Model, Prompt, generate::GenerationConfig};
use serde::Deserialize;

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    kwargs: serde_json::Map<String, serde_json::Value>,
    /// `batch` where transformers gives the same for a batch and for its rows alone.
    rows: String,
    inputs: Vec<Vec<u32>>,
    sequences: Vec<Vec<u32>>,
    /// `sequences_scores` of beam search.
    scores: Option<Vec<f32>>,
    /// Sum of the log-probabilities of the chosen tokens in greedy search.
    transition_sum: Option<Vec<f32>>,
}

#[test]
fn generate_matches_transformers() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for fixture in fixtures_with("generate.json") {
        let cases: Cases = serde_json::from_value(fixture.json("generate.json")).expect("cases");
        for options in engines() {
            let model = fixture.load(&options);
            for case in &cases.cases {
                count += 1;
                if let Err(reason) = check(&model, case) {
                    wrong.push(format!(
                        "{} {} {}: {reason}",
                        fixture.name,
                        case.name,
                        label(&options)
                    ));
                }
            }
        }
    }
    println!("{count} cases");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(model: &Model, case: &Case) -> Result<(), String> {
    let config: GenerationConfig =
        serde_json::from_value(case.kwargs.clone().into()).map_err(|e| e.to_string())?;
    let prompts: Vec<Prompt> = case.inputs.iter().map(|ids| Prompt::new(ids.clone())).collect();
    let generated = model.generate(&prompts, &config, &mut ()).map_err(|e| e.to_string())?;
    let found: Vec<&Generated> = generated.iter().flatten().collect();
    compare(model, case, &found)?;
    if case.rows == "batch" {
        return Ok(());
    }
    // A row alone is a row in a batch: there is no padding that could tell them apart.
    for (i, prompt) in prompts.iter().enumerate() {
        let alone = model.generate(std::slice::from_ref(prompt), &config, &mut ());
        let alone = alone.map_err(|e| e.to_string())?;
        if !support::same_in_any_batch(model, &alone[0], &generated[i]) {
            return Err(format!("row {i} alone differs from the batch"));
        }
    }
    Ok(())
}

fn compare(model: &Model, case: &Case, found: &[&Generated]) -> Result<(), String> {
    if found.len() != case.sequences.len() {
        return Err(format!("{} sequences for {}", found.len(), case.sequences.len()));
    }
    let config = model.decoding().with_fields(&case.kwargs).map_err(|e| e.to_string())?.config();
    let start = usize::from(model.plan().is_encoder_decoder());
    for (i, (found, expected)) in found.iter().zip(&case.sequences).enumerate() {
        if found.ids != *expected {
            return Err(format!("sequence {i} is {:?}, not {expected:?}", found.ids));
        }
        let (score, want) = match (&case.scores, &case.transition_sum) {
            (Some(scores), _) => (found.score, scores[i]),
            (None, Some(sums)) => {
                let length = (expected.len() - start).max(1) as f64;
                let penalty = length.powf(config.length_penalty.unwrap_or(1.0)) as f32;
                (found.score * penalty, sums[i])
            }
            (None, None) => continue,
        };
        let error = (score - want).abs() / want.abs().max(1.0);
        if error.is_nan() || error > TOLERANCE {
            return Err(format!("score {i} is {score}, not {want}"));
        }
    }
    Ok(())
}
