//! A loaded model behind one handle.

mod latent;

use crate::{
    Error, Forward, ForwardOutput, Generated, Posterior, Prompt, Result,
    checkpoint::{Checkpoint, Files, Formats, Loader, Taken, TakenLinear, room::no_room},
    compare::probe::{Probe, Recorder},
    device::{self, LoadOptions},
    families::{self, Family},
    generate::{self, ConfigLayers, Context, GenerationConfig, Sink},
    plan::ModelPlan,
    stacks::{self, RecurrentModel, Stacks, Transformer, no_latent},
    trace::watch::{Watch, Watcher},
};
use seq2seq_core::{Error as Op, Format, SeqBackend};
use serde_json::Value;
use std::{path::Path, sync::Arc};

pub use latent::between;

/// A model, ready to compute. Cloning shares it; any number of threads may use it at once.
///
/// Its weights are views of the mapped checkpoint and packed copies; what belongs to a request lives only as long as
/// the request.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    checkpoint: Checkpoint,
    plan: ModelPlan,
    decoding: ConfigLayers,
    engine: Engine,
    format: Format,
}

/// The weights on their backend, erased, and what was taken from the checkpoint for them.
pub(crate) struct Engine {
    compute: Box<dyn Compute>,
    taken: Taken,
}

/// Who looks into a model while it computes.
#[derive(Clone, Copy)]
pub(crate) enum Observer<'a> {
    None,
    /// Compares linear layers with their likes in other formats.
    Recorder(&'a Arc<Recorder>),
    /// Notes what each stage computes.
    Watcher(&'a Arc<Watcher>),
}

/// What a request asks of a model: one virtual call a request.
pub(crate) trait Compute: Send + Sync {
    fn describe(&self) -> String;
    fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>>;
    fn forward_with_hidden(&self, request: &Forward) -> Result<Vec<ForwardOutput>>;
    fn generate(
        &self,
        plan: &generate::Plan<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>>;

    /// What a variational autoencoder takes each source for.
    fn posteriors(&self, _: &[Vec<u32>]) -> Result<Vec<Posterior>> {
        Err(no_latent())
    }

    /// As `generate`, from points of the latent space.
    fn generate_at(
        &self,
        _: &generate::Plan<'_>,
        _: &[Vec<f32>],
        _: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        Err(no_latent())
    }
}

impl<B: SeqBackend> Compute for Transformer<B> {
    fn describe(&self) -> String {
        self.backend().describe()
    }

    fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.forward(request)
    }

    fn forward_with_hidden(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.forward_with_hidden(request)
    }

    fn generate(
        &self,
        plan: &generate::Plan<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        let mut session = self.session(&plan.sources(), plan.hypotheses(), plan.capacity())?;
        generate::run(plan, &mut session, sink)
    }
}

impl<B: SeqBackend> Compute for RecurrentModel<B> {
    fn describe(&self) -> String {
        self.backend().describe()
    }

    fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.forward(request)
    }

    fn forward_with_hidden(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.forward_with_hidden(request)
    }

    fn generate(
        &self,
        plan: &generate::Plan<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        generate::run(plan, &mut self.session(&plan.sources())?, sink)
    }

    fn posteriors(&self, sources: &[Vec<u32>]) -> Result<Vec<Posterior>> {
        self.posteriors(sources)
    }

    fn generate_at(
        &self,
        plan: &generate::Plan<'_>,
        points: &[Vec<f32>],
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        generate::run(plan, &mut self.session_at(points)?, sink)
    }
}

impl Engine {
    /// On `backend`, or on one around it that `observer` looks through.
    pub(crate) fn load<B: SeqBackend>(
        backend: B,
        checkpoint: &Checkpoint,
        plan: &ModelPlan,
        formats: &Formats,
        observer: Observer<'_>,
    ) -> Result<Self> {
        match observer {
            Observer::None => Self::load_onto(backend, checkpoint, plan, formats),
            Observer::Watcher(watcher) => {
                let watch = Watch::new(backend, watcher.clone());
                Self::load_onto(watch, checkpoint, plan, formats)
            }
            Observer::Recorder(recorder) => {
                let probe = Probe::new(backend, recorder.clone());
                Self::load_onto(probe, checkpoint, plan, formats)
            }
        }
    }

    fn load_onto<B: SeqBackend>(
        backend: B,
        checkpoint: &Checkpoint,
        plan: &ModelPlan,
        formats: &Formats,
    ) -> Result<Self> {
        let room = backend.device_memory()?;
        let loader = Loader::new(&backend, checkpoint, plan.family.names(), formats);
        let stacks = stacks::load(plan, &loader).or_else(|error| match (&error, room) {
            (Error::Op(Op::OutOfMemory { .. }), Some(room)) => {
                Err(no_room(room, checkpoint, plan, formats, backend.formats())?)
            }
            _ => Err(error),
        })?;
        let compute: Box<dyn Compute> = match stacks {
            Stacks::Transformer(model) => model,
            Stacks::Recurrent(model) => model,
        };
        loader.check_exceptions()?;
        checkpoint.release_all();
        Ok(Self { compute, taken: loader.finish().0 })
    }
}

