//! Dropout at the places where transformers has it: loss and gradients of a pass in which PyTorch drops the elements that
//! the engine drops (`fixtures/fixture_kit/dropout.py`).

use crate::support::{
    backends, fixtures_with, label,
    passes::{floats, gradients},
};
use safetensors::SafeTensors;
use seq2seq_core::train::Smoothing;
use seq2seq_models::{
    Forward, Learner,
    train::{Batch, PassOptions},
};
use std::collections::HashMap;

/// Of the largest of a tensor.
const TOLERANCE: f32 = 1e-3;

fn integers(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<usize>, Vec<u32>)> {
    let tensor = file.tensor(name).ok()?;
    let ids = tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
    Some((tensor.shape().to_vec(), ids.map(|id| u32::try_from(id).unwrap()).collect()))
}

fn batch(file: &SafeTensors<'_>) -> Batch {
    let rows = |name: &str| {
        let (shape, ids) = integers(file, name)?;
        Some(ids.chunks(shape[1]).map(<[u32]>::to_vec).collect::<Vec<_>>())
    };
    let input = Forward {
        input_ids: rows("input_ids").unwrap(),
        decoder_input_ids: rows("decoder_input_ids"),
        ..Forward::default()
    };
    let (_, targets) = integers(file, "labels").unwrap();
    Batch { input, targets: targets.into_iter().map(Some).collect() }
}

#[test]
fn elements_are_dropped_where_transformers_drops_them() {
    let fixtures = fixtures_with("dropout.safetensors");
    assert!(fixtures.len() > 10);
    for fixture in fixtures {
        let bytes = std::fs::read(fixture.folder.join("dropout.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata: HashMap<String, String> = metadata.metadata().clone().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let weights = "model.safetensors";
        std::fs::copy(fixture.folder.join(weights), folder.path().join(weights)).unwrap();
        let mut config = fixture.json("config.json");
        for (key, rate) in metadata.iter().filter_map(|(k, v)| Some((k.strip_prefix("rate.")?, v)))
        {
            config[key] = rate.parse::<f64>().unwrap().into();
        }
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let dropout = Some((metadata["seed"].parse().unwrap(), metadata["step"].parse().unwrap()));
        let (batch, wanted) = (batch(&file), gradients(&file));
        let expected = f64::from(floats(file.tensor("loss").unwrap().data())[0]);
        for options in backends() {
            let name = format!("{} {}", fixture.name, label(&options));
            let learner = Learner::load(folder.path(), &options).unwrap();
            let pass = PassOptions { dropout, ..PassOptions::default() };
            let loss = learner.learn(&batch, &pass).unwrap().sum;
            assert!((loss - expected).abs() < 1e-5 * expected, "{name}: {loss}, not {expected}");
            let without = learner.evaluate(&batch, Smoothing::None).unwrap().sum;
            assert!((loss - without).abs() > 1e-3 * loss, "{name}: nothing was dropped");
            let mut compared = 0;
            for parameter in learner.parameters() {
                let Some(want) = wanted.get(&parameter.name) else { continue };
                let got = learner.gradient(&parameter.name).unwrap();
                let got = got.unwrap_or_else(|| vec![0.0; want.len()]);
                let largest = want.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                let off = got.iter().zip(want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs()));
                // A gradient that vanishes in exact arithmetic is noise on both sides.
                let bound = if largest > 1e-5 { TOLERANCE * largest } else { 1e-4 };
                assert!(off < bound, "{name} {}: {off} of {largest}", parameter.name);
                compared += 1;
            }
            assert_eq!(compared, wanted.len(), "{name}");
        }
    }
}
