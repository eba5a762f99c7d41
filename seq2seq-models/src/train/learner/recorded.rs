//! A model over the backend that records, behind one trait.

use super::{Batch, OptimiserTensor, OptimiserValues, ParameterInfo, PassOptions, spans, unknown};
use crate::{
    Error, Forward, Result,
    checkpoint::{Checkpoint, Formats, Loader, TakenLinear},
    model::Compute,
    plan::{HeadKind, ModelPlan},
    stacks::{self, LatentScores, RecurrentModel, Stacks, Transformer, no_latent},
    train::vae::{Elbo, LatentPass},
};
use seq2seq_core::{
    Backend, HostTensor, Rows,
    autodiff::{Autodiff, LowRank, Optimiser, Parameter, Tensor},
    train::{DivergenceWeight, Loss, Smoothing, TrainBackend},
};

/// What training asks of a model beside what requests do: one virtual call a pass or a parameter.
pub(in crate::train) trait Learn: Compute {
    /// The backend below that of training.
    fn device(&self) -> String;
    fn learn(&self, batch: &Batch, options: &PassOptions) -> Result<Loss>;
    fn evaluate(&self, batch: &Batch, smoothing: Smoothing) -> Result<Loss>;
    fn learn_latent(
        &self,
        batch: &Batch,
        options: &PassOptions,
        latent: &LatentPass<'_>,
    ) -> Result<Elbo>;
    fn evaluate_latent(&self, batch: &Batch, noise: &[f32]) -> Result<Elbo>;
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

/// A model on a backend, erased.
pub(crate) struct Learning {
    pub(super) learn: Box<dyn Learn>,
    pub(super) linears: Vec<TakenLinear>,
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

/// A model that can be recorded.
trait Recorded: Compute {
    type Below: TrainBackend;
    fn recorder(&self) -> &Autodiff<Self::Below>;
    /// What a loss is taken of.
    fn scores(&self, request: &Forward) -> Result<Tensor<Self::Below>>;
    /// The same of a decoder that reads what it would have written itself wherever a row has a seed for that.
    fn scores_fed(&self, request: &Forward, seeds: &[Option<u64>]) -> Result<Tensor<Self::Below>>;
    /// The same of a variational autoencoder from points that are drawn, and the posteriors.
    fn scores_drawn(
        &self,
        request: &Forward,
        noise: &[f32],
    ) -> Result<LatentScores<Tensor<Self::Below>>>;
    /// Whether scores are those of the starts and ends of answers.
    fn answers(&self) -> bool;
}

impl<B: TrainBackend> Recorded for Transformer<Autodiff<B>> {
    type Below = B;

    fn recorder(&self) -> &Autodiff<B> {
        self.backend()
    }

    fn scores(&self, request: &Forward) -> Result<Tensor<B>> {
        self.scores(request)
    }

    fn scores_fed(&self, _: &Forward, _: &[Option<u64>]) -> Result<Tensor<B>> {
        Err(Error::input(
            "scheduled sampling is for recurrent decoders; train this model without it",
        ))
    }

    fn scores_drawn(&self, _: &Forward, _: &[f32]) -> Result<LatentScores<Tensor<B>>> {
        Err(no_latent())
    }

    fn answers(&self) -> bool {
        self.plan().head.kind == HeadKind::Answer
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

    fn scores_fed(&self, request: &Forward, seeds: &[Option<u64>]) -> Result<Tensor<B>> {
        self.scores_fed(request, seeds)
    }

    fn scores_drawn(&self, request: &Forward, noise: &[f32]) -> Result<LatentScores<Tensor<B>>> {
        self.scores_drawn(request, |posteriors| Ok(self.backend().draw(posteriors, noise)?))
    }

    fn answers(&self) -> bool {
        false
    }
}

impl<M: Recorded> Learn for M {
    fn device(&self) -> String {
        self.recorder().inner().describe()
    }

    fn learn(&self, batch: &Batch, options: &PassOptions) -> Result<Loss> {
        recorded(self.recorder(), options, || {
            let scores = match options.sampling {
                None => self.scores(&batch.input)?,
                Some(sampling) => {
                    let seeds = sampling.seeds(&batch.input);
                    self.scores_fed(&batch.input, &seeds)?
                }
            };
            loss(self, &scores, batch, options.smoothing)
        })
    }

    fn evaluate(&self, batch: &Batch, smoothing: Smoothing) -> Result<Loss> {
        let scores = self.scores(&batch.input)?;
        loss(self, &scores, batch, smoothing)
    }

    fn learn_latent(
        &self,
        batch: &Batch,
        options: &PassOptions,
        latent: &LatentPass<'_>,
    ) -> Result<Elbo> {
        if options.sampling.is_some() {
            return Err(Error::input(
                "scheduled sampling of a variational autoencoder: its decoder reads the text, or drops words of it",
            ));
        }
        recorded(self.recorder(), options, || elbo(self, batch, options.smoothing, latent))
    }

    fn evaluate_latent(&self, batch: &Batch, noise: &[f32]) -> Result<Elbo> {
        let latent = LatentPass { noise, divergence: DivergenceWeight::default() };
        elbo(self, batch, Smoothing::None, &latent)
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

/// A pass that is recorded, and walked back from the losses that it takes.
fn recorded<B: TrainBackend, T>(
    b: &Autodiff<B>,
    options: &PassOptions,
    pass: impl FnOnce() -> Result<T>,
) -> Result<T> {
    b.begin(options.dropout);
    if options.checkpointing {
        b.checkpoint();
    }
    let learned = pass().and_then(|loss| {
        b.backward()?;
        Ok(loss)
    });
    b.stop();
    learned
}

fn elbo<M: Recorded>(
    model: &M,
    batch: &Batch,
    smoothing: Smoothing,
    latent: &LatentPass<'_>,
) -> Result<Elbo> {
    let LatentScores { posteriors, logits } = model.scores_drawn(&batch.input, latent.noise)?;
    Ok(Elbo {
        reconstruction: loss(model, &logits, batch, smoothing)?,
        divergence: model.recorder().divergence(&posteriors, &latent.divergence)?,
        sequences: batch.input.input_ids.len(),
    })
}

fn loss<M: Recorded>(
    model: &M,
    scores: &Tensor<M::Below>,
    batch: &Batch,
    smoothing: Smoothing,
) -> Result<Loss> {
    let b = model.recorder();
    match model.answers() {
        true => spans::loss(b, scores, batch, smoothing),
        false => Ok(b.cross_entropy(scores, &batch.targets, smoothing)?),
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
