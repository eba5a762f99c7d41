//! Models that are trained: a pass forward and back, the parameters under their checkpoint's names, steps.
//!
//! [`Learner`] is the handle that trainers stand on, as [`Model`](crate::Model) is the one of applications.

use crate::{
    Error, Forward, ForwardOutput, Generated, Result,
    checkpoint::{Checkpoint, Files, Formats, Loader, TakenLinear},
    device::{self, LoadOptions},
    families,
    generate::{self, Sink},
    model::{self, Compute},
    plan::ModelPlan,
    stacks::{self, RecurrentModel, Stacks, Transformer},
    train::lora::Lora,
};
use seq2seq_core::{
    Backend, HostTensor, Rows,
    autodiff::{Autodiff, LowRank, Optimiser, Parameter, Tensor},
    train::{Loss, Smoothing, TrainBackend},
};
use std::path::Path;

/// A batch with its targets.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// What the model reads. An encoder-decoder needs `decoder_input_ids`, the targets shifted right.
    pub input: Forward,
    /// The id or class that each row of scores is held to: of each position of each sequence in order, or of each sequence
    /// where the model classifies. `None` for rows that do not count.
    pub targets: Vec<Option<u32>>,
}

/// What a pass is told beside its batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct PassOptions {
    /// Whether elements are dropped at the rates of config.json: the seed of the training, and the number of the pass,
    /// which no other pass has.
    pub dropout: Option<(u64, u32)>,
    /// Label smoothing.
    pub smoothing: Smoothing,
    /// Whether only the input of each layer is kept, and the layer computed again on the way back: gradient checkpointing
    /// (Chen et al. 2016), for less memory and one more forward. Loss and gradients have the same bits.
    pub checkpointing: bool,
}

/// A parameter on paper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// The name of the tensor in its checkpoint.
    pub name: String,
    /// Its sizes there.
    pub shape: Vec<usize>,
    /// Whether it is kept as it is.
    pub frozen: bool,
}

/// A tensor that an optimiser keeps of a parameter, on paper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptimiserTensor {
    /// The parameter.
    pub parameter: String,
    /// Which of those of the parameter, such as `first` and `second` of AdamW.
    pub name: String,
    /// Rows and columns.
    pub shape: [usize; 2],
}

/// A tensor that an optimiser keeps, and its values.
pub type OptimiserValues = (OptimiserTensor, Vec<f32>);

/// A model under training, on its backend. One pass at a time.
///
/// ```no_run
/// use seq2seq_core::{autodiff::Optimiser, train::AdamW};
/// use seq2seq_models::{Forward, Learner, LoadOptions, train::{Batch, PassOptions}};
///
/// let learner = Learner::load("t5-small", &LoadOptions::default())?;
/// let input_ids = vec![vec![8774, 296, 1]];
/// let decoder_input_ids = Some(vec![vec![0, 8774, 296]]); // the targets, shifted right
/// let batch = Batch {
///     input: Forward { input_ids, decoder_input_ids, ..Forward::default() },
///     targets: vec![Some(8774), Some(296), Some(1)],
/// };
/// for step in 1..=100 {
///     let loss = learner.learn(&batch, &PassOptions::default())?;
///     let gradient_scale = 1.0 / loss.tokens as f32;
///     let adam = AdamW { rate: 1e-4, step, gradient_scale, ..AdamW::default() };
///     learner.step(&Optimiser::AdamW(adam))?;
///     println!("{step}: {}", loss.sum / loss.tokens as f64);
/// }
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub struct Learner {
    checkpoint: Checkpoint,
    pub(super) plan: ModelPlan,
    pub(super) learn: Box<dyn Learn>,
    pub(super) linears: Vec<TakenLinear>,
    pub(super) lora: Option<Lora>,
}

