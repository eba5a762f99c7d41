//! A sequence gives the same bits alone, in any batch, on any number of threads, in every format.

use crate::support::{backends, fixtures_with, label, with_format};
use seq2seq_core::Format;
use seq2seq_models::{
    Device, Forward, ForwardOutput, LoadOptions, Model, Prompt, generate::GenerationConfig,
};

fn all() -> impl Iterator<Item = LoadOptions> {
    backends().into_iter().flat_map(|o| Format::ALL.map(|format| with_format(&o, format)))
}

/// The request for one row of a batch.
fn single(request: &Forward, i: usize) -> Forward {
    let pick = |rows: &Vec<Vec<u32>>| vec![rows[i].clone()];
    Forward {
        input_ids: pick(&request.input_ids),
        token_type_ids: request.token_type_ids.as_ref().map(pick),
        decoder_input_ids: request.decoder_input_ids.as_ref().map(pick),
    }
}

/// The bits of what a batch gave for one of its rows.
fn bits(output: &ForwardOutput, i: usize) -> Vec<u32> {
    let before: usize = output.rows[..i].iter().sum();
    let range = before * output.width..(before + output.rows[i]) * output.width;
    output.values[range].iter().map(|v| v.to_bits()).collect()
}

#[test]
fn alone_as_in_a_batch() {
    for fixture in fixtures_with("forward.safetensors") {
        let (request, _) = fixture.forward();
        for options in all() {
            let model = fixture.load(&options);
            let batch = model.forward(&request).unwrap();
            for i in 0..request.input_ids.len() {
                let alone = model.forward(&single(&request, i)).unwrap();
                for (batch, alone) in batch.iter().zip(&alone) {
                    let what =
                        format!("{} {} row {i} {}", fixture.name, batch.name, label(&options));
                    assert_eq!(bits(batch, i), bits(alone, 0), "{what}");
                }
            }
        }
    }
}

fn write(model: &Model, prompts: &[Prompt], num_beams: usize) -> Vec<Vec<(Vec<u32>, u32)>> {
    let config = GenerationConfig {
        num_beams: Some(num_beams),
        num_return_sequences: Some(num_beams),
        max_new_tokens: Some(8),
        ..GenerationConfig::default()
    };
    let rows = model.generate(prompts, &config, &mut ()).unwrap();
    rows.into_iter().map(|r| r.into_iter().map(|g| (g.ids, g.score.to_bits())).collect()).collect()
}

#[test]
fn texts_do_not_depend_on_their_batch() {
    for fixture in fixtures_with("generate.json") {
        let (request, _) = fixture.forward();
        let prompts: Vec<Prompt> = request.input_ids.into_iter().map(Prompt::new).collect();
        for options in all() {
            let model = fixture.load(&options);
            for beams in [1, 3] {
                let batch = write(&model, &prompts, beams);
                for (i, prompt) in prompts.iter().enumerate() {
                    let alone = write(&model, std::slice::from_ref(prompt), beams);
                    assert_eq!(alone[0], batch[i], "{} {} row {i}", fixture.name, label(&options));
                }
            }
        }
    }
}

#[test]
fn threads_do_not_matter() {
    for fixture in fixtures_with("forward.safetensors") {
        let (request, _) = fixture.forward();
        for options in all().filter(|o| o.device == Device::Cpu) {
            let run = |threads| {
                let options = LoadOptions { threads: Some(threads), ..options.clone() };
                let outputs = fixture.load(&options).forward(&request).unwrap();
                outputs.iter().map(|o| o.values.iter().map(|v| v.to_bits()).collect()).collect()
            };
            let one: Vec<Vec<u32>> = run(1);
            for threads in [2, 3] {
                assert_eq!(run(threads), one, "{} {}", fixture.name, label(&options));
            }
        }
    }
}
