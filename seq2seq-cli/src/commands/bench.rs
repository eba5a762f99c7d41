//! `bench`: how fast a model is.

use crate::{
    cli::{BenchArgs, Global},
    failure::{Failure, Result},
    load,
};
use seq2seq_models::{Forward, Model, Prompt, generate::GenerationConfig};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

#[derive(Debug, Serialize)]
struct Report {
    /// The median.
    seconds: f64,
    tokens_per_second: f64,
    /// Each run.
    runs: Vec<f64>,
    load_seconds: f64,
    /// The run before those, which finds everything cold.
    first_seconds: f64,
    /// Bytes of the weights that are packed or kept in their own memory.
    weight_bytes: usize,
    /// Bytes of the tables that rows are looked up in and that are no output layer; on the processor the file's own pages, as
    /// far as they are read.
    table_bytes: usize,
    family: String,
    parameters: usize,
    format: &'static str,
    device: String,
    batch: usize,
    source: usize,
    new: usize,
    num_beams: usize,
}

/// What is timed: new tokens and beams; a model that writes nothing, or is to write nothing, reads.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Case {
    new: usize,
    beams: usize,
}

impl Case {
    /// Each number of beams with each number of new tokens. What only reads is one case, however many there would be.
    fn all(args: &BenchArgs, generates: bool) -> Vec<Self> {
        if !generates {
            return vec![Self { new: 0, beams: 1 }];
        }
        let with = |beams: &NonZeroUsize| {
            args.new.iter().map(|&new| Self { new, beams: beams.get() }).collect::<Vec<_>>()
        };
        args.num_beams.iter().flat_map(with).collect()
    }
}

pub(super) fn run(global: &Global, args: &BenchArgs) -> Result<()> {
    let start = Instant::now();
    let model = load::model(global)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let ids = random_ids(&model, args)?;
    for case in Case::all(args, model.plan().generates()) {
        let (first_seconds, runs) = time(&model, &ids, case, args.runs)?;
        let seconds = median(&runs);
        let tokens = args.batch.get() * if case.new > 0 { case.new } else { args.source.get() };
        let report = Report {
            seconds,
            tokens_per_second: tokens as f64 / seconds,
            runs,
            load_seconds,
            first_seconds,
            weight_bytes: model.bytes() - model.table_bytes(),
            table_bytes: model.table_bytes(),
            family: model.family().to_string(),
            parameters: model.parameters(),
            format: model.format().name(),
            device: model.device(),
            batch: args.batch.get(),
            source: args.source.get(),
            new: case.new,
            num_beams: case.beams,
        };
        print(&report, args.json)?;
    }
    Ok(())
}

/// The seconds of a run that also warms up, and of each one behind it.
fn time(
    model: &Model,
    ids: &[Vec<u32>],
    case: Case,
    runs: NonZeroUsize,
) -> Result<(f64, Vec<f64>)> {
    let once = || match case.new {
        0 => forward(model, ids),
        _ => generate(model, ids, case),
    };
    let first = once()?.as_secs_f64();
    // Nothing is taken for runs to come: they may be more than there is memory for.
    let mut seconds = Vec::new();
    for _ in 0..runs.get() {
        seconds.push(once()?.as_secs_f64());
    }
    Ok((first, seconds))
}

fn print(report: &Report, json: bool) -> Result<()> {
    let mut output = crate::output::Output::open(None)?;
    if json {
        output.json(report)?;
        return output.finish();
    }
    let Report { seconds, tokens_per_second, runs, family, parameters, format, device, .. } =
        report;
    let (least, most) = runs.iter().fold((f64::MAX, 0f64), |(l, m), &s| (l.min(s), m.max(s)));
    output.text(&format!("{family}, {parameters} parameters, {format}, {device}\n"))?;
    if report.new > 0 {
        output.text(&format!("{} new tokens, beams {}\n", report.new, report.num_beams))?;
    }
    output
        .text(&format!("median of {}: {seconds:.6} s ({least:.6} to {most:.6})\n", runs.len()))?;
    output.text(&format!("{tokens_per_second:.1} tokens/s\n"))?;
    output.finish()
}

/// Exactly `case.new` ids for each sequence, whatever the model would like.
fn generate(model: &Model, ids: &[Vec<u32>], case: Case) -> Result<Duration> {
    let config = GenerationConfig {
        max_new_tokens: Some(case.new),
        min_new_tokens: Some(case.new),
        num_beams: Some(case.beams),
        num_return_sequences: Some(1),
        do_sample: Some(false),
        ..GenerationConfig::default()
    };
    let prompts: Vec<Prompt> = ids.iter().map(|ids| Prompt::new(ids.clone())).collect();
    let start = Instant::now();
    let results = model.generate(&prompts, &config, &mut ())?;
    let seconds = start.elapsed();
    let given = usize::from(model.plan().is_encoder_decoder());
    match results.iter().flatten().find(|g| g.ids.len() != case.new + given) {
        None => Ok(seconds),
        Some(g) => Err(Failure::Other(format!(
            "a sequence came to {} new tokens in place of {}",
            g.ids.len().saturating_sub(given),
            case.new
        ))),
    }
}

fn forward(model: &Model, ids: &[Vec<u32>]) -> Result<Duration> {
    let start = model.decoding().config().decoder_start_token_id.unwrap_or(0);
    let decoder_input_ids = model.plan().is_encoder_decoder().then(|| vec![vec![start]; ids.len()]);
    let request = Forward { input_ids: ids.to_vec(), token_type_ids: None, decoder_input_ids };
    let start = Instant::now();
    model.forward(&request)?;
    Ok(start.elapsed())
}

/// Ids that are no special tokens: those would end texts or be passed over.
fn random_ids(model: &Model, args: &BenchArgs) -> Result<Vec<Vec<u32>>> {
    let vocab = model.plan().input_vocab();
    let special = special_ids(model);
    let usable: Vec<u32> =
        (4..u32::try_from(vocab).unwrap_or(u32::MAX)).filter(|id| !special.contains(id)).collect();
    if usable.is_empty() {
        return Err(Failure::input(format!("a vocabulary of {vocab} has no ids to draw from")));
    }
    let mut random = SplitMix(args.seed);
    let mut row = || {
        (0..args.source.get())
            .map(|_| usable[(random.next() % usable.len() as u64) as usize])
            .collect()
    };
    Ok((0..args.batch.get()).map(|_| row()).collect())
}

fn special_ids(model: &Model) -> BTreeSet<u32> {
    let config = model.decoding().config();
    let eos = config.eos_token_id.map(|ids| ids.0).unwrap_or_default();
    eos.into_iter()
        .chain(config.pad_token_id)
        .chain(config.bos_token_id)
        .chain(config.decoder_start_token_id)
        .collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

/// SplitMix64 (Steele et al. 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix(0);
        assert_eq!([random.next(), random.next()], [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4]);
    }
}