/// What training asks of a model beside what requests do: one virtual call a pass or a parameter.
pub(super) trait Learn: Compute {
    /// The backend below that of training.
    fn device(&self) -> String;
    fn learn(&self, batch: &Batch, options: &PassOptions) -> Result<Loss>;
    fn evaluate(&self, batch: &Batch, smoothing: Smoothing) -> Result<Loss>;
    fn parameters(&self) -> Vec<ParameterInfo>;
    fn freeze(&self, frozen: &dyn Fn(&str) -> bool);
    fn value(&self, name: &str) -> Result<Vec<f32>>;
    fn set_values(&self, values: &mut dyn FnMut(&str) -> Result<Option<Vec<f32>>>) -> Result<()>;
    fn optimiser_tensors(&self) -> Vec<OptimiserTensor>;
    fn optimiser_value(&self, tensor: &OptimiserTensor) -> Result<Vec<f32>>;
    fn restore_optimiser(
        &self,
        values: &mut dyn FnMut(&str) -> Result<Vec<OptimiserValues>>,
    ) -> Result<()>;
    fn gradient(&self, name: &str) -> Result<Option<Vec<f32>>>;
    fn gradient_norm(&self) -> Result<f64>;
    fn clear_gradients(&self);
    fn step_each(&self, choose: &dyn Fn(&ParameterInfo) -> Optimiser) -> Result<()>;
    fn adapt(&self, weight: &str, change: &LowRank) -> Result<()>;
    fn merge_adapters(&self, merged: bool);
}

impl Learner {
    /// Loads a Hugging Face folder to be trained, in f32 or bf16 over f32 masters.
    ///
    /// # Errors
    /// Those of [`Model::load`](crate::Model::load), and quantised formats and folders.
    pub fn load(folder: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        Self::load_files(Files::folder(folder.as_ref())?, options)
    }

