//! The fixtures: tiny checkpoints and what transformers computes with them (`fixtures/README.md`).

pub(crate) mod ahead;
pub(crate) mod passes;
pub(crate) mod weights;

use safetensors::{Dtype, SafeTensors};
use seq2seq_core::Format;
use seq2seq_models::{Forward, Generated, LoadOptions, Model};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The folder of a fixture.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Every fixture that has `file`, in order. There must be some.
pub(crate) fn fixtures_with(file: &str) -> Vec<Fixture> {
    let mut found: Vec<Fixture> = std::fs::read_dir(root())
        .expect("fixtures")
        .map(|entry| entry.expect("fixture").path())
        .filter(|folder| folder.join(file).is_file())
        .map(|folder| Fixture {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            folder,
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!found.is_empty(), "no fixture has {file}");
    found
}

pub(crate) fn fixture(name: &str) -> Fixture {
    Fixture { name: name.into(), folder: root().join(name) }
}

/// The backends that tests run on: the one in plain loops, the CPU's at every level that this machine has, or
/// at the one that `SEQ2SEQ_CPU_ISA` forces, and libtorch in f64 where it is built in.
pub(crate) fn backends() -> Vec<LoadOptions> {
    let exact = cfg!(feature = "tch").then(|| on("tch:cpu:exact"));
    std::iter::once(on("reference")).chain(exact).chain(cpu_levels()).collect()
}

/// Those that compute as engines do: not the definitions in f64, which take minutes to write a few sentences, but for the one
/// in plain loops; and libtorch as PyTorch computes, which has not the same bits in another batch.
pub(crate) fn engines() -> Vec<LoadOptions> {
    let native = cfg!(feature = "tch").then(|| on("tch:cpu"));
    std::iter::once(on("reference")).chain(native).chain(cpu_levels()).collect()
}

fn on(device: &str) -> LoadOptions {
    let device = device.parse().expect("a device");
    LoadOptions { device, threads: Some(2), ..LoadOptions::default() }
}

fn cpu_levels() -> Vec<LoadOptions> {
    let forced = std::env::var("SEQ2SEQ_CPU_ISA").ok();
    let levels = match &forced {
        Some(isa) => vec![isa.clone()],
        None => ["scalar", "avx2", "avx512", "neon"].map(String::from).to_vec(),
    };
    let fixture = &fixtures_with("config.json")[0];
    let found: Vec<_> = levels
        .into_iter()
        .map(|isa| LoadOptions { isa: Some(isa), threads: Some(2), ..LoadOptions::default() })
        .filter(|options| forced.is_some() || Model::load(&fixture.folder, options).is_ok())
        .collect();
    assert_eq!(found.is_empty(), !cfg!(feature = "cpu"), "every machine has a level");
    found
}

pub(crate) fn label(options: &LoadOptions) -> String {
    let isa = options.isa.as_deref().unwrap_or("");
    format!("{} {isa} {}", options.device, options.format)
}

pub(crate) fn with_format(options: &LoadOptions, format: Format) -> LoadOptions {
    LoadOptions { format, ..options.clone() }
}

/// Whether a row was written as it was in another batch: to the bit, but for libtorch, which sums in another order for another
/// shape, and is asked for the same ids.
pub(crate) fn same_in_any_batch(model: &Model, one: &[Generated], other: &[Generated]) -> bool {
    match model.device().starts_with("libtorch") {
        true => one.iter().map(|g| &g.ids).eq(other.iter().map(|g| &g.ids)),
        false => one == other,
    }
}

impl Fixture {
    pub(crate) fn load(&self, options: &LoadOptions) -> Model {
        Model::load(&self.folder, options).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    pub(crate) fn json(&self, file: &str) -> serde_json::Value {
        let bytes = std::fs::read(self.folder.join(file)).expect(file);
        serde_json::from_slice(&bytes).expect(file)
    }

    /// The request of `forward.safetensors` and the results that it expects.
    pub(crate) fn forward(&self) -> (Forward, BTreeMap<String, Expected>) {
        let bytes =
            std::fs::read(self.folder.join("forward.safetensors")).expect("forward.safetensors");
        let file = SafeTensors::deserialize(&bytes).expect("forward.safetensors");
        let rows = |name: &str, mask: &str| {
            let (width, ids) = integers(&file, name)?;
            let mask = integers(&file, mask).map_or_else(|| vec![1; ids.len()], |(_, m)| m);
            Some(unpad(&ids, &mask, width))
        };
        let request = Forward {
            input_ids: rows("input_ids", "attention_mask").expect("input_ids"),
            token_type_ids: rows("token_type_ids", "attention_mask"),
            decoder_input_ids: rows("decoder_input_ids", "decoder_attention_mask"),
        };
        let expected = file.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix("expected.")?;
            assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
            let values = passes::floats(tensor.data());
            Some((name.into(), Expected { shape: tensor.shape().to_vec(), values }))
        });
        (request, expected.collect())
    }
}

/// A padded result of transformers, zero at padding.
pub(crate) struct Expected {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

fn integers(file: &SafeTensors<'_>, name: &str) -> Option<(usize, Vec<i64>)> {
    let tensor = file.tensor(name).ok()?;
    assert_eq!((tensor.dtype(), tensor.shape().len()), (Dtype::I64, 2), "{name}");
    let values = tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
    Some((tensor.shape()[1], values.collect()))
}

fn unpad(ids: &[i64], mask: &[i64], width: usize) -> Vec<Vec<u32>> {
    ids.chunks(width)
        .zip(mask.chunks(width))
        .map(|(ids, mask)| {
            let kept = ids.iter().zip(mask).filter(|(_, m)| **m != 0);
            kept.map(|(id, _)| u32::try_from(*id).expect("an id")).collect()
        })
        .collect()
}
