//! What one generation will do, settled and checked before the encoder runs.

use super::{
    ConfigLayers, GenerationConfig, Origin,
    beam::{BeamSampling, BeamSpec},
    log::{Step, StepLog},
    rng,
    rules::{self, RuleBook},
    stop::{Stop, StopStrings, TokenBytes},
    unsupported, validate,
};
use crate::{Error, Generated, Prompt, Result, stacks::check_ids};
use seq2seq_core::{ScoreOrder, Warp};
use std::time::Duration;

/// What decoding must know of the model.
///
/// That of a model comes from [`Model::context`](crate::Model::context). Stop strings need to know what tokens spell, too:
///
/// ```
/// use seq2seq_models::{
///     LoadOptions, Model, Prompt, Tokenizer,
///     generate::{Context, GenerationConfig, Plan},
/// };
///
/// # let folder = "../fixtures/t5_v1_0";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::from_files(model.files())?;
/// let bytes = |id| tokenizer.token_bytes(id);
/// let context = Context { token_bytes: Some(&bytes), ..model.context()? };
///
/// let config = GenerationConfig { stop_strings: Some(vec!["lue".into()]), ..GenerationConfig::default() };
/// let prompt = Prompt::new(tokenizer.encode("The blue cat sat on the old river house.")?.ids());
/// let plan = Plan::new(&model.decoding().with(&config)?, &context, &[prompt])?;
/// let best = &model.run(&plan, &mut ())?[0][0];
/// assert_eq!(tokenizer.decode(&best.ids, true)?, "bmes blue");
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Whether prompts are read by an encoder and the decoder begins with a start token.
    pub encoder_decoder: bool,
    /// V: columns of the logits.
    pub vocab: usize,
    /// `max_position_embeddings` of `config.json`: bounds the default maximum length (PARITY trap 45).
    pub max_position_embeddings: Option<usize>,
    /// The text of a token; needed for stop strings.
    pub token_bytes: Option<&'a TokenBytes<'a>>,
}

/// A generation, settled and checked: the settings of all layers, the prompts, and their limits.
///
/// Rows do not know of each other: a row of a batch gives what it gives alone. (transformers counts the padding of a
/// decoder-only batch into `max_length`, and its n-gram rules see it; here there is none.)
///
/// ```
/// use seq2seq_models::{LoadOptions, Model, Prompt, generate::{GenerationConfig, Plan}};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let config = GenerationConfig { num_beams: Some(2), ..GenerationConfig::default() };
/// let (layers, prompts) = (model.decoding().with(&config)?, [Prompt::new([14, 15, 9, 1])]);
/// let plan = Plan::new(&layers, &model.context()?, &prompts)?.with_weights().with_choices(3);
/// let best = &model.run(&plan, &mut ())?[0][0];
/// if let (Some(weights), Some(choices)) = (&best.weights, &best.choices) {
///     println!("the first id attended to {:?} in layer 0", weights[0][0]);
///     println!("its runners-up were {:?}", &choices[0].likeliest[1..]);
/// }
/// assert_eq!(best.choices.as_ref().map(Vec::len), Some(best.ids.len() - 1)); // all but the decoder's start
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub struct Plan<'a> {
    pub(super) mode: Mode,
    pub(super) rows: Vec<Row>,
    pub(super) length_penalty: f64,
    pub(super) stop: Stop<'a>,
    pub(super) rules: RuleBook,
    pub(super) max_time: Option<Duration>,
    pub(super) vocab: usize,
    /// Whether the model has an encoder; its decoder's prompt is returned then.
    pub(super) encoder_decoder: bool,
    pub(super) weights: bool,
    /// How many of the likeliest ids are kept of each step.
    pub(super) choices: Option<usize>,
}

/// One input.
pub(super) struct Row {
    /// What the decoder is given.
    pub(super) history: Vec<u32>,
    /// What the encoder is given; the prompt where there is none.
    pub(super) source: Vec<u32>,
    pub(super) max_length: usize,
    pub(super) min_length: usize,
    /// Which random numbers it draws.
    pub(super) number: u64,
}

/// The way to choose ids.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    Greedy,
    Sample { warp: Warp, seed: u64, sequences: usize },
    Beams(BeamSpec),
}

impl<'a> Plan<'a> {
    /// Settles how `prompts` are decoded.
    ///
    /// # Errors
    /// Settings that make no sense or are not supported, ids outside the vocabulary, and prompts that leave no room.
    pub fn new(layers: &ConfigLayers, context: &Context<'a>, prompts: &[Prompt]) -> Result<Self> {
        unsupported::check(layers)?;
        validate::check(layers, context)?;
        let config = layers.config();
        let eos = config.eos_token_id.clone().unwrap_or_default().0;
        let limits = Limits::new(layers, context);
        let rows = prompts
            .iter()
            .enumerate()
            .map(|(i, prompt)| row(i, prompt, &config, context, &limits))
            .collect::<Result<_>>()?;
        Ok(Self {
            mode: mode(&config, eos.len()),
            rows,
            length_penalty: config.length_penalty.unwrap_or(1.0),
            rules: RuleBook::new(&config, &eos, context.vocab),
            stop: Stop::new(eos, stop_strings(&config, context)?),
            max_time: config.max_time.map(Duration::from_secs_f64),
            vocab: context.vocab,
            encoder_decoder: context.encoder_decoder,
            weights: false,
            choices: None,
        })
    }