    /// Loads from files that the program may hold itself.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_files(files: Files, options: &LoadOptions) -> Result<Self> {
        let checkpoint = Checkpoint::open(files, options.architecture.as_deref())?;
        if checkpoint.stored().is_some() {
            return Err(Error::Input(
                "a converted folder cannot be trained; train the folder that it was converted from"
                    .into(),
            ));
        }
        let plan = families::plan(&checkpoint)?;
        let Learning { learn, linears } = device::learn(&checkpoint, &plan, options)?;
        Ok(Self { checkpoint, plan, learn, linears, lora: None })
    }

    /// The model as a description.
    pub fn plan(&self) -> &ModelPlan {
        &self.plan
    }

    /// `config.json` as it stands.
    pub fn config(&self) -> &serde_json::Value {
        self.checkpoint.config()
    }

    /// What planning a generation must know of this model. Fails for models that do not write.
    ///
    /// # Errors
    /// For models without a head for writing.
    pub fn context(&self) -> Result<generate::Context<'static>> {
        model::context(&self.plan, self.config())
    }

    /// The length of text that the model was made for, where it has a bound.
    pub fn max_positions(&self) -> Option<usize> {
        model::max_positions(&self.plan, self.config())
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The bytes of a tensor of the checkpoint that is not trained.
    pub(crate) fn constant(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.checkpoint.tensor(name)?.ok_or_else(|| unknown(name))?;
        Ok(tensor.bytes().to_vec())
    }

    /// The files beside the weights.
    pub fn files(&self) -> &Files {
        self.checkpoint.files()
    }

    /// The backend and what it runs on.
    pub fn device(&self) -> String {
        self.learn.device()
    }

    /// One pass forward and back: the loss summed over the targets, whose gradient is added to those of the parameters.
    ///
    /// # Errors
    /// Batches that the model cannot read, targets that are not as many as its scores or outside them, and
    /// [`checkpointing`](PassOptions::checkpointing) of a recurrent model.
    pub fn learn(&self, batch: &Batch, options: &PassOptions) -> Result<Loss> {
        self.learn.learn(batch, options)
    }

    /// The loss without gradients and without dropout.
    ///
    /// # Errors
    /// Those of [`learn`](Self::learn).
    pub fn evaluate(&self, batch: &Batch, smoothing: Smoothing) -> Result<Loss> {
        self.learn.evaluate(batch, smoothing)
    }

    /// As [`Model::forward`](crate::Model::forward), with the weights as they are now.
    ///
    /// # Errors
    /// Those of [`Model::forward`](crate::Model::forward).
    pub fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.learn.forward(request)
    }

    /// Carries out a plan for `sources`, with the weights as they are now.
    ///
    /// # Errors
    /// Sources that cannot be used, and models that do not write.
    pub fn run(
        &self,
        plan: &generate::Plan<'_>,
        sources: &[Vec<u32>],
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        self.learn.generate(plan, sources, sink)
    }

    /// The parameters, in the order in which the model has them.
    pub fn parameters(&self) -> Vec<ParameterInfo> {
        self.learn.parameters()
    }

    /// Keeps the parameters as they are for whose names `frozen` says so, and trains the others.
    pub fn freeze(&self, frozen: impl Fn(&str) -> bool) {
        self.learn.freeze(&frozen);
    }

    /// The values of a parameter, in the layout of its checkpoint.
    ///
    /// # Errors
    /// For a name that no parameter has.
    pub fn value(&self, name: &str) -> Result<Vec<f32>> {
        self.learn.value(name)
    }

    /// Gives a parameter other values.
    ///
    /// # Errors
    /// For a name that no parameter has, another number of values, and values that are not finite.
    pub fn set_value(&self, name: &str, values: &[f32]) -> Result<()> {
        let mut known = false;
        self.set_values(|parameter| {
            known |= parameter == name;
            Ok((parameter == name).then(|| values.to_vec()))
        })?;
        if known { Ok(()) } else { Err(unknown(name)) }
    }

    /// Gives parameters other values: each for which `values`, asked by its name, has some. Weights are packed once, at the
    /// end.
    ///
    /// # Errors
    /// For another number of values, values that are not finite, and what `values` fails with; some parameters may
    /// have their new values then.
    pub fn set_values(
        &self,
        mut values: impl FnMut(&str) -> Result<Option<Vec<f32>>>,
    ) -> Result<()> {
        self.learn.set_values(&mut values)
    }

    /// What the optimisers keep, parameter after parameter. Nothing before the first step.
    pub fn optimiser_tensors(&self) -> Vec<OptimiserTensor> {
        self.learn.optimiser_tensors()
    }

    /// The values of one of [`optimiser_tensors`](Self::optimiser_tensors).
    ///
    /// # Errors
    /// For a tensor that is not kept.
    pub fn optimiser_value(&self, tensor: &OptimiserTensor) -> Result<Vec<f32>> {
        self.learn.optimiser_value(tensor)
    }

    /// Takes back what optimisers had kept: `values` gives all tensors of the parameter of a name.
    ///
    /// # Errors
    /// For tensors that no optimiser keeps, or of other shapes, and what `values` fails with.
    pub fn restore_optimiser(
        &self,
        mut values: impl FnMut(&str) -> Result<Vec<OptimiserValues>>,
    ) -> Result<()> {
        self.learn.restore_optimiser(&mut values)
    }

    /// The sum of a parameter's gradients since the last step; `None` where there were none.
    ///
    /// # Errors
    /// For a name that no parameter has.
    pub fn gradient(&self, name: &str) -> Result<Option<Vec<f32>>> {
        self.learn.gradient(name)
    }

    /// The norm of all gradients as one vector; NaN or infinite where one of them is.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn gradient_norm(&self) -> Result<f64> {
        self.learn.gradient_norm()
    }

    /// Drops all gradients.
    pub fn clear_gradients(&self) {
        self.learn.clear_gradients();
    }

    /// One step of an optimiser on every parameter that has a gradient, which then is gone.
    ///
    /// # Errors
    /// Where a weight becomes infinite.
    pub fn step(&self, optimiser: &Optimiser) -> Result<()> {
        self.step_each(|_| *optimiser)
    }

    /// As [`step`](Self::step), each parameter by the optimiser that is chosen for it, which is one for all steps.
    ///
    /// # Errors
    /// Where a weight becomes infinite, and for [`Optimiser::Muon`] on what is no matrix.
    pub fn step_each(&self, choose: impl Fn(&ParameterInfo) -> Optimiser) -> Result<()> {
        self.learn.step_each(&choose)
    }
}

