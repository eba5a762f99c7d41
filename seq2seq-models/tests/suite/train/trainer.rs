//! Whole trainings: they learn, they serve, and they go on where they were stopped.

use seq2seq_models::{
    Device, Forward, Learner, LoadOptions, Model, Prompt, Tokenizer,
    generate::GenerationConfig,
    train::{
        Observer, Settings, StepReport, Trainer,
        settings::{AverageSettings, GroupSettings, ObjectiveSettings, OptimiserKind, SavedType},
        trainer::End,
    },
};
use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Words and themselves backwards.
fn rows(count: usize) -> String {
    let word = |i: usize| -> String {
        let letters = ["ab", "ba", "cd", "dc", "ad"];
        format!("{}{}", letters[i % 5], letters[i / 5 % 5])
    };
    let row = |i| format!("{}\t{}\n", word(i), word(i).chars().rev().collect::<String>());
    (0..count).map(row).collect()
}

pub(super) struct Work {
    folder: TempDir,
}

impl Work {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train.tsv"), rows(40)).unwrap();
        fs::write(folder.path().join("valid.tsv"), rows(10)).unwrap();
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A model of some thousand weights.
    pub(super) fn settings(&self, family: &str) -> Settings {
        let architecture = match family {
            "t5" => {
                "d_model = 32\nd_kv = 8\nd_ff = 64\nnum_heads = 4\nnum_layers = 1\nnum_decoder_layers = 1"
            }
            "bart" => {
                "d_model = 32\nencoder_layers = 1\ndecoder_layers = 1\nencoder_ffn_dim = 64\n\
                 decoder_ffn_dim = 64\nencoder_attention_heads = 4\ndecoder_attention_heads = 4"
            }
            "gpt2" => "resid_pdrop = 0.1\nn_embd = 32\nn_layer = 1\nn_head = 4",
            _ => "embedding_size = 16\nhidden_size = 32",
        };
        let mut settings = Settings {
            train: vec![self.path("train.tsv")],
            valid: vec![self.path("valid.tsv")],
            output: self.path("out"),
            family: Some(family.into()),
            steps: 12,
            architecture: architecture.parse().unwrap(),
            threads: Some(2),
            ..Settings::default()
        };
        settings.data.batch_tokens = 100;
        settings.evaluation.every = Some(5);
        settings.evaluation.generate = 4;
        settings.save_every = Some(4);
        settings.log_every = 2;
        settings
    }
}

pub(super) fn train(settings: &Settings) -> End {
    Trainer::new(settings.clone(), false).unwrap().run(&mut ()).unwrap()
}

pub(super) fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

/// Copies the output as it is when a checkpoint has been written, as a machine that stops leaves it.
struct Stopped<'a> {
    at: u64,
    from: &'a Path,
    to: &'a Path,
}

impl Observer for Stopped<'_> {
    fn saved(&mut self, step: u64) {
        if step == self.at {
            copy(self.from, self.to);
        }
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_trained_model_serves() {
    let work = Work::new();
    let mut settings = work.settings("t5");
    (settings.steps, settings.evaluation.every) = (300, Some(300));
    settings.architecture.set("dropout_rate", 0.0).unwrap();
    assert_eq!(train(&settings), End::Done);
    let model = Model::load(&settings.output, &LoadOptions::default()).unwrap();
    let tokenizer = Tokenizer::from_files(model.files()).unwrap();
    let input_ids = tokenizer.encode("abcd").unwrap().ids().to_vec();
    let prompt = Prompt::new(input_ids);
    let written = model.generate(&[prompt], &GenerationConfig::default(), &mut ()).unwrap();
    assert_eq!(tokenizer.decode(&written[0][0].ids, true).unwrap(), "dcba");
    let log = fs::read_to_string(settings.output.join("training/metrics.jsonl")).unwrap();
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("\"event\":\"evaluate\"") && last.contains("\"exact_match\":100"),
        "{last}"
    );
    // The settings that were written are those that make the model again.
    let written = settings.output.join("training/config.toml");
    let again =
        Settings::from_toml(Some(&written), &[format!("output={}", work.path("2").display())]);
    train(&again.unwrap());
    assert!(weights(&work.path("2")) == weights(&settings.output));
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_bits() {
    for family in ["t5", "gpt2"] {
        let work = Work::new();
        let mut settings = work.settings(family);
        settings.optimiser.accumulate = 2;
        settings.average = Some(AverageSettings { decay: 0.9, every: 2 });
        let stopped = work.path("stopped");
        let mut observer = Stopped { at: 8, from: &settings.output, to: &stopped };
        Trainer::new(settings.clone(), false).unwrap().run(&mut observer).unwrap();
        // Later lines are in the log already, and half a line.
        let log = stopped.join("training/metrics.jsonl");
        let lines = fs::read_to_string(&log).unwrap();
        fs::write(&log, lines + "{\"event\":\"train\",\"step\":10,\"loss\":1.0}\n{\"eve").unwrap();
        let resumed = Settings { output: stopped.clone(), threads: Some(1), ..settings.clone() };
        let mut trainer = Trainer::new(resumed, true).unwrap();
        assert_eq!(trainer.progress().step, 8);
        assert_eq!(trainer.run(&mut ()).unwrap(), End::Done);
        drop(trainer);
        assert!(weights(&stopped) == weights(&settings.output), "{family}");
        let values = |folder: &Path| {
            let log = fs::read_to_string(folder.join("training/metrics.jsonl")).unwrap();
            let line = |line: &str| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                // Times differ from run to run.
                for key in ["seconds", "tokens_per_second"] {
                    line.as_object_mut().unwrap().remove(key);
                }
                line
            };
            log.lines().map(line).collect::<Vec<_>>()
        };
        assert_eq!(values(&stopped), values(&settings.output), "{family}");
        // There is nothing left to be done.
        let again = Settings { output: stopped.clone(), ..settings.clone() };
        assert_eq!(Trainer::new(again, true).unwrap().run(&mut ()).unwrap(), End::Done);
    }
}

