//! Runs of the scripted model.

use super::scripted::Scripted;
use seq2seq_models::{
    Files, Generated, Prompt, Result,
    generate::{self, ConfigLayers, Context, Plan, Sink},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A model, its inputs, the settings, and what transformers makes of them.
#[derive(Deserialize, Clone)]
pub(crate) struct Case {
    pub(crate) vocab: usize,
    pub(crate) window: usize,
    pub(crate) encoder_decoder: bool,
    pub(crate) rows: Vec<Vec<u32>>,
    pub(crate) decoder_rows: Option<Vec<Vec<u32>>>,
    pub(crate) kwargs: Map<String, Value>,
    #[serde(default)]
    pub(crate) expected: Vec<Vec<(Vec<u32>, f32)>>,
}

impl Case {
    /// An encoder-decoder with nine ids, start 0 and end 1, and four inputs of unequal lengths.
    pub(crate) fn new(kwargs: Value) -> Self {
        let mut all = Map::new();
        all.insert("decoder_start_token_id".into(), 0.into());
        all.insert("eos_token_id".into(), 1.into());
        all.extend(kwargs.as_object().unwrap().clone());
        Self {
            vocab: 9,
            window: 0,
            encoder_decoder: true,
            rows: vec![vec![1, 2], vec![3], vec![4, 5, 6], vec![7]],
            decoder_rows: None,
            kwargs: all,
            expected: vec![],
        }
    }

    pub(crate) fn prompts(&self) -> Vec<Prompt> {
        let decoder = |i: usize| self.decoder_rows.as_ref().map(|rows| rows[i].clone());
        let prompt = |(i, ids): (usize, &Vec<u32>)| Prompt {
            input_ids: ids.clone(),
            decoder_input_ids: decoder(i),
        };
        self.rows.iter().enumerate().map(prompt).collect()
    }

    pub(crate) fn context(&self) -> Context<'static> {
        Context {
            encoder_decoder: self.encoder_decoder,
            vocab: self.vocab,
            max_position_embeddings: None,
            token_bytes: None,
        }
    }

    pub(crate) fn layers(&self) -> Result<ConfigLayers> {
        // As a file: transformers lets a file's lengths contradict each other.
        let json = serde_json::to_vec(&self.kwargs).unwrap();
        let file = ("generation_config.json", Cow::Owned(json));
        ConfigLayers::from_files(&Files::embedded("a case", [file]))
    }

    pub(crate) fn plan(&self) -> Result<Plan<'static>> {
        Plan::new(&self.layers()?, &self.context(), &self.prompts())
    }

    pub(crate) fn session(&self, plan: &Plan<'_>) -> Scripted {
        let source = |ids: &Vec<u32>| if self.encoder_decoder { ids.clone() } else { vec![] };
        let sources = self.rows.iter().map(source).collect();
        Scripted::new(sources, plan.hypotheses(), self.vocab, self.window)
    }

    pub(crate) fn run(&self) -> Result<Vec<Vec<Generated>>> {
        self.run_into(&mut ())
    }

    pub(crate) fn run_into(&self, sink: &mut dyn Sink) -> Result<Vec<Vec<Generated>>> {
        let plan = self.plan()?;
        generate::run(&plan, &mut self.session(&plan), sink)
    }

    /// Each row on its own, numbered as in the batch.
    pub(crate) fn run_alone(&self) -> Result<Vec<Vec<Generated>>> {
        let one = |i: usize| {
            let decoder_rows = self.decoder_rows.as_ref().map(|rows| vec![rows[i].clone()]);
            let case = Self { rows: vec![self.rows[i].clone()], decoder_rows, ..self.clone() };
            let plan = case.plan()?.numbered(&[i as u64])?;
            Ok(generate::run(&plan, &mut case.session(&plan), &mut ())?.remove(0))
        };
        (0..self.rows.len()).map(one).collect()
    }
}