/// A model on a backend, erased.
pub(crate) struct Learning {
    learn: Box<dyn Learn>,
    linears: Vec<TakenLinear>,
}

impl Learning {
    pub(crate) fn load<B: TrainBackend>(
        backend: B,
        checkpoint: &Checkpoint,
        plan: &ModelPlan,
        formats: &Formats,
    ) -> Result<Self> {
        let backend = Autodiff::new(backend);
        let loader = Loader::new(&backend, checkpoint, plan.family.names(), formats);
        let learn: Box<dyn Learn> = match stacks::load(plan, &loader)? {
            Stacks::Transformer(model) => model,
            Stacks::Recurrent(model) => model,
        };
        loader.check_exceptions()?;
        Ok(Self { learn, linears: loader.finish().0.linears })
    }
}

fn unknown(name: &str) -> Error {
    Error::Input(format!("'{name}' is no parameter of this model"))
}

/// A model that can be recorded.
trait Recorded: Compute {
    type Below: TrainBackend;
    fn recorder(&self) -> &Autodiff<Self::Below>;
    /// What a loss is taken of.
    fn scores(&self, request: &Forward) -> Result<Tensor<Self::Below>>;
}

impl<B: TrainBackend> Recorded for Transformer<Autodiff<B>> {
    type Below = B;

    fn recorder(&self) -> &Autodiff<B> {
        self.backend()
    }

    fn scores(&self, request: &Forward) -> Result<Tensor<B>> {
        self.scores(request)
    }
}

impl<B: TrainBackend> Recorded for RecurrentModel<Autodiff<B>> {
    type Below = B;

    fn recorder(&self) -> &Autodiff<B> {
        self.backend()
    }

    fn scores(&self, request: &Forward) -> Result<Tensor<B>> {
        self.scores(request)
    }
}

impl<M: Recorded> Learn for M {
    fn device(&self) -> String {
        self.recorder().inner().describe()
    }

    fn learn(&self, batch: &Batch, options: &PassOptions) -> Result<Loss> {
        let b = self.recorder();
        b.begin(options.dropout);
        if options.checkpointing {
            b.checkpoint();
        }
        let pass = || {
            let scores = self.scores(&batch.input)?;
            let loss = b.cross_entropy(&scores, &batch.targets, options.smoothing)?;
            drop(scores);
            b.backward()?;
            Ok(loss)
        };
        let loss = pass();
        b.stop();
        loss
    }

    fn evaluate(&self, batch: &Batch, smoothing: Smoothing) -> Result<Loss> {
        let scores = self.scores(&batch.input)?;
        Ok(self.recorder().cross_entropy(&scores, &batch.targets, smoothing)?)
    }

    fn parameters(&self) -> Vec<ParameterInfo> {
        self.recorder().parameters().iter().map(info).collect()
    }

    fn freeze(&self, frozen: &dyn Fn(&str) -> bool) {
        self.recorder().parameters().iter_mut().for_each(|p| p.freeze(frozen(p.name())));
    }

    fn value(&self, name: &str) -> Result<Vec<f32>> {
        let parameters = self.recorder().parameters();
        download(self.recorder(), parameters.get(name).ok_or_else(|| unknown(name))?.value())
    }