#[test]
fn optimisers_resume_and_threads_do_not_matter() {
    for kind in [OptimiserKind::Sgd, OptimiserKind::Adafactor, OptimiserKind::Muon] {
        let work = Work::new();
        let mut settings = work.settings("bart");
        settings.valid.clear();
        settings.optimiser.kind = kind;
        let names = vec!["*.embed_positions.weight".into(), "model.shared.weight".into()];
        let kind = Some(OptimiserKind::AdamW);
        settings.groups =
            vec![GroupSettings { names, rate: 0.5, decay: None, kind, frozen: false }];
        train(&settings);
        let broken = Settings { output: work.path("broken"), threads: Some(1), ..settings.clone() };
        struct Break(u64);
        impl Observer for Break {
            fn stepped(&mut self, report: &StepReport) -> ControlFlow<()> {
                match report.step == self.0 {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            }
        }
        let end = Trainer::new(broken.clone(), false).unwrap().run(&mut Break(6)).unwrap();
        assert_eq!(end, End::BrokenOff);
        Trainer::new(broken.clone(), true).unwrap().run(&mut ()).unwrap();
        assert!(weights(&broken.output) == weights(&settings.output), "{kind:?}");
    }
}

/// The weights have the same bits, so a training may go on with it or without.
#[test]
fn checkpointing_is_a_matter_of_memory() {
    let work = Work::new();
    for family in ["t5", "gpt2"] {
        let kept = Settings { output: work.path(family), ..work.settings(family) };
        train(&kept);
        let output = work.path(&format!("{family} again"));
        let again = Settings { output, checkpointing: true, threads: Some(1), ..kept.clone() };
        train(&again);
        assert!(weights(&again.output) == weights(&kept.output), "{family}");
        let resumed = Settings { checkpointing: false, steps: 14, ..again };
        assert_eq!(Trainer::new(resumed, true).unwrap().run(&mut ()).unwrap(), End::Done);
    }
    let settings = Settings { checkpointing: true, ..work.settings("rnn") };
    let error = Trainer::new(settings, false).err().unwrap().to_string();
    assert!(error.contains("'checkpointing' is for transformers"), "{error}");
}

#[test]
fn what_cannot_be_gone_on_with_is_an_error() {
    let work = Work::new();
    let mut settings = work.settings("t5");
    let (names, kind) = (vec!["shared*".into()], None);
    settings.groups = vec![GroupSettings { names, rate: 1.5, decay: None, kind, frozen: false }];
    train(&settings);
    let error = |settings: &Settings, resume| match Trainer::new(settings.clone(), resume) {
        Ok(_) => panic!("it goes on"),
        Err(error) => error.to_string(),
    };
    let message = error(&settings, false);
    assert!(message.contains("--resume") && message.contains("removing this one"), "{message}");
    let other = Settings { seed: 2, ..settings.clone() };
    let message = error(&other, true);
    assert!(message.contains("another 'seed': 1 then, 2 now"), "{message}");
    assert!(message.contains("a new folder or after removing this one"), "{message}");
    let mut others = settings.clone();
    (others.data.window, others.groups[0].rate) = (16, 7.0);
    others.schedule.warmup = Some(3);
    let message = error(&others, true);
    for said in [
        "another 'data.window': 4096 then, 16 now",
        "another 'parameters[0].rate': 1.5 then, 7.0 now",
        "another 'schedule.warmup': nothing then, 3 now",
    ] {
        assert!(message.contains(said) && !message.contains('{'), "{message}");
    }
    // More of it may be asked for.
    let more = Settings { steps: 14, ..settings.clone() };
    assert!(Trainer::new(more, true).is_ok());
    // And elsewhere.
    let elsewhere = Settings { device: Device::Reference, ..settings.clone() };
    assert!(Trainer::new(elsewhere, true).is_ok());
    fs::write(work.path("train.tsv"), rows(41)).unwrap();
    assert!(error(&settings, true).contains("have changed since"));
    fs::write(work.path("train.tsv"), rows(40)).unwrap();

    let path = settings.output.join("training/checkpoint.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 1;
    for (bytes, says) in [
        (&flipped[..], "is damaged"),
        (&whole[..whole.len() - 9], "is truncated"),
        (&[], "header"),
        (&weights(&settings.output), "is no checkpoint of a training"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = error(&settings, true);
        assert!(message.contains(says) && message.contains("checkpoint.safetensors"), "{message}");
    }

    let elsewhere = Settings { output: work.path("full"), ..settings };
    fs::create_dir(&elsewhere.output).unwrap();
    fs::write(elsewhere.output.join("letter.txt"), "").unwrap();
    for resume in [false, true] {
        assert!(error(&elsewhere, resume).contains("something else"));
    }
    assert_eq!(fs::read_dir(&elsewhere.output).unwrap().count(), 1);
}

#[test]
fn one_training_at_a_time_runs_in_a_folder() {
    let work = Work::new();
    let settings = Settings { steps: 2, ..work.settings("t5") };
    let refused = |resume| match Trainer::new(settings.clone(), resume) {
        Ok(_) => panic!("two of them"),
        Err(error) => error.to_string(),
    };
    let mut first = Trainer::new(settings.clone(), false).unwrap();
    for resume in [false, true] {
        let error = refused(resume);
        assert!(error.contains("another training is running in this folder"), "{error}");
    }
    assert_eq!(first.run(&mut ()).unwrap(), End::Done);
    assert!(refused(true).contains("another training is running"));
    drop(first);
    assert!(refused(false).contains("--resume"));
    // What it leaves behind stops nobody.
    assert!(Trainer::new(settings, true).is_ok());
}

/// A training that soon comes to no numbers, with a checkpoint and an evaluation after every step.
fn diverging(work: &Work, rate: f64, warmup: u64) -> Settings {
    let mut settings = work.settings("t5");
    (settings.steps, settings.save_every) = (20, Some(1));
    (settings.evaluation.every, settings.evaluation.generate) = (Some(1), 0);
    settings.schedule.warmup = Some(warmup);
    (settings.optimiser.rate, settings.optimiser.clip) = (Some(rate), 0.0);
    settings.optimiser.kind = OptimiserKind::AdamW;
    let (names, kind) = (vec!["shared*".into()], None);
    settings.groups = vec![GroupSettings { names, rate: 1.0, decay: None, kind, frozen: false }];
    settings
}

/// Notes the model and the checkpoint as they are after every checkpoint.
struct Kept<'a> {
    folder: &'a Path,
    files: Vec<[Vec<u8>; 2]>,
}

impl Kept<'_> {
    fn files(folder: &Path) -> [Vec<u8>; 2] {
        ["model.safetensors", "training/checkpoint.safetensors"]
            .map(|name| fs::read(folder.join(name)).unwrap())
    }
}

impl Observer for Kept<'_> {
    fn saved(&mut self, step: u64) {
        self.files.push(Self::files(self.folder));
        assert_eq!(self.files.len() as u64, step);
    }
}

