//! The time of a training step: forward, backward, the norm of all gradients for clipping, AdamW, packing anew.
//!
//! `train_step FOLDER BATCHxSOURCE[->TARGET] [--device D] [--format f32|bf16] [--checkpointing] [--threads N] [--runs N] [--json]`; the
//! folder is a checkpoint of T5, GPT-2 or an LSTM with attention, such as `benches/peers/make_checkpoints.py` writes. Ids are seeded,
//! and nothing is dropped. On the processor the last line tells what share of the floor is reached: that is (2 operations a weight and
//! token forward and 4 back) /
//! peak + 28 bytes of AdamW a parameter / bandwidth. A GPU is still at AdamW when the next step begins, whose pass waits for it: whole
//! steps are right, parts of them are not.

use seq2seq_core::{Format, autodiff::Optimiser, train::AdamW};
use seq2seq_models::{
    Device, Forward, Learner, LoadOptions,
    train::{Batch, ParameterInfo, PassOptions},
};
use std::{error::Error, time::Instant};

/// AdamW reads parameter, gradient and two moments, and writes all but the gradient.
const OPTIMISER_BYTES: f64 = 28.0;

/// Tokens of a batch.
struct Shape {
    batch: usize,
    source: usize,
    target: Option<usize>,
}

impl Shape {
    fn parse(text: &str) -> Option<Self> {
        let (source, target) =
            text.split_once("->").map_or((text, None), |(source, target)| (source, Some(target)));
        let (batch, source) = source.split_once('x')?;
        let target = target.map(str::parse).transpose().ok()?;
        Some(Self { batch: batch.parse().ok()?, source: source.parse().ok()?, target })
    }

    /// Rows of seeded ids, and those that they are held to.
    fn batch(&self, vocabulary: usize) -> Batch {
        let mut state = 1u32;
        let mut row = |length| {
            (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    2 + (state >> 8) % (vocabulary as u32 - 2)
                })
                .collect::<Vec<u32>>()
        };
        let input_ids: Vec<_> = (0..self.batch).map(|_| row(self.source)).collect();
        let decoder_input_ids: Option<Vec<_>> =
            self.target.map(|length| (0..self.batch).map(|_| row(length)).collect());
        let held = decoder_input_ids.as_ref().unwrap_or(&input_ids);
        let next = |row: &Vec<u32>| {
            let ids = row.iter().skip(1).map(|&id| Some(id));
            ids.chain([Some(1)]).collect::<Vec<_>>()
        };
        let targets = held.iter().flat_map(next).collect();
        Batch { input: Forward { input_ids, decoder_input_ids, ..Forward::default() }, targets }
    }

    /// Tokens that a matrix multiplies; 0 for what is only looked up.
    fn tokens(&self, parameter: &ParameterInfo, tied: bool) -> usize {
        let (name, source) = (parameter.name.as_str(), self.batch * self.source);
        let target = self.target.map_or(source, |length| self.batch * length);
        let any = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        match parameter.shape.len() {
            2 if any(&["relative_attention_bias", "wpe.", "embed_tokens."]) => 0,
            2 if any(&["shared.", "wte."]) => target * usize::from(tied),
            2 if name.starts_with("encoder.") => source,
            2 if any(&["EncDecAttention.k.", "EncDecAttention.v.", "attention.key."]) => source,
            2 => target,
            _ => 0,
        }
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The most memory that this process has held, in bytes, where the system tells.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut positional, mut json, mut checkpointing) = (Vec::new(), false, false);
    let (mut format, mut threads, mut runs) = (Format::F32, None, 5usize);
    let mut device = Device::Cpu;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} takes a value"));
        match argument.as_str() {
            "--device" => device = value()?.parse()?,
            "--format" => format = value()?.parse()?,
            "--threads" => threads = Some(value()?.parse()?),
            "--runs" => runs = value()?.parse::<usize>()?.max(1),
            "--json" => json = true,
            "--checkpointing" => checkpointing = true,
            _ => positional.push(argument),
        }
    }
    let [folder, shape] = &positional[..] else {
        return Err("train_step FOLDER BATCHxSOURCE[->TARGET], and options".into());
    };
    let shape = Shape::parse(shape).ok_or("a batch is written as 8x64->64, or 4x128")?;
    let options = LoadOptions { device, format, threads, ..LoadOptions::default() };
    let learner = Learner::load(folder, &options)?;
    let parameters = learner.parameters();
    let vocabulary = learner.plan().output_vocab();
    let tied = !parameters.iter().any(|p| p.name.contains("lm_head"));
    let count: usize = parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    let operations: f64 = parameters
        .iter()
        .map(|p| 6.0 * (p.shape.iter().product::<usize>() * shape.tokens(p, tied)) as f64)
        .sum();
    let batch = shape.batch(vocabulary);
    let pass = PassOptions { checkpointing, ..PassOptions::default() };
    let mut phases = [const { Vec::new() }; 4];
    // Two steps come first: the state of the optimiser is made, and memory that later ones use again.
    for step in 0..runs + 2 {
        let start = Instant::now();
        let loss = learner.learn(&batch, &pass)?;
        let passed = start.elapsed().as_secs_f64();
        let scale = 1.0 / loss.tokens as f64;
        let norm = learner.gradient_norm()? * scale;
        let normed = start.elapsed().as_secs_f64();
        let gradient_scale = (scale * (1.0 / (norm + 1e-6)).min(1.0)) as f32;
        let step_number = step as u32 + 1;
        let adam = AdamW { rate: 1e-4, step: step_number, gradient_scale, ..AdamW::default() };
        learner.step(&Optimiser::AdamW(adam))?;
        let all = start.elapsed().as_secs_f64();
        if step >= 2 {
            let times = [all, passed, normed - passed, all - normed];
            phases.iter_mut().zip(times).for_each(|(phase, time)| phase.push(time));
        }
    }
    let bytes = OPTIMISER_BYTES * count as f64;
    let memory = peak_memory();
    if json {
        let report = serde_json::json!({
            "format": format.to_string(),
            "device": learner.device(),
            "seconds": phases[0],
            "pass": median(&phases[1]),
            "norm": median(&phases[2]),
            "step": median(&phases[3]),
            "parameters": count,
            "operations": operations,
            "optimiser_bytes": bytes,
            "peak_bytes": memory,
        });
        println!("{report}");
        return Ok(());
    }
    let [all, pass, norm, step] = phases.each_ref().map(|times| 1e3 * median(times));
    println!("{} {count} parameters, {:.0} G operations", learner.device(), operations / 1e9);
    println!(
        "step {all:.0} ms: forward and back {pass:.0}, norm {norm:.0}, AdamW and packing {step:.0}"
    );
    if let Some(memory) = memory {
        println!("peak memory {:.0} MB", memory / 1e6);
    }
    // Those of other devices are not measured.
    if device != Device::Cpu {
        return Ok(());
    }
    let limits = seq2seq_benches::limits::measure(threads.unwrap_or(2))?;
    let limit = |name: &str| limits.iter().find(|(n, _)| *n == name).map(|(_, rate)| *rate);
    let peak = limit(&format.to_string()).or(limit("f32")).ok_or("no peak")?;
    let floor = operations / peak + bytes / limit("bandwidth").ok_or("no bandwidth")?;
    println!("floor {:.0} ms: {:.0}% of it", 1e3 * floor, 1e5 * floor / all);
    Ok(())
}
