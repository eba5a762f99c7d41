//! How good a model is on rows that it does not learn from.

use super::{
    Learner,
    data::{BatchOptions, Batcher, Corpus, Order, Position, Row, RowEncoder},
    metrics::{Metric, Scorer},
    objective::Objective,
    settings::{DataSettings, EvaluationSettings},
    trainer::not_measured,
    vae::Elbo,
};
use crate::{
    Error, Prompt, Result, Tokenizer,
    generate::{self, ConfigLayers, GenerationConfig},
};
use seq2seq_core::train::Smoothing;

/// What an evaluation found.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Steps taken before it.
    pub step: u64,
    /// The mean negative log-likelihood of a target token, without smoothing, in nats. Of a variational autoencoder a bound
    /// above it: with the divergence, from one point a row that is drawn by the seed and the row.
    pub loss: f64,
    /// e to the power of the loss; of a variational autoencoder a bound above the perplexity.
    pub perplexity: f64,
    /// The share of target tokens that are the likeliest behind those before them, from 0 to 100.
    pub token_accuracy: f64,
    /// What the loss of a variational autoencoder is made of.
    pub latent: Option<LatentEvaluation>,
    /// The metrics of generated texts by their names, from 0 to 100.
    pub scores: Vec<(String, f64)>,
    /// Some of the generated texts.
    pub samples: Vec<Sample>,
}

/// The evidence lower bound and its parts, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentEvaluation {
    /// The mean negative log-likelihood of a target token, from the points that were drawn.
    pub reconstruction: f64,
    /// The mean divergence of the posterior of a row from the prior.
    pub kl: f64,
    /// The mean evidence lower bound of a row: the log-likelihood of its target less the divergence.
    pub elbo: f64,
}

/// A generated text.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What was read.
    pub source: String,
    /// What was to be written.
    pub target: String,
    /// What was written.
    pub written: String,
}

impl Evaluation {
    /// The value of `loss`, `token_accuracy`, or a metric, such that more is better.
    pub(super) fn goodness(&self, name: &str) -> Result<f64> {
        match name {
            "loss" => Ok(-self.loss),
            "token_accuracy" => Ok(self.token_accuracy),
            _ => self.scores.iter().find(|(n, _)| n == name).map(|(_, v)| *v).ok_or_else(|| {
                Error::Input(format!("'evaluation.best' is '{name}', but no texts are generated"))
            }),
        }
    }
}

/// What generated texts came to.
#[derive(Default)]
struct Written {
    scores: Vec<(String, f64)>,
    samples: Vec<Sample>,
}

/// Rows to be measured by.
pub(super) struct Evaluator {
    batcher: Batcher,
    begin: Position,
    settings: EvaluationSettings,
    /// Rows for which text is generated: source, target, and the ids of both.
    texts: Vec<Text>,
    tokenizer: Tokenizer,
    decoding: ConfigLayers,
}

struct Text {
    source: String,
    target: String,
    ids: Vec<u32>,
}

/// Texts that are generated together.
const TOGETHER: usize = 32;

impl Evaluator {
    pub(super) fn new(
        corpus: Corpus,
        encoder: RowEncoder,
        data: &DataSettings,
        settings: &EvaluationSettings,
        objective: &Objective,
        decoding: &ConfigLayers,
    ) -> Result<Self> {
        let tokenizer = encoder.tokenizer().clone();
        let options =
            BatchOptions { tokens: data.batch_tokens, window: data.window, order: Order::InFiles };
        let echoes = encoder.echoes;
        let mut batcher = Batcher::new(corpus, encoder, options)?;
        let begin = batcher.position();
        let count = if objective.writes_targets() { settings.generate } else { 0 };
        let (mut texts, mut longest) = (Vec::new(), 0);
        let rows = batcher.corpus().rows();
        for i in 0..count.min(rows) {
            // Spread over all of them, as files are often ordered.
            let at = i * rows / count.min(rows);
            let (row, example) = batcher.row(at)?;
            let (source, target) = match row {
                Row::Pair { source, target } => (source, target),
                Row::Text(text) if echoes => (text.clone(), text),
                _ => continue,
            };
            longest = longest.max(example.target.len());
            texts.push(Text { source, target, ids: example.source });
        }
        texts.sort_by_key(|text| text.ids.len());
        let decoding = decoding.with(&GenerationConfig {
            num_beams: Some(settings.num_beams),
            max_new_tokens: Some(settings.max_new_tokens.unwrap_or(longest + 16)),
            do_sample: Some(false),
            ..GenerationConfig::default()
        })?;
        Ok(Self { batcher, begin, settings: settings.clone(), texts, tokenizer, decoding })
    }

    /// Measures the model as it is now. Fails where the loss is no number.
    pub(super) fn evaluate(
        &mut self,
        step: u64,
        learner: &Learner,
        objective: &Objective,
    ) -> Result<Evaluation> {
        self.batcher.resume(self.begin)?;
        let (mut sum, mut draws) = (Elbo::default(), false);
        loop {
            let rows = self.batcher.next_batch()?;
            let batch = objective.batch(&rows)?;
            sum += match objective.evaluation_noise(&rows) {
                None => Elbo::of_loss(learner.evaluate(&batch, Smoothing::None)?, rows.rows.len()),
                Some(noise) => {
                    draws = true;
                    learner.evaluate_latent(&batch, &noise)?
                }
            };
            if rows.ends_epoch {
                break;
            }
        }
        let loss = sum.reconstruction;
        let (tokens, rows) = (loss.tokens.max(1) as f64, sum.sequences.max(1) as f64);
        let mean = sum.bound() / tokens;
        if !mean.is_finite() {
            return Err(not_measured(step, mean));
        }
        let latent = draws.then(|| LatentEvaluation {
            reconstruction: loss.nll / tokens,
            kl: sum.divergence.sum / rows,
            elbo: -sum.bound() / rows,
        });
        let Written { scores, samples } = self.generate(learner).map_err(|e| match e {
            Error::Input(reason) => Error::Input(format!(
                "step {step}: the evaluation cannot write its texts: {reason}"
            )),
            other => other,
        })?;
        Ok(Evaluation {
            step,
            loss: mean,
            perplexity: mean.exp(),
            token_accuracy: 100.0 * loss.correct as f64 / tokens,
            latent,
            scores,
            samples,
        })
    }

    fn generate(&self, learner: &Learner) -> Result<Written> {
        if self.texts.is_empty() || self.settings.metrics.is_empty() {
            return Ok(Written::default());
        }
        let context = learner.context()?;
        let mut scorer = Scorer::new(&self.settings.metrics);
        let mut samples = Vec::new();
        for texts in self.texts.chunks(TOGETHER) {
            let prompts: Vec<Prompt> = texts.iter().map(|t| Prompt::new(t.ids.clone())).collect();
            let plan = generate::Plan::new(&self.decoding, &context, &prompts)?;
            let written = learner.run(&plan, &mut ())?;
            for (text, sequences) in texts.iter().zip(written) {
                let ids = sequences.first().map_or(&[][..], |best| &best.ids);
                let written = self.tokenizer.decode(ids, true)?;
                scorer.add(&written, &[&text.target])?;
                let (source, target) = (text.source.clone(), text.target.clone());
                samples.push(Sample { source, target, written });
            }
        }
        let score = |(metric, value): (Metric, f64)| (metric.name().to_owned(), value);
        let scores = scorer.scores()?.into_iter().map(score).collect();
        Ok(Written { scores, samples })
    }
}