/// The error of a training, and the steps after which it left a checkpoint, which stays as it was.
fn diverges(settings: &Settings) -> (String, usize) {
    let mut kept = Kept { folder: &settings.output, files: Vec::new() };
    let mut trainer = Trainer::new(settings.clone(), false).unwrap();
    let error = trainer.run(&mut kept).unwrap_err().to_string();
    assert!(error.contains("in a new folder or after removing this one"), "{error}");
    assert!(error.contains(&format!("step {}: ", kept.files.len() + 1)), "{error}");
    if let Some(last) = kept.files.last() {
        assert!(&Kept::files(&settings.output) == last, "{error}");
    }
    (error, kept.files.len())
}

#[test]
fn a_loss_that_is_no_number_ends_the_training_and_spoils_nothing() {
    let work = Work::new();
    let mut settings = diverging(&work, 1e8, 6);
    settings.valid.clear();
    let (error, saved) = diverges(&settings);
    assert!(error.contains("train.tsv: line ") && error.contains(" in a batch of "), "{error}");
    assert!(saved > 0);
}

#[test]
fn an_evaluation_that_is_no_number_ends_the_training_and_spoils_nothing() {
    let work = Work::new();
    let settings = diverging(&work, 1e8, 6);
    let (error, saved) = diverges(&settings);
    assert!(error.contains("the loss of the evaluation is NaN"), "{error}");
    assert!(saved > 0);
    let log = fs::read_to_string(settings.output.join("training/metrics.jsonl")).unwrap();
    assert!(!log.contains("null"), "{log}");
    // The first of them.
    let settings = Settings { output: work.path("first"), ..diverging(&work, 1e18, 0) };
    let (error, saved) = diverges(&settings);
    assert!(error.contains("the loss of the evaluation is NaN"), "{error}");
    assert_eq!(saved, 0);
    assert!(!settings.output.join("model.safetensors").exists());
}

