//! How far each format is from f32 on given inputs: every linear layer by itself, and the whole model.
//!
//! The f32 model runs on a backend that also computes each matrix in the other formats, on the input that f32 gave it
//! (`probe`): one pass measures all layers, and none sees the error of another. Beside it the whole model runs in each
//! format.
//!
//! Layers that lose the most in a format can be kept in a finer one:
//!
//! ```
//! use seq2seq_models::{
//!     Files, LoadOptions, ModuleFormat, Prompt,
//!     compare::{Comparison, FormatReport, ModuleError, NextToken, Report},
//!     seq2seq_core::Format,
//! };
//!
//! /// The `count` layers with the largest errors, to be packed in bf16.
//! fn exceptions(report: &FormatReport, count: usize) -> Vec<ModuleFormat> {
//!     let worst = report.modules.iter().take(count);
//!     let keep = |module: &ModuleError| ModuleFormat { pattern: module.module.clone(), format: Format::Bf16 };
//!     worst.map(keep).collect()
//! }
//!
//! # let folder = "../fixtures/t5_v1_0";
//! let files = Files::folder(folder)?;
//! let compare = |options: &LoadOptions| {
//!     let mut comparison = Comparison::load(&files, options, &[Format::Int8], 8)?;
//!     // Inputs like those that the model will be asked: here the ids of two sources.
//!     comparison.add(&[Prompt::new([14, 15, 9, 1]), Prompt::new([8, 1])])?;
//!     comparison.report()
//! };
//! let Report { rows, formats, .. } = compare(&LoadOptions::default())?;
//! assert_eq!((rows, formats[0].format), (2, "int8"));
//! if let Some(NextToken { kl_mean, argmax_agrees, .. }) = formats[0].next_token {
//!     println!("{kl_mean} nats a token; {:.0}% of the likeliest tokens are the same", 100.0 * argmax_agrees);
//! }
//!
//! let module_formats = exceptions(&formats[0], 3);
//! let mixed = &compare(&LoadOptions { module_formats, ..LoadOptions::default() })?.formats[0];
//! assert!(mixed.modules.iter().filter(|module| module.packed == "bf16").count() >= 3);
//! assert!(mixed.bytes > formats[0].bytes);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! A model that does not write is compared by its hidden states, and by its head's scores where it has one:
//!
//! ```
//! use seq2seq_models::{Files, LoadOptions, Prompt, compare::{Comparison, States}, seq2seq_core::Format};
//!
//! # let folder = "../fixtures/bert_sequence_classification";
//! let mut comparison = Comparison::load(&Files::folder(folder)?, &LoadOptions::default(), &[Format::Bf16], 0)?;
//! comparison.add(&[Prompt::new([2, 57, 75, 63, 3])])?;
//! let states = comparison.report()?.formats[0].states;
//! assert!(states.is_some_and(|States { cosine_lowest, .. }| cosine_lowest > 0.99));
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

mod figures;
pub(crate) mod probe;

pub use figures::{NextToken, States};

use crate::{
    Error, Files, Forward, ForwardOutput, LoadOptions, Model, Prompt, Result,
    generate::{self, GenerationConfig},
    model::Observer,
};
use figures::{NextTokenSums, StateSums};
use probe::Recorder;
use seq2seq_core::Format;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// A comparison in progress.
///
/// ```
/// use seq2seq_models::{Files, LoadOptions, Prompt, compare::Comparison, seq2seq_core::Format};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let (files, formats) = (Files::folder(folder)?, [Format::Bf16, Format::Int8]);
/// let mut comparison = Comparison::load(&files, &LoadOptions::default(), &formats, 8)?;
/// comparison.add(&[Prompt::new([14, 15, 9, 1]), Prompt::new([8, 1])])?;
/// for format in &comparison.report()?.formats {
///     let worst = &format.modules[0];
///     println!("{}: {} is off by {}", format.format, worst.module, worst.relative_error);
/// #   assert!(worst.relative_error > 0.0 && worst.relative_error < 0.1);
/// }
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub struct Comparison {
    exact: Model,
    recorder: Arc<Recorder>,
    others: Vec<Other>,
    max_new_tokens: usize,
    rows: usize,
}

/// The model in one format, and what is known of it so far.
struct Other {
    model: Model,
    next: NextTokenSums,
    states: StateSums,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Inputs.
    pub rows: usize,
    /// The most new tokens of a row; absent for models that do not write.
    pub max_new_tokens: Option<usize>,
    /// One a format, in the order asked for.
    pub formats: Vec<FormatReport>,
}

