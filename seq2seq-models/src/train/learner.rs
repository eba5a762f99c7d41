//! Models that are trained: a pass forward and back, the parameters under their checkpoint's names, steps.
//!
//! [`Learner`] is the handle that trainers stand on, as [`Model`](crate::Model) is the one of applications.

mod recorded;
mod spans;

pub(crate) use recorded::Learning;

use crate::{
    Error, Forward, ForwardOutput, Generated, Result,
    checkpoint::{Checkpoint, Files, TakenLinear},
    device::{self, LoadOptions},
    families,
    generate::{self, Sink},
    model,
    plan::ModelPlan,
    train::{
        lora::Lora,
        sampling::Sampling,
        vae::{Elbo, LatentPass},
    },
};
use recorded::Learn;
use seq2seq_core::{
    autodiff::Optimiser,
    train::{Loss, Smoothing},
};
use std::path::Path;

/// A batch with its targets.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// What the model reads. An encoder-decoder needs `decoder_input_ids`, the targets shifted right.
    pub input: Forward,
    /// The id or class that each row of scores is held to: of each position of each sequence in order, or of each sequence
    /// where the model classifies. Of a model that answers questions the first and the last token of each answer. `None`
    /// for what does not count.
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
    /// Whether a recurrent decoder reads tokens that it would have written itself in the place of some of
    /// `decoder_input_ids`.
    pub sampling: Option<Sampling>,
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
/// ```
/// use seq2seq_core::{autodiff::Optimiser, train::AdamW};
/// use seq2seq_models::{Forward, Learner, LoadOptions, train::{Batch, PassOptions}};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let learner = Learner::load(folder, &LoadOptions::default())?;
/// let input_ids = vec![vec![14, 15, 1]];
/// let decoder_input_ids = Some(vec![vec![0, 14, 15]]); // the targets, shifted right
/// let batch = Batch {
///     input: Forward { input_ids, decoder_input_ids, ..Forward::default() },
///     targets: vec![Some(14), Some(15), Some(1)],
/// };
/// let mut losses = Vec::new();
/// for step in 1..=20 {
///     let loss = learner.learn(&batch, &PassOptions::default())?;
///     let gradient_scale = 1.0 / loss.tokens as f32;
///     let adam = AdamW { rate: 1e-3, step, gradient_scale, ..AdamW::default() };
///     learner.step(&Optimiser::AdamW(adam))?;
///     losses.push(loss.sum / loss.tokens as f64);
/// }
/// assert!(losses[19] < losses[0]);
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub struct Learner {
    checkpoint: Checkpoint,
    pub(super) plan: ModelPlan,
    pub(super) learn: Box<dyn Learn>,
    pub(super) linears: Vec<TakenLinear>,
    pub(super) lora: Option<Lora>,
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
        let checkpoint = options.open(files)?;
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

    /// The files beside the weights, such as `config.json` and those of the tokenizer.
    pub fn files(&self) -> &Files {
        self.checkpoint.files()
    }

    /// What planning a generation must know of this model.
    ///
    /// # Errors
    /// For models without a head for writing.
    pub fn context(&self) -> Result<generate::Context<'static>> {
        model::context(&self.plan, self.checkpoint.config())
    }

    /// The length of text that the model was made for, where it has a bound.
    pub fn max_positions(&self) -> Option<usize> {
        model::max_positions(&self.plan, self.checkpoint.config())
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The bytes of a tensor of the checkpoint that is not trained.
    pub(crate) fn constant(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.checkpoint.tensor(name)?.ok_or_else(|| unknown(name))?;
        Ok(tensor.bytes().to_vec())
    }

    /// The backend and what it runs on.
    pub fn device(&self) -> String {
        self.learn.device()
    }

    /// One pass forward and back: the loss summed over the targets, whose gradient is added to those of the parameters.
    ///
    /// # Errors
    /// Batches that the model cannot read, targets that are not as many as its scores or outside them,
    /// [`checkpointing`](PassOptions::checkpointing) of a recurrent model, and [`sampling`](PassOptions::sampling) of
    /// another.
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

    /// As [`learn`](Self::learn), of a variational autoencoder: decoded from points that are drawn of the posteriors, with
    /// the divergence of these from the prior in the loss. [`learn`](Self::learn) decodes such a model from the means, and
    /// leaves the divergence out.
    ///
    /// # Errors
    /// Those of [`learn`](Self::learn), for a model without a latent, noise of another size, and with
    /// [`sampling`](PassOptions::sampling).
    pub fn learn_latent(
        &self,
        batch: &Batch,
        options: &PassOptions,
        latent: &LatentPass<'_>,
    ) -> Result<Elbo> {
        self.learn.learn_latent(batch, options, latent)
    }

    /// The evidence lower bound without gradients and without dropout, from the points of this noise, `[B, Z]`.
    ///
    /// # Errors
    /// Those of [`learn_latent`](Self::learn_latent).
    pub fn evaluate_latent(&self, batch: &Batch, noise: &[f32]) -> Result<Elbo> {
        self.learn.evaluate_latent(batch, noise)
    }

    /// As [`Model::forward`](crate::Model::forward), with the weights as they are now.
    ///
    /// # Errors
    /// Those of [`Model::forward`](crate::Model::forward).
    pub fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.learn.forward(request)
    }

    /// As [`Model::run`](crate::Model::run), with the weights as they are now.
    ///
    /// # Errors
    /// Those of [`Model::run`](crate::Model::run).
    pub fn run(
        &self,
        plan: &generate::Plan<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        plan.check_model(&self.context()?)?;
        self.learn.generate(plan, sink)
    }

    /// The parameters, in the order in which the model has them.
    pub fn parameters(&self) -> Vec<ParameterInfo> {
        self.learn.parameters()
    }

    /// Keeps the parameters as they are for whose names `frozen` says so, and trains the others. Where there are adapters, it
    /// is asked of theirs alone: what they are for stays as it is.
    pub fn freeze(&self, frozen: impl Fn(&str) -> bool) {
        match &self.lora {
            None => self.learn.freeze(&frozen),
            Some(_) => {
                let adapters = self.lora_parameters();
                self.learn.freeze(&|name| !adapters.contains(name) || frozen(name));
            }
        }
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

fn unknown(name: &str) -> Error {
    Error::Input(format!("'{name}' is no parameter of this model"))
}
