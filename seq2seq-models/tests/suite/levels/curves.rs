//! A hundred steps of training give PyTorch's losses, with the optimisers of PyTorch and transformers, accumulation,
//! clipping and a schedule.

use crate::support::{self, fixtures_with, label};
use seq2seq_core::{
    autodiff::Optimiser,
    train::{Adafactor, AdamW},
};
use seq2seq_models::{
    Forward, Learner,
    train::{
        Batch, PassOptions,
        schedule::{Decay, Schedule},
    },
};
use serde::Deserialize;
use std::collections::HashMap;

/// Of the loss of a step.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Curves {
    settings: Settings,
    batches: Vec<Rows>,
    adamw: Vec<f64>,
    adafactor: Vec<f64>,
}

#[derive(Deserialize)]
struct Settings {
    rate: f64,
    /// What matrices are multiplied by first.
    matrices: f32,
    decay: f64,
    betas: [f64; 2],
    eps: f64,
    clip: f64,
    warmup: u64,
    adafactor_eps: f32,
    steps: u64,
    accumulate: usize,
}

#[derive(Deserialize)]
struct Rows {
    input_ids: Vec<Vec<u32>>,
    decoder_input_ids: Option<Vec<Vec<u32>>>,
    targets: Vec<Vec<u32>>,
}

impl Rows {
    fn batch(&self) -> Batch {
        Batch {
            input: Forward {
                input_ids: self.input_ids.clone(),
                decoder_input_ids: self.decoder_input_ids.clone(),
                ..Forward::default()
            },
            targets: self.targets.concat().into_iter().map(Some).collect(),
        }
    }
}

#[test]
fn a_hundred_steps_give_the_losses_of_pytorch() {
    let mut worst = (0.0, String::new());
    let fixtures = fixtures_with("curves.json");
    assert!(fixtures.len() >= 5);
    for fixture in fixtures {
        let text = std::fs::read(fixture.folder.join("curves.json")).unwrap();
        let Curves { settings, batches, adamw, adafactor } = serde_json::from_slice(&text).unwrap();
        let batches: Vec<Batch> = batches.iter().map(Rows::batch).collect();
        // The plain reference is slow, and gradients.rs holds it to PyTorch.
        let options = support::backends().pop().unwrap();
        for (kind, expected) in [("adamw", adamw), ("adafactor", adafactor)] {
            let name = format!("{} {} {kind}", fixture.name, label(&options));
            let learner = Learner::load(&fixture.folder, &options).unwrap();
            scale_matrices(&learner, settings.matrices);
            let losses = train(&learner, &settings, &batches, kind == "adamw");
            assert_eq!(losses.len(), expected.len());
            for (step, (got, want)) in losses.iter().zip(&expected).enumerate() {
                let off = (got - want).abs() / want;
                assert!(off < TOLERANCE, "{name}: step {step}: {got}, expected {want}");
                worst = if off > worst.0 { (off, format!("{name} {step}")) } else { worst };
            }
        }
    }
    println!("largest error: {:e} in {}", worst.0, worst.1);
}

fn train(learner: &Learner, settings: &Settings, batches: &[Batch], adamw: bool) -> Vec<f64> {
    let schedule = Schedule {
        decay: Decay::Linear { min_ratio: 0.0 },
        warmup: settings.warmup,
        steps: settings.steps,
    };
    let mut taken = batches.iter().cycle();
    let mut losses = Vec::new();
    for step in 0..settings.steps {
        let (mut sum, mut tokens) = (0.0, 0);
        for batch in taken.by_ref().take(settings.accumulate) {
            let loss = learner.learn(batch, &PassOptions::default()).unwrap();
            sum += loss.sum;
            tokens += loss.tokens;
        }
        let norm = learner.gradient_norm().unwrap() / tokens as f64;
        // PyTorch adds 1e-6 to the norm.
        let clipped = (settings.clip / (norm + 1e-6)).min(1.0);
        let gradient_scale = (clipped / tokens as f64) as f32;
        let rate = (settings.rate * schedule.factor(step)) as f32;
        let (decay, step) = (settings.decay as f32, step as u32 + 1);
        let optimiser = match adamw {
            true => Optimiser::AdamW(AdamW {
                rate,
                betas: settings.betas,
                eps: settings.eps as f32,
                decay,
                step,
                gradient_scale,
            }),
            false => Optimiser::Adafactor(Adafactor {
                rate,
                decay,
                step,
                gradient_scale,
                eps: [settings.adafactor_eps, 1e-3],
                ..Adafactor::default()
            }),
        };
        learner.step(&optimiser).unwrap();
        losses.push(sum / tokens as f64);
    }
    losses
}

fn scale_matrices(learner: &Learner, factor: f32) {
    let matrices = learner.parameters().into_iter().filter(|p| p.shape.len() > 1);
    let scaled = matrices.map(|p| {
        let values = learner.value(&p.name).unwrap();
        (p.name, values.iter().map(|v| factor * v).collect::<Vec<_>>())
    });
    let scaled: HashMap<_, _> = scaled.collect();
    learner.set_values(|name| Ok(scaled.get(name).cloned())).unwrap();
}
