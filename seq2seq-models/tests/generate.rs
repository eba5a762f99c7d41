//! Decoding against transformers' own `generate()`, over a scripted language model whose logits are equal to the bit.

#[path = "generate/scripted.rs"]
mod scripted;

use scripted::{Failing, Scripted};
use seq2seq_models::{
    Generated, Prompt, Result,
    generate::{self, ConfigLayers, Context, Plan, Sink},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;

#[derive(Deserialize)]
struct Case {
    vocab: usize,
    window: usize,
    encoder_decoder: bool,
    rows: Vec<Vec<u32>>,
    decoder_rows: Option<Vec<Vec<u32>>>,
    kwargs: Map<String, Value>,
    #[serde(default)]
    expected: Vec<Vec<(Vec<u32>, f32)>>,
}

impl Case {
    fn new(kwargs: Value) -> Self {
        Self {
            vocab: 9,
            window: 0,
            encoder_decoder: true,
            rows: vec![vec![1, 2], vec![3], vec![4, 5, 6], vec![7]],
            decoder_rows: None,
            kwargs: kwargs.as_object().unwrap().clone(),
            expected: vec![],
        }
    }

    fn prompts(&self) -> Vec<Prompt> {
        let decoder = |i: usize| self.decoder_rows.as_ref().map(|rows| rows[i].clone());
        let prompt = |(i, ids): (usize, &Vec<u32>)| Prompt {
            input_ids: ids.clone(),
            decoder_input_ids: decoder(i),
        };
        self.rows.iter().enumerate().map(prompt).collect()
    }

    fn plan(&self, prompts: &[Prompt]) -> Result<Plan<'static>> {
        let context = Context {
            encoder_decoder: self.encoder_decoder,
            vocab: self.vocab,
            max_position_embeddings: None,
            token_bytes: None,
        };
        // As a file: transformers lets a file's lengths contradict each other.
        let layers = ConfigLayers::from_files(&Map::new(), Some(&self.kwargs))?;
        Plan::new(&layers, &context, prompts)
    }

    fn session(&self, plan: &Plan<'_>, prompts: &[Prompt]) -> Scripted {
        let source = |p: &Prompt| if self.encoder_decoder { p.input_ids.clone() } else { vec![] };
        let sources = prompts.iter().map(source).collect();
        Scripted::new(sources, plan.hypotheses(), self.vocab, self.window)
    }

    fn run(&self) -> Result<Vec<Vec<Generated>>> {
        self.run_into(&mut ())
    }

    fn run_into(&self, sink: &mut dyn Sink) -> Result<Vec<Vec<Generated>>> {
        let prompts = self.prompts();
        let plan = self.plan(&prompts)?;
        generate::run(&plan, &mut self.session(&plan, &prompts), sink)
    }

    /// Each row on its own, numbered as in the batch.
    fn run_alone(&self) -> Result<Vec<Vec<Generated>>> {
        let one = |(i, prompt): (usize, Prompt)| {
            let prompts = [prompt];
            let plan = self.plan(&prompts)?.numbered(&[i as u64])?;
            Ok(generate::run(&plan, &mut self.session(&plan, &prompts), &mut ())?.remove(0))
        };
        self.prompts().into_iter().enumerate().map(one).collect()
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("generate/expected.json")).unwrap()
}

/// Ids equal, scores within 1e-5, for every row of every case; batched and alone give the same bits.
#[test]
fn agrees_with_transformers() {
    let mut wrong = Vec::new();
    for (i, case) in cases().iter().enumerate() {
        let got = case.run().unwrap_or_else(|e| panic!("case {i} {:?}: {e}", case.kwargs));
        assert_eq!(got, case.run_alone().unwrap(), "case {i}: batch and alone differ");
        for (row, (got, expected)) in got.iter().zip(&case.expected).enumerate() {
            let ids: Vec<_> = got.iter().map(|g| &g.ids).collect();
            let same_ids = ids.iter().copied().eq(expected.iter().map(|(ids, _)| ids));
            let close = got.iter().zip(expected).all(|(g, (_, e))| (g.score - e).abs() <= 1e-5);
            if !(same_ids && close) {
                let scores: Vec<_> = got.iter().map(|g| g.score).collect();
                wrong.push(format!(
                    "case {i} row {row} {}\n  got {ids:?} {scores:?}\n  expected {expected:?}",
                    Value::Object(case.kwargs.clone())
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows differ\n{}", wrong.len(), wrong.join("\n"));
}
