//! Whole models: a pass over sentences, and decoding, in every format on the processor.
//!
//! The model is the small T5 that the program embeds, or the folder that `SEQ2SEQ_BENCH_MODEL` names; `SEQ2SEQ_BENCH_THREADS` as for
//! operations. What real models do beside other engines is measured by `benches/peers`.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seq2seq_benches::environment::{threads, variable};
use seq2seq_core::Format;
use seq2seq_models::{
    Forward, LoadOptions, Model, Prompt,
    generate::{GenerationConfig, TokenIds},
};
use std::time::Duration;

/// Tokens of a source, and new ones.
const SOURCE: usize = 32;
const NEW: usize = 32;

/// Seeded ids that are all in the vocabulary.
fn sources(model: &Model, count: usize) -> Vec<Vec<u32>> {
    let vocabulary = model.plan().input_vocab() as u32;
    let id = |i: u32| 3 + i.wrapping_mul(2_654_435_761) % (vocabulary - 3);
    let row = |n: usize| (0..SOURCE).map(|i| id((n * SOURCE + i) as u32)).collect();
    (0..count).map(row).collect()
}

/// One pass over sentences; a decoder is given one token of each.
fn forward(model: &Model, batch: usize) -> impl FnMut() + use<> {
    let encoder_decoder = model.plan().is_encoder_decoder();
    let request = Forward {
        input_ids: sources(model, batch),
        decoder_input_ids: encoder_decoder.then(|| vec![vec![0]; batch]),
        ..Forward::default()
    };
    let model = model.clone();
    move || drop(model.forward(&request).expect("valid ids"))
}

/// `NEW` tokens for each source, whatever the model would like.
fn decode(model: &Model, batch: usize, beams: usize) -> impl FnMut() + use<> {
    let prompts: Vec<Prompt> = sources(model, batch).into_iter().map(Prompt::new).collect();
    let config = GenerationConfig {
        max_new_tokens: Some(NEW),
        eos_token_id: Some(TokenIds(Vec::new())),
        num_beams: Some(beams),
        do_sample: Some(false),
        ..GenerationConfig::default()
    };
    let model = model.clone();
    move || drop(model.generate(&prompts, &config, &mut ()).expect("valid prompts"))
}

fn models(c: &mut Criterion) {
    let embedded = concat!(env!("CARGO_MANIFEST_DIR"), "/../seq2seq-cli/default-model");
    let folder = variable("SEQ2SEQ_BENCH_MODEL").unwrap_or_else(|| embedded.into());
    for format in Format::ALL {
        let options = LoadOptions { format, threads: Some(threads()), ..LoadOptions::default() };
        let model = Model::load(&folder, &options).unwrap_or_else(|error| panic!("{error}"));
        let mut group = c.benchmark_group(format!("models/{format}"));
        let mut time = |name: &str, tokens: usize, mut run: Box<dyn FnMut()>| {
            group.throughput(Throughput::Elements(tokens as u64));
            group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(&mut run));
        };
        for batch in [1, 8] {
            let tokens = batch * SOURCE;
            let name = format!("forward {batch}x{SOURCE}");
            time(&name, tokens, Box::new(forward(&model, batch)));
        }
        if !model.plan().generates() {
            continue;
        }
        for (batch, beams) in [(1, 1), (8, 1), (1, 4), (8, 4)] {
            let how = if beams == 1 { "greedy".into() } else { format!("beam{beams}") };
            let name = format!("{how} {batch}x{SOURCE}->{NEW}");
            time(&name, batch * NEW, Box::new(decode(&model, batch, beams)));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = models
}
criterion_main!(benches);
