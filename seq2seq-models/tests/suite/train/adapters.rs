//! Trainings of adapters: the model that they make, what is saved of them, and going on.

use super::trainer::{Work, train, weights};
use seq2seq_models::{
    Forward, Learner, LoadOptions, Model,
    train::{LoraOptions, Observer, Settings, StepReport, Trainer, settings::AverageSettings},
};
use std::{ops::ControlFlow, path::Path};

fn scores(model: &Model) -> Vec<f32> {
    let input = Forward {
        input_ids: vec![vec![5, 6, 7], vec![8, 9]],
        decoder_input_ids: Some(vec![vec![0, 6], vec![0, 9, 8]]),
        ..Forward::default()
    };
    model.forward(&input).unwrap().into_iter().flat_map(|out| out.values).collect()
}

fn load(folder: &Path) -> Model {
    Model::load(folder, &LoadOptions::default()).unwrap()
}

/// Settings of adapters on a T5 that was trained a little.
fn adapted(work: &Work) -> Settings {
    let base = work.settings("t5");
    train(&base);
    let mut settings = Settings {
        model: Some(base.output.clone()),
        family: None,
        architecture: Default::default(),
        output: work.path("adapted"),
        lora: Some(LoraOptions {
            rank: 2,
            targets: vec!["*.attention.*".into(), "*.ffn.*".into()],
            ..LoraOptions::default()
        }),
        ..base
    };
    settings.optimiser.rate = Some(1e-2);
    settings.average = Some(AverageSettings { decay: 0.5, every: 2 });
    settings
}

#[test]
fn the_model_is_the_base_with_its_adapters() {
    let work = Work::new();
    let settings = adapted(&work);
    train(&settings);
    let base = settings.model.unwrap();
    let (before, merged) = (scores(&load(&base)), scores(&load(&settings.output)));
    let off = |x: &[f32]| {
        let difference = x.iter().zip(&merged).map(|(a, b)| (a - b).abs());
        difference.fold(0.0, f32::max)
    };
    assert!(off(&before) > 1e-2, "nothing was learned");
    // What is beside the model, put on the base, is the model.
    let mut learner = Learner::load(&base, &LoadOptions::default()).unwrap();
    learner.load_lora(settings.output.join("adapter")).unwrap();
    learner.merge_lora().unwrap();
    let folder = work.path("merged");
    learner.save(&folder, settings.save_as).unwrap();
    assert_eq!(off(&scores(&load(&folder))), 0.0);
}

/// Going on, the number of threads and checkpointing change no bit; dropout within adapters changes what is learned.
#[test]
fn adapters_go_on_where_they_were_stopped() {
    struct Break;
    impl Observer for Break {
        fn stepped(&mut self, report: &StepReport) -> ControlFlow<()> {
            if report.step == 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let work = Work::new();
    let file = |folder: &Path, name| std::fs::read(folder.join("adapter").join(name)).unwrap();
    let mut seen = Vec::new();
    let plain = adapted(&work);
    for dropout in [0.0, 0.3] {
        let lora = plain.lora.clone().map(|lora| LoraOptions { dropout, ..lora });
        let output = work.path(&format!("adapted {dropout}"));
        let settings = Settings { lora, output, ..plain.clone() };
        train(&settings);
        let broken = Settings {
            output: work.path(&format!("broken {dropout}")),
            threads: Some(1),
            checkpointing: true,
            ..settings.clone()
        };
        Trainer::new(broken.clone(), false).unwrap().run(&mut Break).unwrap();
        Trainer::new(broken.clone(), true).unwrap().run(&mut ()).unwrap();
        assert!(weights(&broken.output) == weights(&settings.output), "{dropout}");
        let adapter = |folder: &Path| file(folder, "adapter_model.safetensors");
        assert!(adapter(&broken.output) == adapter(&settings.output), "{dropout}");
        let config = file(&settings.output, "adapter_config.json");
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert!((config["lora_dropout"].as_f64().unwrap() - f64::from(dropout)).abs() < 1e-6);
        seen.push(adapter(&settings.output));
    }
    assert!(seen[0] != seen[1], "nothing was dropped");
}

#[test]
fn adapters_are_for_a_model_that_there_is() {
    let work = Work::new();
    let settings = Settings { lora: Some(LoraOptions::default()), ..work.settings("t5") };
    let error = settings.check().unwrap_err().to_string();
    assert!(error.contains("'lora'") && error.contains("'model'"), "{error}");
    let mut settings = adapted(&work);
    settings.lora = Some(LoraOptions { targets: vec!["*.queries".into()], ..Default::default() });
    let error = Trainer::new(settings, false).err().unwrap().to_string();
    assert!(error.contains("'*.queries' matches no linear layer"), "{error}");
}
