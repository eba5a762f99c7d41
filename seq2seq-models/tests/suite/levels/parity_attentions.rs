//! The same attention as transformers: cross-attention of every row of every fixture that has some, and the self-attention
//! of decoder-only models.

use crate::support::{backends, fixtures_with, label};
use safetensors::SafeTensors;
use seq2seq_models::{
    Files, Model, Prompt,
    generate::{GenerationConfig, Plan},
    trace::Traced,
};

const TOLERANCE: f32 = 1e-4;

/// The attention of the last id of `target`, `[layer][head][source position]`, the last two flattened.
fn last_row(model: &Model, source: &[u32], target: &[u32]) -> Vec<Vec<f32>> {
    let prompt = Prompt { input_ids: source.into(), decoder_input_ids: Some(target.into()) };
    // What a prompt does not begin with is put before it.
    let config = GenerationConfig {
        decoder_start_token_id: target.first().copied(),
        num_beams: Some(1),
        num_return_sequences: Some(1),
        max_new_tokens: Some(1),
        ..GenerationConfig::default()
    };
    let layers = model.decoding().with(&config).unwrap();
    let plan = Plan::new(&layers, &model.context().unwrap(), &[prompt]).unwrap().with_weights();
    let mut rows = model.run(&plan, &mut ()).unwrap();
    rows[0].swap_remove(0).weights.unwrap().swap_remove(0)
}

#[test]
fn weights_match_transformers() {
    let mut compared = 0;
    for fixture in fixtures_with("attentions.safetensors") {
        let bytes = std::fs::read(fixture.folder.join("attentions.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (request, _) = fixture.forward();
        let targets = request.decoder_input_ids.unwrap();
        for options in backends() {
            let model = fixture.load(&options);
            if !model.plan().generates() {
                continue;
            }
            for (i, (source, target)) in request.input_ids.iter().zip(&targets).enumerate() {
                for t in 0..target.len() {
                    let layers = last_row(&model, source, &target[..=t]);
                    for (layer, got) in layers.iter().enumerate() {
                        let tensor = file.tensor(&format!("cross_attentions.{layer}")).unwrap();
                        let [_, heads, rows, width] = tensor.shape().try_into().unwrap();
                        assert_eq!(got.len(), heads * source.len(), "{}", fixture.name);
                        let values = tensor.data().as_chunks::<4>().0;
                        for (h, got) in got.chunks(source.len()).enumerate() {
                            let row = ((i * heads + h) * rows + t) * width;
                            for (g, want) in got.iter().zip(&values[row..row + source.len()]) {
                                let error = (g - f32::from_le_bytes(*want)).abs();
                                let what = format!("{} {}", fixture.name, label(&options));
                                assert!(error <= TOLERANCE, "{what}: {g}, off by {error}");
                                compared += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 1000, "{compared} weights");
}

#[test]
fn self_attention_matches_transformers() {
    let mut compared = 0;
    for fixture in fixtures_with("self_attentions.safetensors") {
        let bytes = std::fs::read(fixture.folder.join("self_attentions.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (request, _) = fixture.forward();
        for options in backends() {
            let traced = Traced::load(Files::folder(&fixture.folder).unwrap(), &options).unwrap();
            for (i, ids) in request.input_ids.iter().enumerate() {
                // All positions, and the later ones alone.
                for first in [0, ids.len() / 2] {
                    let layers = traced.self_attention(ids, first).unwrap();
                    assert_eq!(layers.len(), file.len(), "{}", fixture.name);
                    for (layer, got) in layers.iter().enumerate() {
                        let tensor = file.tensor(&format!("self_attentions.{layer}")).unwrap();
                        let [_, heads, rows, width] = tensor.shape().try_into().unwrap();
                        assert_eq!(got.len(), (ids.len() - first) * heads * ids.len());
                        let values = tensor.data().as_chunks::<4>().0;
                        for (n, got) in got.chunks(ids.len()).enumerate() {
                            let (t, h) = (first + n / heads, n % heads);
                            let row = ((i * heads + h) * rows + t) * width;
                            for (g, want) in got.iter().zip(&values[row..row + ids.len()]) {
                                let error = (g - f32::from_le_bytes(*want)).abs();
                                let what = format!("{} {}", fixture.name, label(&options));
                                assert!(error <= TOLERANCE, "{what}: {g}, off by {error}");
                                compared += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 1000, "{compared} weights");
}
