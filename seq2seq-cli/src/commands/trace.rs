//! `trace`: how a text goes through a model.

mod print;

use super::generate::losses::{Losses, LostHypothesis};
use crate::{
    cli::{Global, TraceArgs},
    failure::Result,
    load,
    output::Output,
};
use seq2seq_models::{
    Forward, Generated, Prompt, Tokenizer,
    generate::{Context, Plan, TokenBytes},
    trace::{StageReport, Traced},
};
use serde::Serialize;
use std::time::Instant;

/// All that is shown.
#[derive(Debug, Serialize)]
struct Trace {
    family: String,
    format: &'static str,
    device: String,
    parameters: usize,
    input: Input,
    stages: Vec<StageReport>,
    /// Of the whole request, looking at values included.
    seconds: f64,
    /// For models that write.
    written: Option<Vec<Written>>,
    lost: Option<Vec<Lost>>,
    /// For all others.
    outputs: Option<Vec<Given>>,
}

/// What entered.
#[derive(Debug, Serialize)]
struct Input {
    text: Option<String>,
    tokens: Vec<Token>,
    /// What the decoder of an encoder-decoder began with.
    decoder_tokens: Option<Vec<Token>>,
}

/// A token as the vocabulary has it; its text is absent without a tokenizer.
#[derive(Debug, Serialize)]
struct Token {
    id: u32,
    token: Option<String>,
}

/// A token and its log-probability.
#[derive(Debug, Serialize)]
struct Scored {
    #[serde(flatten)]
    token: Token,
    log_prob: f32,
}

/// One sequence that was written.
#[derive(Debug, Serialize)]
struct Written {
    text: Option<String>,
    score: f32,
    steps: Vec<Step>,
}

/// How one token was chosen.
#[derive(Debug, Serialize)]
struct Step {
    #[serde(flatten)]
    chosen: Scored,
    likeliest: Vec<Scored>,
}

/// A hypothesis that beam search lost.
#[derive(Debug, Serialize)]
struct Lost {
    #[serde(flatten)]
    hypothesis: LostHypothesis,
    text: Option<String>,
}

/// A result of a model that does not write.
#[derive(Debug, Serialize)]
struct Given {
    name: &'static str,
    rows: usize,
    width: usize,
    /// The largest of its first row, best first: column and value.
    largest: Vec<(usize, f32)>,
}

pub(super) fn run(global: &Global, args: TraceArgs) -> Result<()> {
    let traced = load::traced(global)?;
    let files = traced.model().files();
    let tokenizer = Tokenizer::find(files)?;
    let tracer = Tracer { traced: &traced, tokenizer: tokenizer.as_ref(), args: &args };
    let trace = tracer.trace()?;
    let mut output = Output::open(None)?;
    match args.json {
        true => output.json(&trace)?,
        false => output.text(&print::text(&trace))?,
    }
    output.finish()
}

/// A model and what is asked of it.
struct Tracer<'a> {
    traced: &'a Traced,
    tokenizer: Option<&'a Tokenizer>,
    args: &'a TraceArgs,
}