    /// Numbers the rows for sampling: a row draws the random numbers of its seed and its number, wherever it stands.
    /// Without, a row's number is its place in the batch.
    ///
    /// # Errors
    /// Unless there is one number a row.
    pub fn numbered(mut self, numbers: &[u64]) -> Result<Self> {
        if numbers.len() != self.rows.len() {
            let (found, expected) = (numbers.len(), self.rows.len());
            return Err(Error::Input(format!("{found} row numbers for {expected} prompts")));
        }
        for (row, number) in self.rows.iter_mut().zip(numbers) {
            row.number = *number;
        }
        Ok(self)
    }

    /// Returns the cross-attention with each sequence.
    pub fn with_weights(mut self) -> Self {
        self.weights = true;
        self
    }

    /// Returns with each sequence how its ids were chosen, and the `likeliest` best ids of each step. It costs another look
    /// at the scores of every step.
    pub fn with_choices(mut self, likeliest: usize) -> Self {
        self.choices = Some(likeliest.min(self.vocab));
        self
    }

    /// Whether it is kept which hypothesis each id was chosen from.
    pub(super) fn keeps_steps(&self) -> bool {
        self.weights || self.choices.is_some()
    }

    /// What the decoder is given for each row: the first step of the session.
    pub fn histories(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.rows.iter().map(|row| &row.history[..])
    }

    /// What the encoder is given for each row; the prompt where there is none.
    pub(crate) fn sources(&self) -> Vec<Vec<u32>> {
        self.rows.iter().map(|row| row.source.clone()).collect()
    }

    /// Fails where this plan cannot be carried out by a model of `context`: it was made for another kind of model, or holds ids
    /// that this one has not.
    pub(crate) fn check_model(&self, context: &Context<'_>) -> Result<()> {
        let kind = |encoder_decoder, vocab| {
            let kind =
                if encoder_decoder { "an encoder-decoder" } else { "a decoder without encoder" };
            format!("{kind} with a vocabulary of {vocab}")
        };
        if (self.encoder_decoder, self.vocab) != (context.encoder_decoder, context.vocab) {
            let planned = kind(self.encoder_decoder, self.vocab);
            let found = kind(context.encoder_decoder, context.vocab);
            return Err(Error::Input(format!(
                "the plan was made for {planned}, this model is {found}; make it in this model's context"
            )));
        }
        let name = if context.encoder_decoder { "decoder_input_ids" } else { "input_ids" };
        for (i, history) in self.histories().enumerate() {
            check_ids(name, i, history, context.vocab, "the vocabulary")?;
        }
        Ok(())
    }

    /// Hypotheses that each row may be spread over.
    pub fn hypotheses(&self) -> usize {
        match self.mode {
            Mode::Greedy => 1,
            Mode::Sample { sequences, .. } => sequences,
            Mode::Beams(ref spec) => spec.beams,
        }
    }

    /// Positions that a hypothesis may come to hold in a cache: the last id is never fed.
    pub fn capacity(&self) -> usize {
        self.rows.iter().map(|row| row.max_length - 1).max().unwrap_or(0)
    }

    /// The seed of sampling, also where the settings named none.
    pub fn seed(&self) -> Option<u64> {
        match self.mode {
            Mode::Sample { seed, .. } => Some(seed),
            Mode::Beams(ref spec) => spec.sampling.as_ref().map(|s| s.seed),
            Mode::Greedy => None,
        }
    }

    /// The score of a sequence of row `row` that has come to `length` ids, prompt included: the sum of its scores over
    /// its generated length to the length penalty (PARITY trap 50). In f32, as transformers divides.
    pub(super) fn score(&self, row: usize, sum: f32, length: usize) -> f32 {
        let generated = (length - self.rows[row].history.len()).max(1);
        sum / (generated as f64).powf(self.length_penalty) as f32
    }

    /// The result for `ids` of row `row`, prompt included; `steps` are those of the generated ids, where they are kept.
    pub(super) fn generated(
        &self,
        row: usize,
        ids: &[u32],
        score: f32,
        steps: &[Step],
        log: &StepLog,
    ) -> Generated {
        let ids = self.returned_ids(row, ids).to_vec();
        let weights = self.weights.then(|| log.weights(steps));
        let choices = self.choices.map(|_| log.choices(steps));
        Generated { ids, score, weights, choices }
    }

