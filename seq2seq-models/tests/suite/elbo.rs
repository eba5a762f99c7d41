//! Variational autoencoders: the evidence lower bound and its gradients as PyTorch's autograd has them, and what is decoded
//! from points of the latent space.

use crate::support::{
    self, Fixture, backends, engines, fixture, fixtures_with, label,
    passes::{floats, gradients, targets},
    same_in_any_batch,
};
use safetensors::SafeTensors;
use seq2seq_core::train::{DivergenceWeight, Smoothing};
use seq2seq_models::{
    Error, Learner, Model, Prompt,
    generate::GenerationConfig,
    model::between,
    train::{Batch, LatentPass, PassOptions, Sampling},
};
use std::collections::BTreeMap;

/// Of the largest of a tensor.
const TOLERANCE: f32 = 1e-3;

/// What PyTorch computed of a fixture.
struct Expected {
    batch: Batch,
    noise: Vec<f32>,
    divergence: DivergenceWeight,
    loss: f64,
    reconstruction: f64,
    kl: f64,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn expected(fixture: &Fixture) -> Expected {
    let bytes = std::fs::read(fixture.folder.join("elbo.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let setting =
        |name: &str| -> f64 { metadata.metadata().as_ref().unwrap()[name].parse().unwrap() };
    let number = |name: &str| f64::from(floats(file.tensor(name).unwrap().data())[0]);
    let (input, _) = fixture.forward();
    // Rows that have no target at all are padding or ignored, both `None` here.
    let targets = targets(&file, &input);
    Expected {
        batch: Batch { input, targets },
        noise: floats(file.tensor("noise").unwrap().data()),
        divergence: DivergenceWeight {
            weight: setting("kl_weight"),
            free_bits: setting("free_bits"),
        },
        loss: number("loss"),
        reconstruction: number("reconstruction"),
        kl: number("kl"),
        gradients: gradients(&file),
    }
}

#[test]
fn the_bound_and_its_gradients_match_pytorch() {
    for fixture in fixtures_with("elbo.safetensors") {
        let expected = expected(&fixture);
        for options in backends() {
            let name = format!("{} {}", fixture.name, label(&options));
            let learner = Learner::load(&fixture.folder, &options).unwrap();
            let latent = LatentPass { noise: &expected.noise, divergence: expected.divergence };
            let elbo =
                learner.learn_latent(&expected.batch, &PassOptions::default(), &latent).unwrap();
            for (what, got, want) in [
                ("loss", elbo.loss(), expected.loss),
                ("reconstruction", elbo.reconstruction.sum, expected.reconstruction),
                ("divergence", elbo.divergence.sum, expected.kl),
            ] {
                assert!((got - want).abs() < 1e-5 * want, "{name}: {what} {got}, expected {want}");
            }
            assert_eq!(elbo.sequences, expected.batch.input.input_ids.len());
            let again = learner.evaluate_latent(&expected.batch, &expected.noise).unwrap();
            assert_eq!(again.divergence.sum, elbo.divergence.sum, "{name}");
            assert_eq!(again.divergence.penalty, elbo.divergence.sum, "{name}");
            let bound = expected.reconstruction + expected.kl;
            assert!((again.bound() - bound).abs() < 1e-5 * bound, "{name}");
            let mut trained = Vec::new();
            for parameter in learner.parameters() {
                let Some(got) = learner.gradient(&parameter.name).unwrap() else { continue };
                let want = &expected.gradients[&parameter.name];
                assert_eq!(got.len(), want.len(), "{name} {}", parameter.name);
                let largest = want.iter().fold(1e-5f32, |a, v| a.max(v.abs()));
                let off = got.iter().zip(want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs()));
                assert!(off < TOLERANCE * largest, "{name} {}: {off}", parameter.name);
                trained.push(parameter.name);
            }
            trained.sort();
            assert!(trained.iter().eq(expected.gradients.keys()), "{name}: {trained:?}");
        }
    }
}

/// A pass without noise decodes from the means, and without a divergence it is the loss alone.
#[test]
fn a_plain_pass_decodes_from_the_means() {
    for fixture in fixtures_with("elbo.safetensors") {
        let Expected { batch, noise, .. } = expected(&fixture);
        let learner = Learner::load(&fixture.folder, &backends()[0]).unwrap();
        let plain = learner.learn(&batch, &PassOptions::default()).unwrap();
        learner.clear_gradients();
        let none = vec![0.0; noise.len()];
        let divergence = DivergenceWeight { weight: 0.0, free_bits: 0.0 };
        let latent = LatentPass { noise: &none, divergence };
        let elbo = learner.learn_latent(&batch, &PassOptions::default(), &latent).unwrap();
        assert_eq!(elbo.reconstruction, plain, "{}", fixture.name);
        assert_eq!(elbo.divergence.penalty, 0.0);
        assert_eq!(learner.evaluate(&batch, Smoothing::None).unwrap(), plain);
    }
}

fn short() -> GenerationConfig {
    GenerationConfig { max_new_tokens: Some(12), ..GenerationConfig::default() }
}

#[test]
fn points_are_decoded_as_their_sources_are() {
    for fixture in fixtures_with("elbo.safetensors") {
        let (request, _) = fixture.forward();
        let sources = request.input_ids;
        let prompts: Vec<Prompt> = sources.iter().map(|s| Prompt::new(s.clone())).collect();
        for options in engines() {
            let model = fixture.load(&options);
            let posteriors = model.posteriors(&sources).unwrap();
            let means: Vec<Vec<f32>> = posteriors.iter().map(|p| p.mean.clone()).collect();
            assert_eq!(Some(means[0].len()), model.latent_size());
            assert_eq!(posteriors[0].log_variance.len(), means[0].len());
            for config in [short(), GenerationConfig { num_beams: Some(3), ..short() }] {
                let expected = model.generate(&prompts, &config, &mut ()).unwrap();
                let found = model.generate_at(&means, &config, &mut ()).unwrap();
                assert_eq!(found, expected, "{} {}", fixture.name, label(&options));
            }
            // Every point of a line can be decoded; its ends are the sources again.
            let line = between(&means[0], &means[1], 5).unwrap();
            let written = model.generate_at(&line, &short(), &mut ()).unwrap();
            let ends = model.generate(&prompts[..2], &short(), &mut ()).unwrap();
            for (at, end) in [(&written[0], &ends[0]), (&written[4], &ends[1])] {
                let same = same_in_any_batch(&model, at, end);
                assert!(same, "{} {}: {at:?}, not {end:?}", fixture.name, label(&options));
            }
            // Draws of the prior are those of the seed, and more of them begin with the same ones.
            let drawn = model.prior(4, 9).unwrap();
            assert_eq!(drawn[..2], model.prior(2, 9).unwrap());
            assert_ne!(drawn, model.prior(4, 10).unwrap());
            assert_eq!(model.generate_at(&drawn, &short(), &mut ()).unwrap().len(), 4);
        }
    }
}

fn says<T>(result: Result<T, Error>, words: &str) {
    let error = result.err().expect("an error").to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn what_cannot_be_is_an_error() {
    let options = engines().swap_remove(0);
    let plain = Model::load(fixture("rnn_gru_fixed").folder, &options).unwrap();
    assert_eq!(plain.latent_size(), None);
    says(plain.prior(1, 1), "no latent");
    says(plain.posteriors(&[vec![4]]), "no latent");
    says(plain.generate_at(&[vec![0.0]], &short(), &mut ()), "no latent");
    let transformer = Model::load(fixture("t5_v1_0").folder, &options).unwrap();
    says(transformer.posteriors(&[vec![4]]), "no latent");
    says(transformer.generate_at(&[vec![0.0]], &short(), &mut ()), "no latent");

    let fixture = fixture("rnn_lstm_latent");
    let model = Model::load(&fixture.folder, &options).unwrap();
    let point = vec![0.0; 7];
    says(model.generate_at(&[point.clone(), vec![0.0; 6]], &short(), &mut ()), "point 1 has 6");
    let mut broken = point.clone();
    broken[3] = f32::NAN;
    says(model.generate_at(&[broken], &short(), &mut ()), "point 0: coordinate 3 is NaN");
    says(model.generate_at(&[], &short(), &mut ()), "no points");
    says(model.posteriors(&[]), "no sequences");
    let context = model.context().unwrap();
    let plan = model.plan_at(model.decoding(), &context, 2).unwrap();
    says(model.run_at(&plan, &[point], &mut ()), "a plan for 2 points");

    let Expected { batch, noise, divergence, .. } = expected(&fixture);
    let learner = Learner::load(&fixture.folder, &options).unwrap();
    let latent = LatentPass { noise: &noise[1..], divergence };
    says(learner.learn_latent(&batch, &PassOptions::default(), &latent), "numbers of noise");
    let sampling = Some(Sampling { probability: 0.5, seed: 1, pass: 1 });
    let sampled = PassOptions { sampling, ..PassOptions::default() };
    let latent = LatentPass { noise: &noise, divergence };
    says(learner.learn_latent(&batch, &sampled, &latent), "scheduled sampling");
    // The learner is whole after all of them.
    learner.learn_latent(&batch, &PassOptions::default(), &latent).unwrap();
    for name in ["rnn_lstm_fixed", "gpt2"] {
        let other = Learner::load(support::fixture(name).folder, &options).unwrap();
        says(other.evaluate_latent(&batch, &noise), "no latent");
    }
}
