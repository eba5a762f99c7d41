//! `train`: from rows to a model that serves.

mod curves;
mod watch;

use crate::{
    cli::{Global, TrainArgs},
    failure::{Failure, Result},
    interrupt::{self, Asked},
    load,
    output::Output,
};
use curves::Curves;
use seq2seq_models::{
    plan::{HeadKind, ModelPlan},
    train::{
        Settings,
        trainer::{End, Trainer},
    },
};
use std::{fmt::Write, path::Path};
use watch::Watch;

pub(super) fn run(global: &Global, args: &TrainArgs) -> Result<()> {
    let settings = settings(global, args)?;
    let folder = settings.output.clone();
    let mut trainer = Trainer::new(settings.clone(), args.resume)?;
    // Until here there is nothing to be lost.
    let asked = Asked::listen().unwrap_or_else(|error| {
        tracing::warn!("a signal ends the training without a checkpoint: {error}");
        Asked::default()
    });
    let mut watch = Watch::new(&settings, trainer.progress(), asked.clone());
    let end = trainer.run(&mut watch)?;
    watch.finish()?;
    report(&trainer, end, &folder)?;
    match (end, asked.signal()) {
        (End::BrokenOff, Some(signal)) => {
            // The folder is free for whoever goes on.
            drop(trainer);
            interrupt::end_by(signal)
        }
        _ => Ok(()),
    }
}

/// What the file, `--set` and the options say, the options last.
fn settings(global: &Global, args: &TrainArgs) -> Result<Settings> {
    if global.adapter.is_some() {
        return Err(Failure::input(
            "--adapter is not for training, which makes new ones with --set lora.rank=8",
        ));
    }
    if !global.module_formats.is_empty() || global.architecture.is_some() {
        return Err(Failure::input(
            "--module-format and --architecture are not for training; give --format f32 or bf16",
        ));
    }
    let mut settings = Settings::from_toml(args.config.as_deref(), &args.set)?;
    if !args.train.is_empty() {
        settings.train.clone_from(&args.train);
    }
    if !args.valid.is_empty() {
        settings.valid.clone_from(&args.valid);
    }
    if let Some(output) = &args.output {
        settings.output.clone_from(output);
    }
    if let Some(model) = &global.model {
        settings.model = Some(load::named(model)?.root().to_owned());
    }
    if let Some(family) = &args.family {
        settings.family = Some(family.clone());
    }
    if let Some(steps) = args.steps {
        (settings.steps, settings.minutes) = (steps.get(), None);
    }
    if args.minutes.is_some() {
        settings.minutes = args.minutes;
    }
    if let Some(every) = args.save_every {
        settings.save_every = Some(every.get());
    }
    if let Some(seed) = args.seed {
        settings.seed = seed;
    }
    if let Some(device) = global.device {
        settings.device = device;
    }
    if let Some(format) = global.format {
        settings.format = format;
    }
    if let Some(threads) = global.threads {
        settings.threads = Some(threads.get());
    }
    Ok(settings)
}

/// The command that runs such a model, and what it takes.
fn used_by(plan: &ModelPlan) -> (&'static str, &'static str) {
    match plan.head.kind {
        HeadKind::Language => ("generate", "TEXT"),
        HeadKind::MaskedLanguage => ("fill-mask", "TEXT"),
        HeadKind::Classify => ("classify", "TEXT"),
        HeadKind::Tag => ("tag", "TEXT"),
        HeadKind::Answer => ("answer", "--question TEXT --context TEXT"),
        HeadKind::Hidden | HeadKind::Replaced => ("embed", "TEXT"),
    }
}

/// Says how it ended, and draws the curves.
fn report(trainer: &Trainer, end: End, folder: &Path) -> Result<()> {
    let progress = trainer.progress();
    let mut text = String::new();
    let curves = Curves::read(&folder.join("training/metrics.jsonl"))?;
    curves.write_svg(&folder.join("training/curves.svg"))?;
    text.push_str(&curves.terminal());
    let why = match end {
        End::Done => "",
        End::NoBetter => ", as evaluations became no better",
        End::BrokenOff => ", ended by a signal",
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} steps in {:.0} s{why}; {} target tokens",
        progress.step, progress.seconds, progress.tokens
    );
    if let Some(best) = progress.best {
        let _ = writeln!(text, "best after step {}", best.step);
    }
    if end == End::BrokenOff {
        text.push_str("a checkpoint is saved: the same command with --resume goes on from it\n");
    } else {
        let (command, input) = used_by(trainer.learner().plan());
        let _ = writeln!(text, "seq2seq {command} --model {} {input}", folder.display());
    }
    let mut output = Output::open(None)?;
    output.text(&text)?;
    output.finish()
}
