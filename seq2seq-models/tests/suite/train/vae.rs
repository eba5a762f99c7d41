//! Sentence variational autoencoders: trained on a small grammar, sampled from, and gone on with.

use super::trainer::{Work, copy, train, weights};
use seq2seq_models::{
    Error, Model, Prompt, Tokenizer,
    generate::GenerationConfig,
    model::between,
    train::{
        Annealing, Evaluation, Observer, SamplingSettings, Settings, Trainer, VaeSettings,
        settings::ObjectiveSettings,
    },
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

/// Every sentence of a small grammar: who, and what it does.
fn sentences() -> Vec<String> {
    let does = ["sits", "naps", "runs"];
    ["cat", "dog", "owl"].iter().flat_map(|who| does.map(|d| format!("{who} {d}"))).collect()
}

fn settings(work: &Work, vae: VaeSettings) -> Settings {
    let rows: String =
        sentences().iter().map(|s| format!("{}\n", serde_json::json!({"text": s}))).collect();
    let path = work.path("texts.jsonl");
    fs::write(&path, rows).unwrap();
    let mut settings = work.settings("rnn");
    (settings.train, settings.valid) = (vec![path.clone()], vec![path]);
    settings.architecture =
        "embedding_size = 24\nhidden_size = 64\nlatent = { size = 4 }".parse().unwrap();
    settings.data.objective = ObjectiveSettings::Vae(vae);
    settings.data.batch_tokens = 400;
    settings.evaluation.generate = 9;
    settings
}

/// Keeps what evaluations found.
#[derive(Default)]
struct Found(Vec<Evaluation>);

impl Observer for Found {
    fn evaluated(&mut self, evaluation: &Evaluation, _: bool) {
        self.0.push(evaluation.clone());
    }
}

fn texts(model: &Model, points: &[Vec<f32>]) -> Vec<String> {
    let tokenizer = Tokenizer::from_files(model.files()).unwrap();
    let config = GenerationConfig { max_new_tokens: Some(40), ..GenerationConfig::default() };
    let written = model.generate_at(points, &config, &mut ()).unwrap();
    written.iter().map(|w| tokenizer.decode(&w[0].ids, true).unwrap()).collect()
}

fn log(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("training/metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// It learns the sentences, and the space between them is made of sentences.
#[test]
fn sentences_become_points_of_a_space() {
    let work = Work::new();
    let vae = VaeSettings { weight: 0.02, free_bits: 0.0, word_dropout: 0.1, ..Default::default() };
    let mut settings = settings(&work, vae);
    (settings.steps, settings.evaluation.every, settings.save_every) = (600, Some(200), None);
    settings.optimiser.rate = Some(1e-2);
    let mut found = Found::default();
    Trainer::new(settings.clone(), false).unwrap().run(&mut found).unwrap();
    let [first, .., last] = &found.0[..] else { panic!("several evaluations") };
    let exact = |e: &Evaluation| e.scores.iter().find(|s| s.0 == "exact_match").unwrap().1;
    let latent = |e: &Evaluation| e.latent.unwrap();
    println!("{:?} {} to {:?} {}", latent(first), exact(first), latent(last), exact(last));
    assert!(exact(last) > 80.0 && exact(last) >= exact(first), "{}", exact(last));
    assert!(latent(last).reconstruction < 0.2, "{:?}", latent(last));
    // Points carry information: more than a nat a sentence; nine sentences have 2.2.
    assert!(latent(last).kl > 1.0, "{:?}", latent(last));
    let tokens = sentences().iter().map(|s| s.len() + 1).sum::<usize>() as f64;
    let bound = -latent(last).elbo * 9.0 / tokens;
    assert!((last.loss - bound).abs() < 1e-9 && last.perplexity == last.loss.exp());

    let model = Model::load(&settings.output, &Default::default()).unwrap();
    let tokenizer = Tokenizer::from_files(model.files()).unwrap();
    let ids = |text: &str| tokenizer.encode(text).unwrap().ids().to_vec();
    let ends = model.posteriors(&[ids("cat sits"), ids("owl runs")]).unwrap();
    let line = texts(&model, &between(&ends[0].mean, &ends[1].mean, 7).unwrap());
    println!("{line:#?}");
    let prompt = |text: &str| Prompt::new(ids(text));
    let prompts = [prompt("cat sits"), prompt("owl runs")];
    let again = model.generate(&prompts, &GenerationConfig::default(), &mut ()).unwrap();
    for (end, again) in [&line[0], &line[6]].into_iter().zip(&again) {
        assert_eq!(*end, tokenizer.decode(&again[0].ids, true).unwrap());
    }
    assert_ne!(line[0], line[6]);
    let words: BTreeSet<String> = sentences()
        .iter()
        .flat_map(|s| s.split(' ').map(String::from).collect::<Vec<_>>())
        .collect();
    let share = |texts: &[String]| {
        let all: Vec<&str> = texts.iter().flat_map(|t| t.split(' ')).collect();
        all.iter().filter(|w| words.contains(**w)).count() as f64 / all.len() as f64
    };
    assert!(share(&line) > 0.8, "{line:?}");
    // The prior writes sentences, and not one alone.
    let drawn = texts(&model, &model.prior(20, 3).unwrap());
    println!("{drawn:#?}");
    assert!(share(&drawn) > 0.8, "{drawn:?}");
    assert!(drawn.iter().collect::<BTreeSet<_>>().len() > 3, "{drawn:?}");
}

/// Weight, divergence and reconstruction are in the log, and a training that was stopped goes on to the same bits.
#[test]
fn trainings_go_on_to_the_same_bits() {
    struct Stopped<'a>(&'a Path, &'a Path);
    impl Observer for Stopped<'_> {
        fn saved(&mut self, step: u64) {
            if step == 8 {
                copy(self.0, self.1);
            }
        }
    }
    let work = Work::new();
    let annealing = Annealing::Linear { steps: Some(10) };
    let vae = VaeSettings { annealing, free_bits: 0.5, word_dropout: 0.3, ..Default::default() };
    let mut settings = settings(&work, vae);
    settings.optimiser.accumulate = 2;
    let stopped = work.path("stopped");
    Trainer::new(settings.clone(), false)
        .unwrap()
        .run(&mut Stopped(&settings.output, &stopped))
        .unwrap();
    let resumed = Settings { output: stopped.clone(), threads: Some(1), ..settings.clone() };
    Trainer::new(resumed, true).unwrap().run(&mut ()).unwrap();
    assert!(weights(&stopped) == weights(&settings.output));
    let lines = log(&settings.output);
    let of = |lines: &[Value], event: &str, key: &str| -> Vec<f64> {
        lines.iter().filter(|l| l["event"] == event).map(|l| l[key].as_f64().unwrap()).collect()
    };
    // Lines are written every two steps; the weight is that of the step, counted from 0.
    assert_eq!(of(&lines, "train", "kl_weight"), [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]);
    for key in ["loss", "reconstruction", "kl"] {
        assert_eq!(of(&lines, "train", key), of(&log(&stopped), "train", key), "{key}");
    }
    for key in ["loss", "reconstruction", "kl", "elbo"] {
        assert_eq!(of(&lines, "evaluate", key), of(&log(&stopped), "evaluate", key), "{key}");
    }
    // Words that are dropped, the weight and the free bits each make another training. As early as this all of the divergence
    // is free at half a nat, whatever its weight.
    let mut made = vec![weights(&settings.output)];
    for other in [
        VaeSettings { word_dropout: 0.0, ..vae },
        VaeSettings { free_bits: 0.0, ..vae },
        VaeSettings { free_bits: 0.0, annealing: Annealing::Constant {}, ..vae },
    ] {
        let mut other_settings = Settings { output: work.path("other"), ..settings.clone() };
        other_settings.data.objective = ObjectiveSettings::Vae(other);
        train(&other_settings);
        made.push(weights(&other_settings.output));
        fs::remove_dir_all(&other_settings.output).unwrap();
    }
    for (i, one) in made.iter().enumerate() {
        assert!(!made[..i].contains(one), "{i}");
    }
}

fn error(settings: Settings) -> String {
    let error: Result<Trainer, Error> = Trainer::new(settings, false);
    error.err().expect("an error").to_string()
}

#[test]
fn what_does_not_go_together_is_named() {
    let work = Work::new();
    let settings = settings(&work, VaeSettings::default());
    let with = |architecture: &str| Settings {
        architecture: architecture.parse().unwrap(),
        ..settings.clone()
    };
    let message = error(with("attention = 'bahdanau'"));
    assert!(message.contains("lead past the latent"), "{message}");
    let message = error(Settings { family: Some("t5".into()), ..with("") });
    assert!(message.contains("family rnn"), "{message}");
    let mut write = with("latent = { size = 4 }");
    write.data.objective = ObjectiveSettings::Write {};
    let message = error(write);
    assert!(message.contains("learns by 'vae'"), "{message}");
    let sampling = Some(SamplingSettings::default());
    let message = error(Settings { sampling, ..settings.clone() });
    assert!(message.contains("do not go together"), "{message}");
    let mut negative = settings.clone();
    negative.data.objective =
        ObjectiveSettings::Vae(VaeSettings { free_bits: -1.0, ..VaeSettings::default() });
    assert!(error(negative).contains("'data.objective.free_bits' is -1"));
    // A model that has no latent cannot be trained further by it.
    let plain = work.settings("rnn");
    train(&plain);
    let further = Settings {
        family: None,
        model: Some(plain.output.clone()),
        output: work.path("further"),
        architecture: Default::default(),
        ..settings.clone()
    };
    assert!(error(further).contains("no latent"));
    // Where nothing is said, a new model has a latent of 32, and pairs are learned from too.
    let pairs = Settings {
        train: plain.train.clone(),
        valid: plain.valid.clone(),
        output: work.path("pairs"),
        steps: 2,
        ..with("embedding_size = 16\nhidden_size = 32")
    };
    train(&pairs);
    let model = Model::load(&pairs.output, &Default::default()).unwrap();
    assert_eq!(model.latent_size(), Some(32));
    assert!(model.plan().recurrent.as_ref().unwrap().input_feeding);
}

/// A loss that is no number ends the training; the model that there was stays.
#[test]
fn a_bound_that_is_no_number_stops() {
    let work = Work::new();
    let mut settings = settings(&work, VaeSettings::default());
    settings.optimiser.clip = 0.0;
    settings.optimiser.rate = Some(1e30);
    settings.schedule.warmup = Some(0);
    settings.evaluation.every = Some(100);
    settings.steps = 100;
    let message = Trainer::new(settings, false).unwrap().run(&mut ()).unwrap_err().to_string();
    assert!(message.contains("step") && message.contains("texts.jsonl"), "{message}");
}