impl Model {
    /// Loads a Hugging Face folder: `config.json`, `model.safetensors` or its shards, and `generation_config.json`.
    ///
    /// The files are memory-mapped: they must not be rewritten in place while the model is in use (replacing them by
    /// new files is safe).
    ///
    /// # Errors
    /// Missing and damaged files, models of other families, tensors that are missing, of another shape or not finite;
    /// each names the file and what in it is wrong. [`Error::StoredFormat`] for a converted folder in any format but its
    /// own ([`Checkpoint::stored`]).
    pub fn load(folder: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        Self::load_files(Files::folder(folder.as_ref())?, options)
    }

    /// Loads a model from its files, which the program may hold itself ([`Files::embedded`]).
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_files(files: Files, options: &LoadOptions) -> Result<Self> {
        Self::load_observed(files, options, Observer::None)
    }

    /// Loads a model onto a backend of the caller's, such as one that changes an operation of another
    /// ([`inherit`](seq2seq_core::inherit!)). The options have the formats and the architecture; their device, threads and
    /// instruction set are those of backends that this crate opens.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), and the backend's own.
    pub fn load_on<B: SeqBackend>(files: Files, backend: B, options: &LoadOptions) -> Result<Self> {
        Self::load_by(files, options, |checkpoint, plan| {
            Engine::load(backend, checkpoint, plan, &options.formats(), Observer::None)
        })
    }

    /// A model that `observer` looks into while it computes.
    pub(crate) fn load_observed(
        files: Files,
        options: &LoadOptions,
        observer: Observer<'_>,
    ) -> Result<Self> {
        Self::load_by(files, options, |checkpoint, plan| {
            device::load(checkpoint, plan, options, observer)
        })
    }

    fn load_by(
        files: Files,
        options: &LoadOptions,
        engine: impl FnOnce(&Checkpoint, &ModelPlan) -> Result<Engine>,
    ) -> Result<Self> {
        let checkpoint = options.open(files)?;
        checkpoint.check_formats(&options.formats())?;
        let plan = families::plan(&checkpoint)?;
        let decoding = ConfigLayers::from_files(checkpoint.files())?;
        let engine = engine(&checkpoint, &plan)?;
        let format = options.format;
        Ok(Self { shared: Arc::new(Shared { checkpoint, plan, decoding, engine, format }) })
    }