impl Tracer<'_> {
    fn trace(&self) -> Result<Trace> {
        let model = self.traced.model();
        let ids = match &self.args.text {
            Some(text) => load::required(self.tokenizer, model)?.encode(text)?.ids().to_vec(),
            None => self.args.ids.clone(),
        };
        load::check_length(model, ids.len())?;
        let input =
            Input { text: self.args.text.clone(), tokens: self.tokens(&ids), decoder_tokens: None };
        let trace = Trace {
            family: model.family().to_string(),
            format: model.format().name(),
            device: model.device(),
            parameters: model.parameters(),
            input,
            stages: Vec::new(),
            seconds: 0.0,
            written: None,
            lost: None,
            outputs: None,
        };
        match model.plan().generates() {
            true => self.write(ids, trace),
            false => self.compute(ids, trace),
        }
    }

    /// A model that writes.
    fn write(&self, input_ids: Vec<u32>, trace: Trace) -> Result<Trace> {
        let model = self.traced.model();
        let layers = model.decoding().with_fields(&self.args.decoding)?;
        let bytes = |id| self.tokenizer.map(|t| t.token_bytes(id)).unwrap_or_default();
        let token_bytes: Option<&TokenBytes<'_>> =
            if self.tokenizer.is_some() { Some(&bytes) } else { None };
        let context = Context { token_bytes, ..model.context()? };
        let prompts = [Prompt::new(input_ids)];
        let plan = Plan::new(&layers, &context, &prompts)?;
        let plan = plan.with_choices(self.args.likeliest.get());
        let mut losses = Losses::default();
        let start = Instant::now();
        let (rows, stages) = self.traced.watch(|| model.run(&plan, &mut losses));
        let seconds = start.elapsed().as_secs_f64();
        let sequences = rows?.into_iter().flatten();
        let begun = plan.histories().next().unwrap_or_default();
        let decoder = model.plan().is_encoder_decoder();
        // What is returned of a decoder-only model is new.
        let given = if decoder { begun.len() } else { 0 };
        let lost = losses
            .of(0, given)
            .into_iter()
            .map(|hypothesis| Ok(Lost { text: self.text(&hypothesis.ids)?, hypothesis }));
        Ok(Trace {
            stages,
            seconds,
            written: Some(sequences.map(|g| self.written(&g)).collect::<Result<_>>()?),
            lost: Some(lost.collect::<Result<_>>()?),
            input: Input { decoder_tokens: decoder.then(|| self.tokens(begun)), ..trace.input },
            ..trace
        })
    }

    fn written(&self, generated: &Generated) -> Result<Written> {
        let choices = generated.choices.as_deref().unwrap_or_default();
        let new = &generated.ids[generated.ids.len() - choices.len()..];
        let scored = |id, log_prob| Scored { token: self.token(id), log_prob };
        let steps = new.iter().zip(choices).map(|(&id, choice)| Step {
            chosen: scored(id, choice.log_prob),
            // What the rules ban is no runner-up.
            likeliest: choice
                .likeliest
                .iter()
                .filter(|(_, l)| l.is_finite())
                .map(|&(id, l)| scored(id, l))
                .collect(),
        });
        Ok(Written {
            text: self.text(&generated.ids)?,
            score: generated.score,
            steps: steps.collect(),
        })
    }

    /// A model that does not write.
    fn compute(&self, ids: Vec<u32>, trace: Trace) -> Result<Trace> {
        let request = Forward { input_ids: vec![ids], ..Forward::default() };
        let start = Instant::now();
        let (outputs, stages) = self.traced.watch(|| self.traced.model().forward(&request));
        let seconds = start.elapsed().as_secs_f64();
        let given = outputs?.into_iter().map(|o| {
            let mut first: Vec<(usize, f32)> =
                o.values.iter().take(o.width).copied().enumerate().collect();
            first.sort_by(|a, b| b.1.total_cmp(&a.1));
            first.truncate(self.args.likeliest.get());
            Given { name: o.name, rows: o.rows.iter().sum(), width: o.width, largest: first }
        });
        Ok(Trace { stages, seconds, outputs: Some(given.collect()), ..trace })
    }

    fn tokens(&self, ids: &[u32]) -> Vec<Token> {
        ids.iter().map(|&id| self.token(id)).collect()
    }

    fn token(&self, id: u32) -> Token {
        let text = |t: &Tokenizer| String::from_utf8_lossy(&t.token_bytes(id)).into_owned();
        Token { id, token: self.tokenizer.map(text) }
    }

    fn text(&self, ids: &[u32]) -> Result<Option<String>> {
        Ok(self.tokenizer.map(|t| t.decode(ids, true)).transpose()?)
    }
}