/// One format against f32.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FormatReport {
    /// Its name.
    pub format: &'static str,
    /// Bytes of the weights of the model in it.
    pub bytes: usize,
    /// Every linear layer that ran, the largest error first.
    pub modules: Vec<ModuleError>,
    /// For models that write.
    pub next_token: Option<NextToken>,
    /// For all others.
    pub states: Option<States>,
}

/// The error of one linear layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModuleError {
    /// Its name in the checkpoint; that of the table where weights are tied.
    pub weight: String,
    /// Its path as [`ModuleFormat`](crate::ModuleFormat) has it.
    pub module: String,
    /// What the model that ran as a whole had it in: another format where this one is not meant for such layers, or where
    /// the options named an exception.
    pub packed: &'static str,
    /// ‖y' - y‖ / ‖y‖ of its output over all rows, only this layer (weights, and activations where the format rounds
    /// them) being in the format.
    pub relative_error: f64,
}

impl Comparison {
    /// Loads the model in f32 and in each of `formats`, whatever format `options` name; the exceptions that they name hold
    /// for the latter. Models that write are compared on at most `max_new_tokens` of what they write.
    ///
    /// # Errors
    /// Those of [`Model::load`].
    pub fn load(
        files: &Files,
        options: &LoadOptions,
        formats: &[Format],
        max_new_tokens: usize,
    ) -> Result<Self> {
        let recorder = Recorder::new(formats);
        let with = |format| LoadOptions { format, ..options.clone() };
        let plain = LoadOptions { module_formats: Vec::new(), ..with(Format::F32) };
        let exact = Model::load_observed(files.clone(), &plain, Observer::Recorder(&recorder))?;
        let other = |&format: &Format| {
            let model = Model::load_files(files.clone(), &with(format))?;
            Ok(Other { model, next: NextTokenSums::default(), states: StateSums::default() })
        };
        let others = formats.iter().map(other).collect::<Result<_>>()?;
        Ok(Self { exact, recorder, others, max_new_tokens, rows: 0 })
    }

    /// The model in f32.
    pub fn model(&self) -> &Model {
        &self.exact
    }

    /// Runs a batch in every format. Figures hang on the inputs alone, not on how they were cut into batches.
    ///
    /// # Errors
    /// Prompts that cannot be used.
    pub fn add(&mut self, prompts: &[Prompt]) -> Result<()> {
        if prompts.is_empty() {
            return Ok(());
        }
        match self.exact.plan().generates() {
            true => self.add_written(prompts)?,
            false => self.add_states(prompts)?,
        }
        self.rows += prompts.len();
        Ok(())
    }

    fn add_written(&mut self, prompts: &[Prompt]) -> Result<()> {
        let written = self.greedy(&self.exact, prompts)?;
        let forced = Forced::new(&self.exact, prompts, &written)?;
        let expected = self.recorder.recording(|| forced.logits(&self.exact))?;
        for i in 0..self.others.len() {
            let model = self.others[i].model.clone();
            let got = forced.logits(&model)?;
            let again = self.greedy(&model, prompts)?;
            let next = &mut self.others[i].next;
            for (e, g) in forced.positions(&expected).zip(forced.positions(&got)) {
                next.position(e, g);
            }
            written.iter().zip(&again).for_each(|(e, g)| next.row(e, g));
        }
        Ok(())
    }

    fn add_states(&mut self, prompts: &[Prompt]) -> Result<()> {
        let decoder: Option<Vec<_>> = prompts.iter().map(|p| p.decoder_input_ids.clone()).collect();
        let request = Forward {
            input_ids: prompts.iter().map(|p| p.input_ids.clone()).collect(),
            token_type_ids: None,
            decoder_input_ids: decoder,
        };
        let expected = self.recorder.recording(|| self.exact.forward_with_hidden(&request))?;
        for other in &mut self.others {
            other.states.batch(&expected, &other.model.forward_with_hidden(&request)?);
        }
        Ok(())
    }