    /// Computes every row of every sequence: results named and ordered as in transformers.
    ///
    /// ```
    /// use seq2seq_models::{Forward, LoadOptions, Model};
    ///
    /// # let folder = "../fixtures/bert";
    /// let model = Model::load(folder, &LoadOptions::default())?;
    /// let input_ids = vec![vec![2, 14, 15, 3], vec![2, 9, 3]]; // unequal lengths, no padding
    /// let outputs = model.forward(&Forward { input_ids, ..Forward::default() })?;
    /// let hidden = &outputs[0];
    /// assert_eq!((hidden.name, &hidden.rows[..]), ("last_hidden_state", &[4, 3][..]));
    /// assert_eq!(hidden.values.len(), 7 * hidden.width);
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] for an empty batch or sequence, ids outside the vocabulary (naming where), segment ids that
    /// do not fit, more tokens than positions, and a decoder that is given nothing.
    pub fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.shared.engine.compute.forward(request)
    }

    /// As [`forward`](Self::forward), with the rows of the last stack as `last_hidden_state` whatever head there is.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn forward_with_hidden(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.shared.engine.compute.forward_with_hidden(request)
    }

    /// Generates for each prompt its sequences, the best first. `config` is laid over the model's own settings. `sink` hears of
    /// new ids and may end the generation; `&mut ()` does neither.
    ///
    /// ```
    /// use seq2seq_models::{LoadOptions, Model, Prompt, generate::{GenerationConfig, Sink}};
    /// use std::ops::ControlFlow;
    ///
    /// /// Prints ids as they come, and stops after four.
    /// struct Print(usize);
    ///
    /// impl Sink for Print {
    ///     fn ids(&mut self, _row: usize, _sequence: usize, ids: &[u32]) -> ControlFlow<()> {
    ///         println!("{ids:?}");
    ///         self.0 += ids.len();
    ///         if self.0 < 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    ///     }
    /// }
    ///
    /// # let folder = "../fixtures/gpt2";
    /// let model = Model::load(folder, &LoadOptions::default())?;
    /// let config = GenerationConfig { max_new_tokens: Some(9), ..GenerationConfig::default() };
    /// let mut print = Print(0);
    /// let rows = model.generate(&[Prompt::new([4, 5, 6])], &config, &mut print)?;
    /// assert_eq!(rows[0][0].ids.len(), print.0);
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    ///
    /// # Errors
    /// Settings that make no sense, prompts that cannot be used, and models that do not write.
    pub fn generate(
        &self,
        prompts: &[Prompt],
        config: &GenerationConfig,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        let plan = generate::Plan::new(&self.decoding().with(config)?, &self.context()?, prompts)?;
        self.run(&plan, sink)
    }

    /// Carries out a plan that was made in the [`context`](Self::context) of this model, on the prompts that it was made for.
    ///
    /// # Errors
    /// Prompts that cannot be used, plans for another kind of model (with or without an encoder) or another vocabulary, and
    /// models that do not write.
    pub fn run(
        &self,
        plan: &generate::Plan<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        plan.check_model(&self.context()?)?;
        self.shared.engine.compute.generate(plan, sink)
    }

    /// What planning a generation must know of this model.
    ///
    /// # Errors
    /// For models that do not write.
    pub fn context(&self) -> Result<Context<'static>> {
        context(self.plan(), self.shared.checkpoint.config())
    }

    /// The family that `model_type` names.
    pub fn family(&self) -> Family {
        self.shared.plan.family
    }

    /// The model as a description.
    pub fn plan(&self) -> &ModelPlan {
        &self.shared.plan
    }

    /// The files beside the weights: `config.json`, those of the tokenizer, and what else there is.
    ///
    /// ```
    /// use seq2seq_models::{LoadOptions, Model};
    ///
    /// /// What this program wants to know of `config.json`; any type that serde reads will do.
    /// #[derive(serde::Deserialize)]
    /// struct Config {
    ///     d_model: usize,
    /// }
    ///
    /// # let folder = "../fixtures/t5_v1_0";
    /// let model = Model::load(folder, &LoadOptions::default())?;
    /// let config: Option<Config> = model.files().json("config.json")?;
    /// assert_eq!(config.map(|config| config.d_model), Some(30));
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    pub fn files(&self) -> &Files {
        self.shared.checkpoint.files()
    }

    /// The decoding settings of the model's files.
    pub fn decoding(&self) -> &ConfigLayers {
        &self.shared.decoding
    }

    /// The length of text that config.json gives; `None` where it gives none, as T5 has no bound.
    pub fn max_positions(&self) -> Option<usize> {
        max_positions(self.plan(), self.shared.checkpoint.config())
    }

    /// Elements of all weights, shared ones once.
    pub fn parameters(&self) -> usize {
        self.shared.engine.taken.parameters
    }

    /// Bytes of the weights in memory.
    pub fn bytes(&self) -> usize {
        self.shared.engine.taken.loaded_bytes()
    }

    /// Those of [`bytes`](Self::bytes) that are tables which rows are looked up in; one that is the output layer too is counted as that
    /// layer. On the processor tables stay where they are in the mapped file, of which the system keeps the pages that are read;
    /// everything else is memory of the model's own.
    ///
    /// ```
    /// use seq2seq_models::{LoadOptions, Model, seq2seq_core::Format};
    ///
    /// # let folder = "../fixtures/t5_v1_0";
    /// let load = |format| Model::load(folder, &LoadOptions { format, ..LoadOptions::default() });
    /// let (f32, int8) = (load(Format::F32)?, load(Format::Int8)?);
    /// // A table is as it is in the file, whatever the format.
    /// assert_eq!(f32.table_bytes(), int8.table_bytes());
    /// assert!(int8.bytes() - int8.table_bytes() < (f32.bytes() - f32.table_bytes()) / 2);
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    pub fn table_bytes(&self) -> usize {
        self.shared.engine.taken.table_bytes
    }

    /// The linear layers, in the order of loading.
    pub(crate) fn linears(&self) -> &[TakenLinear] {
        &self.shared.engine.taken.linears
    }

    /// The format that the model was loaded in; [`layer_format`](crate::checkpoint::layer_format) and the exceptions of
    /// [`LoadOptions`] say which layers are packed in another.
    pub fn format(&self) -> Format {
        self.shared.format
    }

    /// The backend and what it runs on.
    pub fn device(&self) -> String {
        self.shared.engine.compute.describe()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let root = self.files().root().display();
        write!(f, "Model({} from {root} on {} in {})", self.family(), self.device(), self.format())
    }
}

/// What planning a generation must know of a model. Fails for models that do not write.
pub(crate) fn context(plan: &ModelPlan, config: &Value) -> Result<Context<'static>> {
    if !plan.generates() {
        let family = plan.family;
        let reason = format!("this {family} model has no head for writing; it cannot generate");
        return Err(Error::Input(reason));
    }
    Ok(Context {
        encoder_decoder: plan.is_encoder_decoder(),
        vocab: plan.output_vocab(),
        max_position_embeddings: max_positions(plan, config),
        token_bytes: None,
    })
}

/// The length of text that a model was made for, where it has a bound.
pub(crate) fn max_positions(plan: &ModelPlan, config: &Value) -> Option<usize> {
    let named = ["max_position_embeddings", "n_positions"];
    let given = named.iter().find_map(|key| config.get(key)?.as_u64());
    let table = || plan.last_stack().and_then(|s| s.max_positions());
    given.and_then(|n| usize::try_from(n).ok()).or_else(table)
}