#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let work = Work::new();
    let group = |name: &str, rate, frozen| GroupSettings {
        names: vec![name.into()],
        rate,
        decay: None,
        kind: None,
        frozen,
    };
    let refused = |settings: &Settings, named: &str| {
        let (error, saved) = diverges(settings);
        assert!(error.contains("the parameter '") && error.contains(named), "{error}");
        assert_eq!(saved, 0);
        assert!(!settings.output.join("model.safetensors").exists());
    };
    // No backend looks at the weights of norms.
    let mut settings = Settings { output: work.path("norms"), ..diverging(&work, 3e38, 0) };
    settings.groups = vec![group("*", 1.0, true), group("*layer_norm.weight", 10.0, false)];
    refused(&settings, "layer_norm.weight' holds ");
    settings.output = work.path("not measured");
    settings.valid.clear();
    refused(&settings, "layer_norm.weight' holds ");
    // They look at matrices.
    let mut settings = Settings { output: work.path("matrices"), ..diverging(&work, 3e38, 0) };
    settings.optimiser.decay = 1e3;
    refused(&settings, "shared.weight' holds ");
}

#[test]
fn every_objective_learns() {
    let work = Work::new();
    let texts: String =
        (0..30).map(|i| format!("{{\"text\": \"{} ab cd. dc!\"}}\n", i % 7)).collect();
    fs::write(work.path("texts.jsonl"), &texts).unwrap();
    let fixture =
        |name: &str| Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name));
    let of_texts = |family: &str, objective: &str| {
        let mut settings = work.settings(family);
        settings.train = vec![work.path("texts.jsonl")];
        settings.valid = settings.train.clone();
        settings.data.objective =
            toml::from_str::<ObjectiveSettings>(&format!("kind = '{objective}'")).unwrap();
        settings.output = work.path(objective);
        settings.data.batch_tokens = 200;
        settings.steps = 40;
        settings.evaluation.every = Some(20);
        settings
    };
    let write = Settings { output: work.path("gpt2"), ..of_texts("gpt2", "write") };
    let mut masked = of_texts("", "masked_lm");
    (masked.family, masked.model) = (None, fixture("bert_masked_lm"));
    masked.architecture = Default::default();
    masked.optimiser.rate = Some(1e-2);
    let pairs = Settings { output: work.path("pairs"), ..work.settings("gpt2") };
    for settings in [write, of_texts("bart", "denoise"), of_texts("t5", "spans"), masked, pairs] {
        let mut trainer = Trainer::new(settings.clone(), false)
            .unwrap_or_else(|e| panic!("{:?}: {e}", settings.data.objective));
        trainer.run(&mut ()).unwrap();
        let log = fs::read_to_string(settings.output.join("training/metrics.jsonl")).unwrap();
        let losses: Vec<f64> = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|line| line["event"] == "train")
            .map(|line| line["loss"].as_f64().unwrap())
            .collect();
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.9 * first, "{:?}: {losses:?}", settings.data.objective);
    }
}