    /// What is returned of `ids` of row `row`, prompt included.
    pub(super) fn returned_ids<'i>(&self, row: usize, ids: &'i [u32]) -> &'i [u32] {
        match self.encoder_decoder {
            true => ids,
            false => &ids[self.rows[row].history.len()..],
        }
    }

    /// What the decoder of row `row` is given, in a buffer that seldom has to grow.
    pub(super) fn history_with_room(&self, row: usize) -> Vec<u32> {
        let row = &self.rows[row];
        let mut ids = Vec::with_capacity(row.max_length.min(row.history.len() + 1024));
        ids.extend(&row.history);
        ids
    }

    /// What the rules of row `row` may look at, once its hypothesis has come to `ids`.
    pub(super) fn view<'v>(&'v self, row: usize, ids: &'v [u32]) -> rules::View<'v> {
        let row = &self.rows[row];
        rules::View {
            ids,
            prompt: row.history.len(),
            source: &row.source,
            max_length: row.max_length,
            min_length: row.min_length,
            vocab: self.vocab,
        }
    }
}

/// The bounds on lengths before a prompt is known.
struct Limits {
    max_length: usize,
    /// Whether nobody set `max_length`.
    default_max_length: bool,
    max_new_tokens: Option<usize>,
    min_length: usize,
    min_new_tokens: Option<usize>,
    positions: Option<usize>,
}

impl Limits {
    fn new(layers: &ConfigLayers, context: &Context<'_>) -> Self {
        let config = layers.config();
        // Of two bounds on one side that of the caller counts; of two from one place, that on the new ids (PARITY trap 80).
        let unless_overruled = |new: Option<usize>, field, by| {
            new.filter(|_| {
                layers.origin(by) != Origin::Caller || layers.origin(field) == Origin::Caller
            })
        };
        Self {
            max_length: config.max_length.unwrap_or(20),
            default_max_length: layers.origin("max_length") == Origin::Default,
            max_new_tokens: unless_overruled(config.max_new_tokens, "max_new_tokens", "max_length"),
            min_length: config.min_length.unwrap_or(0),
            min_new_tokens: unless_overruled(config.min_new_tokens, "min_new_tokens", "min_length"),
            positions: context.max_position_embeddings,
        }
    }

    /// `(max_length, min_length)` of a row (PARITY traps 45, 56 and 80).
    fn of(&self, prompt: usize) -> (usize, usize) {
        let max = match self.max_new_tokens {
            Some(new) => prompt.saturating_add(new),
            None if self.default_max_length => {
                prompt.saturating_add(self.max_length).min(self.positions.unwrap_or(usize::MAX))
            }
            None => self.max_length,
        };
        let min = self.min_new_tokens.map_or(self.min_length, |new| prompt.saturating_add(new));
        (max, min)
    }
}

fn row(
    index: usize,
    prompt: &Prompt,
    config: &GenerationConfig,
    context: &Context<'_>,
    limits: &Limits,
) -> Result<Row> {
    let history = match context.encoder_decoder {
        true => decoder_prompt(index, prompt, config)?,
        false => decoder_only_prompt(index, prompt, config)?,
    };
    let (max_length, min_length) = limits.of(history.len());
    if history.len() >= max_length {
        return Err(Error::Input(format!(
            "row {index}: the prompt has {} ids, which leaves no room under a maximum length of {max_length}; \
             raise max_length or set max_new_tokens",
            history.len()
        )));
    }
    let source = match context.encoder_decoder {
        true => prompt.input_ids.clone(),
        false => history.clone(),
    };
    Ok(Row { history, source, max_length, min_length, number: index as u64 })
}

/// The start token, and before it nothing: it is put before given ids that do not begin with it.
fn decoder_prompt(index: usize, prompt: &Prompt, config: &GenerationConfig) -> Result<Vec<u32>> {
    let start = config.decoder_start_token_id.or(config.bos_token_id).ok_or_else(|| {
        let hint = "an encoder-decoder needs decoder_start_token_id (or bos_token_id)";
        Error::Input(format!("row {index}: {hint}; the model's files do not say it, so set it"))
    })?;
    let given = prompt.decoder_input_ids.as_deref().unwrap_or(&[]);
    let missing = (given.first() != Some(&start)).then_some(start);
    Ok(missing.into_iter().chain(given.iter().copied()).collect())
}

fn decoder_only_prompt(
    index: usize,
    prompt: &Prompt,
    config: &GenerationConfig,
) -> Result<Vec<u32>> {
    if prompt.decoder_input_ids.is_some() {
        let reason = "decoder_input_ids are for encoder-decoders; this model has no encoder";
        return Err(Error::Input(format!("row {index}: {reason}")));
    }
    match (&prompt.input_ids[..], config.bos_token_id) {
        ([], Some(bos)) => Ok(vec![bos]),
        ([], None) => Err(Error::Input(format!(
            "row {index}: the prompt is empty, and there is no bos_token_id to begin with"
        ))),
        (ids, _) => Ok(ids.to_vec()),
    }
}

