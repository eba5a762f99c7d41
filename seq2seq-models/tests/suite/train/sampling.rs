//! Scheduled sampling: what the decoder reads, and trainings with it.

use super::{
    path,
    trainer::{Work, train, weights},
};
use seq2seq_core::{noise::gumbel, train::Loss};
use seq2seq_models::{
    Forward, Learner, LoadOptions,
    train::{
        Batch, Observer, PassOptions, Sampling, SamplingSettings, Settings, StepReport, Trainer,
        TruthDecay,
    },
};
use std::ops::ControlFlow;

/// Decoders that go step by step and such that read all at once, with and without attention.
const MODELS: [&str; 6] = [
    "rnn_lstm_bahdanau",
    "rnn_gru_luong_general",
    "rnn_lstm_luong_concat",
    "rnn_lstm_luong_dot",
    "rnn_lstm_fixed",
    "rnn_gru_fixed",
];

fn batch() -> Batch {
    Batch {
        input: Forward {
            input_ids: vec![vec![5, 6, 7, 8], vec![9, 4], vec![7]],
            decoder_input_ids: Some(vec![vec![1, 6, 9], vec![1, 7, 8, 4, 5], vec![1, 9]]),
            ..Forward::default()
        },
        targets: [6, 9, 2, 7, 8, 4, 5, 2, 9, 2].map(Some).to_vec(),
    }
}

fn learner(name: &str, threads: usize) -> Learner {
    let options = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    Learner::load(path(name), &options).unwrap()
}

fn sampled(probability: f64) -> PassOptions {
    let sampling = Some(Sampling { probability, seed: 11, pass: 2 });
    PassOptions { sampling, ..PassOptions::default() }
}

/// The loss, and the gradients of all parameters.
fn learn(learner: &Learner, batch: &Batch, options: &PassOptions) -> (Loss, Vec<Vec<f32>>) {
    let loss = learner.learn(batch, options).unwrap();
    let gradient = |name: &str| learner.gradient(name).unwrap().unwrap_or_default();
    let gradients = learner.parameters().iter().map(|p| gradient(&p.name)).collect();
    learner.clear_gradients();
    (loss, gradients)
}

/// What the decoder reads, drawn by plain passes: a token a pass.
fn drawn(learner: &Learner, batch: &Batch, sampling: &Sampling) -> Vec<Vec<u32>> {
    let mut seeds = sampling.seeds(&batch.input).into_iter();
    let targets = batch.input.decoder_input_ids.as_ref().unwrap();
    let of = |(source, target): (&Vec<u32>, &Vec<u32>)| {
        let mut read: Vec<u32> = Vec::new();
        for &given in target {
            read.push(match seeds.next().unwrap() {
                None => given,
                Some(seed) => {
                    let input = Forward {
                        input_ids: vec![source.clone()],
                        decoder_input_ids: Some(vec![read.clone()]),
                        ..Forward::default()
                    };
                    let logits = learner.forward(&input).unwrap().swap_remove(0);
                    let last = &logits.values[logits.values.len() - logits.width..];
                    let noisy = |id: u32| f64::from(last[id as usize]) + gumbel(seed, id);
                    let best = |a: &u32, b: &u32| noisy(*a).total_cmp(&noisy(*b));
                    (0..last.len() as u32).max_by(best).unwrap()
                }
            });
        }
        read
    };
    batch.input.input_ids.iter().zip(targets).map(of).collect()
}

#[test]
fn the_decoder_reads_what_it_would_have_written() {
    for name in MODELS {
        let learner = learner(name, 2);
        let plain = learn(&learner, &batch(), &PassOptions::default());
        assert_eq!(learn(&learner, &batch(), &sampled(0.0)), plain, "{name}");
        for probability in [0.5, 1.0] {
            let options = sampled(probability);
            let (loss, gradients) = learn(&learner, &batch(), &options);
            assert_ne!(loss.sum, plain.0.sum, "{name}");
            // Another number of threads, the same bits.
            let other = learn(&self::learner(name, 1), &batch(), &options);
            assert_eq!(other, (loss, gradients.clone()), "{name}");
            let mut read = batch();
            let own = drawn(&learner, &read, &options.sampling.unwrap());
            assert_ne!(Some(&own), read.input.decoder_input_ids.as_ref(), "{name}");
            read.input.decoder_input_ids = Some(own);
            let (expected, slopes) = learn(&learner, &read, &PassOptions::default());
            assert!((loss.sum - expected.sum).abs() < 1e-5 * expected.sum, "{name}: {loss:?}");
            for (got, want) in gradients.iter().zip(&slopes) {
                let largest = want.iter().fold(1e-3f32, |a, v| a.max(v.abs()));
                let off = got.iter().zip(want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs()));
                assert!(got.len() == want.len() && off < 1e-4 * largest, "{name}: {off}");
            }
        }
    }
    let error = learner("t5_v1_1", 1).learn(&batch(), &sampled(0.5)).unwrap_err().to_string();
    assert!(error.contains("recurrent decoders"), "{error}");
}

#[test]
fn trainings_with_it_go_on_to_the_same_bits() {
    struct Break;
    impl Observer for Break {
        fn stepped(&mut self, report: &StepReport) -> ControlFlow<()> {
            if report.step == 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let work = Work::new();
    let scheduled = |name: &str, probability| {
        let decay = TruthDecay::InverseSigmoid { k: 2.0 };
        let sampling = Some(SamplingSettings { probability, decay });
        Settings { sampling, output: work.path(name), ..work.settings("rnn") }
    };
    let whole = scheduled("whole", 0.5);
    train(&whole);
    let broken = Settings { output: work.path("broken"), threads: Some(1), ..whole.clone() };
    Trainer::new(broken.clone(), false).unwrap().run(&mut Break).unwrap();
    Trainer::new(broken.clone(), true).unwrap().run(&mut ()).unwrap();
    assert!(weights(&broken.output) == weights(&whole.output));
    // It is used, and a probability of 0 is none.
    let [none, never] = [work.settings("rnn"), scheduled("never", 0.0)];
    train(&none);
    train(&never);
    assert!(weights(&never.output) == weights(&none.output));
    assert!(weights(&whole.output) != weights(&none.output));
    let transformer = Settings { family: Some("t5".into()), ..work.settings("t5") };
    let settings = Settings { sampling: whole.sampling, output: work.path("t5"), ..transformer };
    let error = Trainer::new(settings, false).err().unwrap().to_string();
    assert!(error.contains("'sampling' is for recurrent decoders"), "{error}");
}
