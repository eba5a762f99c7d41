//! The latent of a variational autoencoder on the tape.

use super::{Traced, host};
use crate::autodiff::{Autodiff, Linear, Tensor};
use crate::reference::Reference;
use crate::train::{Divergence, DivergenceWeight, Smoothing};
use crate::{Backend, Epilogue, Format, LinearPart, LinearSpec};

const NOISE: [f32; 6] = [0.3, -1.0, 2.0, 0.5, 1.5, -0.2];
const WEIGHT: DivergenceWeight = DivergenceWeight { weight: 0.6, free_bits: 0.02 };

/// Means and variances of three dimensions, and scores of what is drawn.
struct Encoder {
    b: Traced,
    posterior: Linear<Reference>,
    scores: Linear<Reference>,
}

impl Encoder {
    fn new(change: f32) -> Self {
        let b = Autodiff::new(Reference);
        let part = |name: &'static str, seed| {
            let mut values = host(&[3, 4], seed).to_f32();
            values[5] += if name == "log_variance" { change } else { 0.0 };
            let weight = crate::HostTensor::from_f32(vec![3, 4], &values).unwrap().named(name);
            LinearPart { weight, bias: None, transposed: false }
        };
        let parts = vec![part("mean", 0.3), part("log_variance", 1.7)];
        let spec = LinearSpec { parts, gated: false, scale: 1.0 };
        let posterior = b.pack(&spec, Format::F32).unwrap();
        let scores = LinearSpec::single(host(&[5, 3], 0.9).named("scores"), None);
        Self { posterior, scores: b.pack(&scores, Format::F32).unwrap(), b }
    }

    fn posteriors(&self) -> Tensor<Reference> {
        let x = self.b.upload(&host(&[2, 4], 0.1)).unwrap();
        self.b.linear(&x, &self.posterior, Epilogue::NONE).unwrap()
    }

    /// The loss of a draw, with its divergence.
    fn loss(&self) -> (f64, Divergence) {
        let posteriors = self.posteriors();
        let z = self.b.draw(&posteriors, &NOISE).unwrap();
        let logits = self.b.linear(&z, &self.scores, Epilogue::NONE).unwrap();
        let loss = self.b.cross_entropy(&logits, &[Some(1), Some(4)], Smoothing::None).unwrap();
        (loss.sum, self.b.divergence(&posteriors, &WEIGHT).unwrap())
    }
}

#[test]
fn gradients_flow_through_the_draw_and_from_the_divergence() {
    const STEP: f32 = 1e-2;
    let encoder = Encoder::new(0.0);
    encoder.b.begin(None);
    let (loss, divergence) = encoder.loss();
    encoder.b.backward().unwrap();
    let gradient = super::gradient(&encoder.b, "log_variance").unwrap()[5];
    let at = |change| {
        let (loss, divergence) = Encoder::new(change).loss();
        loss + divergence.penalty
    };
    let expected = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
    assert!((f64::from(gradient) - expected).abs() < 1e-3, "{gradient} {expected}");
    // A pass that is not recorded has the same numbers.
    assert_eq!((loss, divergence), encoder.loss());
    assert!(super::gradient(&encoder.b, "mean").unwrap().iter().any(|g| *g != 0.0));
}

#[test]
fn a_draw_of_another_pass_and_noise_that_does_not_fit_are_errors() {
    let encoder = Encoder::new(0.0);
    encoder.b.begin(None);
    let posteriors = encoder.posteriors();
    assert!(encoder.b.draw(&posteriors, &NOISE[1..]).is_err());
    encoder.b.begin(None);
    let error = encoder.b.draw(&posteriors, &NOISE).err().unwrap().to_string();
    assert!(error.contains("another pass"), "{error}");
}