fn mode(config: &GenerationConfig, eos: usize) -> Mode {
    let beams = config.num_beams.unwrap_or(1);
    let sequences = config.num_return_sequences.unwrap_or(1);
    let seed = || config.seed.unwrap_or_else(rng::any_seed);
    let do_sample = config.do_sample == Some(true);
    if beams > 1 {
        // One id more than can end: whatever is drawn, a hypothesis may run on.
        let each = (1 + eos).max(2);
        let warp = Warp { min_keep: each, ..warp(config) };
        Mode::Beams(BeamSpec {
            beams,
            returned: sequences,
            keep: beams * each,
            early_stopping: config.early_stopping.unwrap_or_default(),
            order: match config.renormalize_logits {
                Some(true) => ScoreOrder::NormaliseRulesNormalise,
                _ => ScoreOrder::NormaliseThenRules,
            },
            sampling: do_sample.then(|| BeamSampling { warp, seed: seed() }),
        })
    } else if do_sample {
        Mode::Sample { warp: warp(config), seed: seed(), sequences }
    } else {
        Mode::Greedy
    }
}

fn warp(config: &GenerationConfig) -> Warp {
    let or = |value: Option<f64>, neutral: f32| value.map_or(neutral, |v| v as f32);
    let all = Warp::default();
    Warp {
        temperature: or(config.temperature, all.temperature),
        top_k: config.top_k.unwrap_or(all.top_k),
        top_p: or(config.top_p, all.top_p),
        min_p: or(config.min_p, all.min_p),
        typical_p: or(config.typical_p, all.typical_p),
        epsilon_cutoff: or(config.epsilon_cutoff, all.epsilon_cutoff),
        eta_cutoff: or(config.eta_cutoff, all.eta_cutoff),
        min_keep: all.min_keep,
    }
}

fn stop_strings<'a>(
    config: &GenerationConfig,
    context: &Context<'a>,
) -> Result<Option<StopStrings<'a>>> {
    let strings = config.stop_strings.as_deref().unwrap_or(&[]);
    match (strings, context.token_bytes) {
        ([], _) => Ok(None),
        (strings, Some(bytes_of)) => Ok(Some(StopStrings::new(strings, bytes_of))),
        (_, None) => Err(Error::Input(
            "stop_strings need a tokenizer, and this model has none; give eos_token_id instead"
                .into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The lengths that a row of two ids is held to, and what is said of the settings.
    fn lengths(file: Value, caller: Value) -> ((usize, usize), Vec<String>) {
        let layers = ConfigLayers::from_json(&Default::default(), file.as_object()).unwrap();
        let layers = layers.with_fields(&caller).unwrap();
        let context = Context {
            encoder_decoder: false,
            vocab: 9,
            max_position_embeddings: Some(100),
            token_bytes: None,
        };
        let limits = Limits::new(&layers, &context);
        (limits.of(2), layers.notices().to_vec())
    }

    /// PARITY trap 80
    #[test]
    fn a_length_of_the_caller_beats_that_of_a_file() {
        let file = json!({"max_new_tokens": 50, "min_new_tokens": 7});
        assert_eq!(lengths(file.clone(), json!({})), ((52, 9), vec![]));
        assert_eq!(lengths(file.clone(), json!({"max_length": 8})), ((8, 9), vec![]));
        assert_eq!(lengths(file.clone(), json!({"min_length": 4})), ((52, 4), vec![]));
        assert_eq!(
            lengths(file, json!({"max_new_tokens": 5, "min_new_tokens": 1})),
            ((7, 3), vec![])
        );
        let file = json!({"max_length": 30, "min_length": 20});
        assert_eq!(
            lengths(file, json!({"max_new_tokens": 5, "min_new_tokens": 1})),
            ((7, 3), vec![])
        );
        // From one place, as in transformers.
        let both =
            json!({"max_length": 8, "max_new_tokens": 5, "min_length": 6, "min_new_tokens": 1});
        assert_eq!(lengths(both.clone(), json!({})), ((7, 3), vec![]));
        let (found, notices) = lengths(json!({}), both);
        assert_eq!(found, (7, 3));
        assert_eq!(
            notices,
            [
                "options: 'max_length' is not used, since max_new_tokens is given, too",
                "options: 'min_length' is not used, since min_new_tokens is given, too"
            ]
        );
    }

    /// A plan may be made on one thread and carried out on another.
    #[test]
    fn plans_travel() {
        fn assert_send<T: Send>() {}
        assert_send::<Plan<'static>>();
    }
}