    /// What greedy search writes for each prompt, by the model's own settings otherwise.
    fn greedy(&self, model: &Model, prompts: &[Prompt]) -> Result<Vec<Vec<u32>>> {
        let mut rows = vec![Vec::new(); prompts.len()];
        // Rows that are near the last position can only write so much.
        let mut by_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, prompt) in prompts.iter().enumerate() {
            by_room.entry(self.room(model, prompt)).or_default().push(i);
        }
        for (room, places) in by_room {
            let some: Vec<Prompt> = places.iter().map(|&i| prompts[i].clone()).collect();
            let generated = model.generate(&some, &greedy(room), &mut ())?;
            for (i, mut sequences) in places.into_iter().zip(generated) {
                rows[i] = std::mem::take(&mut sequences[0].ids);
            }
        }
        Ok(rows)
    }

    /// The most new tokens of a row.
    fn room(&self, model: &Model, prompt: &Prompt) -> usize {
        let plan = model.plan();
        let held = match plan.is_encoder_decoder() {
            true => prompt.decoder_input_ids.as_ref().map_or(1, Vec::len),
            false => prompt.input_ids.len().max(1),
        };
        let limit = plan.last_stack().and_then(|stack| stack.max_positions());
        limit
            .map_or(self.max_new_tokens, |n| n.saturating_sub(held).min(self.max_new_tokens))
            .max(1)
    }

    /// The figures of all that was added.
    ///
    /// # Errors
    /// [`Error::Input`] where nothing was added.
    pub fn report(&self) -> Result<Report> {
        if self.rows == 0 {
            return Err(Error::input("there are no inputs to compare formats on"));
        }
        let writes = self.exact.plan().generates();
        let formats = self.others.iter().enumerate().map(|(i, other)| FormatReport {
            format: other.model.format().name(),
            bytes: other.model.bytes(),
            modules: self.modules(i),
            next_token: writes.then(|| other.next.finish()),
            states: (!writes).then(|| other.states.finish()),
        });
        Ok(Report {
            rows: self.rows,
            max_new_tokens: writes.then_some(self.max_new_tokens),
            formats: formats.collect(),
        })
    }

    /// The error of each module in one of the formats.
    fn modules(&self, format: usize) -> Vec<ModuleError> {
        let layers = self.recorder.layers();
        let packed = self.others[format].model.linears();
        let mut found: Vec<ModuleError> = packed
            .iter()
            .zip(layers.iter())
            .flat_map(|(layer, errors)| layer.parts.iter().zip(errors).map(move |p| (layer, p)))
            .filter(|(_, (_, error))| error[format].values > 0)
            .map(|(layer, (part, error))| ModuleError {
                weight: part.weight.strip_suffix(".weight").unwrap_or(&part.weight).to_owned(),
                module: part.module.clone(),
                packed: layer.format.name(),
                relative_error: error[format].relative(),
            })
            .collect();
        found.sort_by(|a, b| {
            b.relative_error.total_cmp(&a.relative_error).then_with(|| a.module.cmp(&b.module))
        });
        found
    }
}

fn greedy(max_new_tokens: usize) -> GenerationConfig {
    GenerationConfig {
        num_beams: Some(1),
        do_sample: Some(false),
        num_return_sequences: Some(1),
        max_new_tokens: Some(max_new_tokens),
        ..GenerationConfig::default()
    }
}

/// Sequences that are given to a decoder whole.
struct Forced {
    request: Forward,
    /// For each row, how many of its positions come before the first that is compared.
    skipped: Vec<usize>,
}

impl Forced {
    /// `written` is what greedy search gave for each of `prompts`.
    fn new(model: &Model, prompts: &[Prompt], written: &[Vec<u32>]) -> Result<Self> {
        let layers = model.decoding().with(&greedy(1))?;
        let plan = generate::Plan::new(&layers, &model.context()?, prompts)?;
        let (mut sequences, mut skipped) = (Vec::new(), Vec::new());
        let encoder = model.plan().is_encoder_decoder();
        for (history, written) in plan.histories().zip(written) {
            // What encoder-decoders return begins with what their decoder was given.
            let mut all = if encoder { Vec::new() } else { history.to_vec() };
            all.extend(written);
            // The last token is predicted and predicts nothing.
            all.pop();
            skipped.push(history.len() - 1);
            sequences.push(all);
        }
        let sources = || prompts.iter().map(|p| p.input_ids.clone()).collect();
        let (input_ids, decoder_input_ids) = match encoder {
            true => (sources(), Some(sequences)),
            false => (sequences, None),
        };
        Ok(Self {
            request: Forward { input_ids, token_type_ids: None, decoder_input_ids },
            skipped,
        })
    }

    fn logits(&self, model: &Model) -> Result<ForwardOutput> {
        let mut outputs = model.forward(&self.request)?.into_iter();
        let missing = || Error::input("a model that writes gave no logits");
        outputs.find(|o| o.name == "logits").ok_or_else(missing)
    }

    /// The logits from which each new token was chosen, row after row.
    fn positions<'a>(&'a self, logits: &'a ForwardOutput) -> impl Iterator<Item = &'a [f32]> {
        let mut rows = logits.values.chunks(logits.width.max(1));
        logits
            .rows
            .iter()
            .zip(&self.skipped)
            .flat_map(move |(&n, &skipped)| rows.by_ref().take(n).skip(skipped).collect::<Vec<_>>())
    }
}