/// A decoder reads source and target as one.
#[test]
fn pairs_are_cut_to_what_a_decoder_reads() {
    let work = Work::new();
    let long = format!("{}\tab\n", "a".repeat(70));
    fs::write(work.path("train.tsv"), rows(10) + &long).unwrap();
    let mut settings = work.settings("gpt2");
    settings.architecture.set("n_positions", 64).unwrap();
    settings.data.max_source = Some(100);
    assert_eq!(train(&settings), End::Done);
}

#[test]
fn training_goes_on_from_a_checkpoint_of_half_width_numbers() {
    let work = Work::new();
    let mut first = work.settings("t5");
    first.save_as = SavedType::F16;
    train(&first);
    let mut second = work.settings("t5");
    (second.family, second.model) = (None, Some(first.output.clone()));
    second.architecture = Default::default();
    second.output = work.path("second");
    second.save_as = SavedType::Bf16;
    train(&second);
    let config = fs::read_to_string(second.output.join("config.json")).unwrap();
    assert!(config.contains("\"dtype\": \"bfloat16\""), "{config}");
    assert!(Model::load(&second.output, &LoadOptions::default()).is_ok());
}

#[test]
fn an_evaluation_that_becomes_no_better_ends_the_training() {
    let work = Work::new();
    let mut settings = work.settings("t5");
    settings.optimiser.rate = Some(0.0);
    settings.evaluation.every = Some(1);
    settings.evaluation.patience = Some(2);
    let mut trainer = Trainer::new(settings, false).unwrap();
    assert_eq!(trainer.run(&mut ()).unwrap(), End::NoBetter);
    assert_eq!(trainer.progress().step, 3);
}

/// What is the best by one measure says nothing about the best by another.
#[test]
fn the_best_by_another_measure_is_looked_for_anew() {
    let work = Work::new();
    let mut settings = work.settings("t5");
    (settings.steps, settings.evaluation.every) = (5, Some(5));
    settings.evaluation.best = "token_accuracy".into();
    train(&settings);
    let first = weights(&settings.output);
    let resumed = |settings: &Settings| {
        let mut trainer = Trainer::new(settings.clone(), true).unwrap();
        let before = trainer.progress().best;
        trainer.run(&mut ()).unwrap();
        (before.map(|best| best.step), trainer.progress().best.unwrap())
    };
    assert_eq!(resumed(&settings).0, Some(5));
    settings.steps = 10;
    settings.evaluation.best = "loss".into();
    let (before, best) = resumed(&settings);
    assert_eq!((before, best.step), (None, 10));
    assert!(best.goodness < 0.0);
    assert!(weights(&settings.output) != first);
    // Texts that are written in another way are compared by loss as before, and by their own metrics anew.
    settings.evaluation.num_beams = 2;
    assert_eq!(resumed(&settings).0, Some(10));
    (settings.steps, settings.evaluation.best) = (15, "chrf".into());
    assert_eq!(resumed(&settings).0, None);
    (settings.steps, settings.evaluation.num_beams) = (20, 1);
    assert_eq!(resumed(&settings).0, None);
}

#[test]
fn a_learner_saves_a_folder_or_nothing() {
    let work = Work::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bart_base");
    let learner = Learner::load(&fixture, &LoadOptions::default()).unwrap();
    learner.save(work.path("same"), SavedType::F32).unwrap();
    let forward = Forward {
        input_ids: vec![vec![4, 5, 6]],
        decoder_input_ids: Some(vec![vec![2, 4]]),
        ..Forward::default()
    };
    let logits = |folder: &Path| {
        let model = Model::load(folder, &LoadOptions::default()).unwrap();
        model.forward(&forward).unwrap()[0].values.clone()
    };
    // What is not trained, such as a bias of the logits, is there too.
    assert_eq!(logits(&work.path("same")), logits(&fixture));
    let error = learner.save(work.path("same"), SavedType::F32).unwrap_err().to_string();
    assert!(error.contains("holds something"), "{error}");
    let name = learner.parameters()[0].name.clone();
    let mut values = learner.value(&name).unwrap();
    values[0] = 1e6;
    learner.set_value(&name, &values).unwrap();
    let error = learner.save(work.path("half"), SavedType::F16).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("float16 cannot hold"), "{error}");
    assert!(!work.path("half").exists());
}