    fn set_values(&self, values: &mut dyn FnMut(&str) -> Result<Option<Vec<f32>>>) -> Result<()> {
        let b = self.recorder();
        for parameter in b.parameters().iter_mut() {
            let Some(values) = values(parameter.name())? else { continue };
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                let name = parameter.name();
                return Err(Error::Input(format!("'{name}': value {at} is {}", values[at])));
            }
            let shape = [parameter.value().rows(), parameter.value().width()];
            *parameter.value_mut() = upload(b, parameter.name(), shape, &values)?;
        }
        Ok(b.refresh()?)
    }

    fn optimiser_tensors(&self) -> Vec<OptimiserTensor> {
        let parameters = self.recorder().parameters();
        let of = |p: &Parameter<M::Below>| {
            let tensor = |(name, tensor): (&str, &<M::Below as Backend>::Tensor)| OptimiserTensor {
                parameter: p.name().into(),
                name: name.into(),
                shape: [tensor.rows(), tensor.width()],
            };
            p.state().into_iter().map(tensor).collect::<Vec<_>>()
        };
        parameters.iter().flat_map(of).collect()
    }

    fn optimiser_value(&self, tensor: &OptimiserTensor) -> Result<Vec<f32>> {
        let parameters = self.recorder().parameters();
        let parameter =
            parameters.get(&tensor.parameter).ok_or_else(|| unknown(&tensor.parameter))?;
        let state = parameter.state();
        let (_, value) =
            state.into_iter().find(|(name, _)| *name == tensor.name).ok_or_else(|| {
                Error::Input(format!(
                    "'{}': nothing called {} is kept",
                    tensor.parameter, tensor.name
                ))
            })?;
        download(self.recorder(), value)
    }

    fn restore_optimiser(
        &self,
        values: &mut dyn FnMut(&str) -> Result<Vec<OptimiserValues>>,
    ) -> Result<()> {
        let b = self.recorder();
        for parameter in b.parameters().iter_mut() {
            let tensors = values(parameter.name())?.into_iter().map(|(tensor, values)| {
                Ok((tensor.name, upload(b, parameter.name(), tensor.shape, &values)?))
            });
            let tensors = tensors.collect::<Result<Vec<_>>>()?;
            parameter.restore(tensors)?;
        }
        Ok(())
    }

    fn gradient(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let parameters = self.recorder().parameters();
        let parameter = parameters.get(name).ok_or_else(|| unknown(name))?;
        parameter.gradient().map(|g| download(self.recorder(), g)).transpose()
    }

    fn gradient_norm(&self) -> Result<f64> {
        let b = self.recorder();
        Ok(b.parameters().gradient_norm(b.inner())?)
    }

    fn clear_gradients(&self) {
        self.recorder().parameters().clear_gradients();
    }

    fn step_each(&self, choose: &dyn Fn(&ParameterInfo) -> Optimiser) -> Result<()> {
        Ok(self.recorder().step_each(|p| choose(&info(p)))?)
    }

    fn adapt(&self, weight: &str, change: &LowRank) -> Result<()> {
        Ok(self.recorder().adapt(weight, change)?)
    }

    fn merge_adapters(&self, merged: bool) {
        self.recorder().merge_adapters(merged);
    }
}

fn info<B: TrainBackend>(p: &Parameter<B>) -> ParameterInfo {
    ParameterInfo { name: p.name().into(), shape: p.shape().to_vec(), frozen: p.is_frozen() }
}

fn upload<B: TrainBackend>(
    b: &Autodiff<B>,
    name: &str,
    shape: [usize; 2],
    values: &[f32],
) -> Result<B::Tensor> {
    let tensor = HostTensor::from_f32(shape.to_vec(), values);
    Ok(b.inner().upload(&tensor.map_err(|e| Error::Input(format!("'{name}': {e}")))?)?)
}

fn download<B: TrainBackend>(b: &Autodiff<B>, x: &B::Tensor) -> Result<Vec<f32>> {
    Ok(b.inner().download(x)?)
}
