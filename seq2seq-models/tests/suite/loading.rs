//! Every way a model may be stored gives the same model; inspection tells what is there.

use crate::support::{fixture, fixtures_with};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use seq2seq_core::Format;
use seq2seq_models::{
    Device, Error, Files, ForwardOutput, LoadOptions, Model, checkpoint::Checkpoint,
    inspect::inspect,
};
use std::{borrow::Cow, collections::BTreeMap, fs};

fn options() -> LoadOptions {
    LoadOptions { device: Device::Reference, ..LoadOptions::default() }
}

/// The files of a fixture, its weights changed.
fn held(name: &str, change: impl Fn(&mut Tensors)) -> Files {
    let folder = fixture(name).folder;
    let read = |file: &str| fs::read(folder.join(file)).ok();
    let bytes = read("model.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file
        .iter()
        .map(|(n, t)| (n.to_string(), (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(n, (dtype, shape, data))| {
        (n, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let weights = safetensors::serialize(views, None).unwrap();
    let other = ["config.json", "generation_config.json"];
    let files = other.into_iter().filter_map(|n| Some((n, Cow::Owned(read(n)?))));
    Files::embedded("held", files.chain([("model.safetensors", Cow::Owned(weights))]))
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn results(name: &str, files: Files) -> Vec<ForwardOutput> {
    let model = Model::load_files(files, &options()).unwrap();
    model.forward(&fixture(name).forward().0).unwrap()
}

#[test]
fn a_program_may_hold_the_files_itself() {
    for name in ["t5_v1_0", "gpt2", "bert"] {
        let on_disk = results(name, Files::folder(fixture(name).folder).unwrap());
        let embedded = results(name, held(name, |_| ()));
        for (a, b) in on_disk.iter().zip(&embedded) {
            assert_eq!((a.name, &a.values), (b.name, &b.values));
        }
    }
}

/// The same weights, stored in `dtype`.
fn stored(tensors: &mut Tensors, dtype: Dtype) {
    for (kind, _, data) in tensors.values_mut().filter(|t| t.0 == Dtype::F32) {
        let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        *data = match dtype {
            Dtype::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        *kind = dtype;
    }
}

/// The same weights rounded as if they had been stored in `dtype`, but stored in f32.
fn rounded(tensors: &mut Tensors, dtype: Dtype) {
    for (kind, _, data) in tensors.values_mut().filter(|t| t.0 == Dtype::F32) {
        let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        *data = match dtype {
            Dtype::F16 => values.flat_map(|v| f16::from_f32(v).to_f32().to_le_bytes()).collect(),
            _ => values.flat_map(|v| bf16::from_f32(v).to_f32().to_le_bytes()).collect(),
        };
        *kind = Dtype::F32;
    }
}

#[test]
fn half_precision_widens_exactly() {
    for (name, dtype) in [("t5_v1_1", Dtype::F16), ("bart_base", Dtype::BF16), ("gpt2", Dtype::F16)]
    {
        let half = results(name, held(name, |t| stored(t, dtype)));
        let full = results(name, held(name, |t| rounded(t, dtype)));
        assert!(half.iter().zip(&full).all(|(a, b)| a.values == b.values), "{name} {dtype:?}");
    }
}

#[test]
fn prefixes_may_be_there_or_not() {
    let names = |from: &'static str, to: &'static str| {
        move |tensors: &mut Tensors| {
            *tensors = std::mem::take(tensors)
                .into_iter()
                .map(|(n, t)| (n.strip_prefix(from).map_or(n.clone(), |n| format!("{to}{n}")), t))
                .collect();
        }
    };
    for (name, prefix) in [
        ("bert_masked_lm", "bert."),
        ("roberta_token_classification", "roberta."),
        ("distilbert_sequence_classification", "distilbert."),
        ("gpt2", "transformer."),
        ("llama", "model."),
        ("bart_base", "model."),
        ("marian_shared", "model."),
    ] {
        let with = results(name, held(name, |_| ()));
        let without = results(name, held(name, names(prefix, "")));
        assert!(with.iter().zip(&without).all(|(a, b)| a.values == b.values), "{name}");
    }
    let bare = results("bert", held("bert", |_| ()));
    let prefixed = results("bert", held("bert", names("", "bert.")));
    assert!(bare.iter().zip(&prefixed).all(|(a, b)| a.values == b.values));
}

#[test]
fn another_architecture_may_be_asked_for() {
    let load = |architecture: Option<&str>| {
        let architecture = architecture.map(String::from);
        Model::load(fixture("bart_base").folder, &LoadOptions { architecture, ..options() })
    };
    assert!(load(None).unwrap().context().is_ok());
    let bare = load(Some("BartModel")).unwrap();
    assert!(matches!(bare.context(), Err(Error::Input(_))));
    let outputs = bare.forward(&fixture("bart_base").forward().0).unwrap();
    let names: Vec<_> = outputs.iter().map(|o| o.name).collect();
    assert_eq!(names, ["last_hidden_state", "encoder_last_hidden_state"]);
}

#[test]
fn nothing_is_left_over_or_lacking_in_the_fixtures() {
    for fixture in fixtures_with("config.json") {
        let found =
            inspect(&Checkpoint::open(Files::folder(&fixture.folder).unwrap(), None).unwrap())
                .unwrap();
        assert!(found.problems.is_empty(), "{}: {:?}", fixture.name, found.problems);
        let unused: &[&str] = match &*fixture.name {
            // A bare model whose file still has the heads that it was trained with.
            "bert_legacy_names" => &["cls.predictions.bias", "cls.seq_relationship.weight"],
            // PARITY trap 79
            "bert_masked_lm_untied" => &["cls.predictions.bias"],
            "roberta_masked_lm_untied" => &["lm_head.bias"],
            _ => &[],
        };
        assert_eq!(found.unused, unused, "{}", fixture.name);
        let model = fixture.load(&options());
        assert_eq!(found.plan, *model.plan());
        assert_eq!(model.family().name(), fixture.json("config.json")["model_type"]);
        assert_eq!(found.parameters(), model.parameters());
        for format in Format::ALL {
            let loaded = fixture.load(&LoadOptions { format, ..options() });
            assert_eq!(found.bytes(format), loaded.bytes());
        }
        assert!(found.bytes(Format::Int8) < found.bytes(Format::Bf16));
        // Groups are filled up to 32 weights, which narrow layers lack.
        if found.plan.generates() && fixture.name.ends_with("published") {
            assert!(found.bytes(Format::Int4) < found.bytes(Format::Int8), "{}", fixture.name);
        }
        assert!(found.bytes(Format::Bf16) < found.bytes(Format::F32));
    }
}

#[test]
fn layers_may_be_exceptions_from_the_format() {
    let t5 = fixture("t5_v1_1");
    let load = |format, exceptions: &[&str]| {
        let module_formats = exceptions.iter().map(|s| s.parse().unwrap()).collect();
        Model::load(&t5.folder, &LoadOptions { format, module_formats, ..options() })
    };
    let outputs = |format, exceptions: &[&str]| {
        let outputs = load(format, exceptions).unwrap().forward(&t5.forward().0).unwrap();
        outputs.into_iter().flat_map(|o| o.values).collect::<Vec<f32>>()
    };
    assert_eq!(outputs(Format::Int4, &["*=f32"]), outputs(Format::F32, &[]));
    let int8 = outputs(Format::Int8, &[]);
    assert_ne!(outputs(Format::Int4, &[]), int8);
    assert_eq!(outputs(Format::Int4, &["decoder.*=int8", "head.language.out=int8"]), int8);
    // One of three that are packed together is enough; the later of two wins.
    let encoder = outputs(Format::F32, &["encoder.*.query=int8", "encoder.*.key=f32"]);
    assert_eq!(encoder, outputs(Format::F32, &[]));
    assert_ne!(outputs(Format::F32, &["encoder.*.query=int8"]), encoder);
    let error = load(Format::Int8, &["decoder.*=f32", "*.wo=f32"]).unwrap_err().to_string();
    for part in ["'*.wo=f32'", "no linear layer", "decoder.layers.*.ffn.out", "head.language.out"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn parameters_are_counted_as_transformers_counts_them() {
    // model.num_parameters(): every stored tensor is a parameter, shared ones are stored once.
    let llama = fixture("llama");
    let bytes = fs::read(llama.folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored: usize = file.iter().map(|(_, t)| t.shape().iter().product::<usize>()).sum();
    assert_eq!(llama.load(&options()).parameters(), stored);
}

#[test]
fn inspection_finds_every_problem_at_once() {
    let files = held("t5_v1_1", |tensors| {
        tensors.remove("encoder.final_layer_norm.weight");
        tensors.get_mut("shared.weight").unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        let wide = tensors.get_mut("decoder.block.0.layer.2.DenseReluDense.wo.weight").unwrap();
        wide.1.swap(0, 1);
        let gate = tensors.get_mut("decoder.block.1.layer.2.DenseReluDense.wi_0.weight").unwrap();
        gate.2[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        let extra = tensors["encoder.block.0.layer.0.layer_norm.weight"].clone();
        tensors.insert("extra.weight".into(), (Dtype::F32, vec![1], vec![0; 4]));
        tensors.insert("copy.weight".into(), extra);
    });
    let found = inspect(&Checkpoint::open(files, None).unwrap()).unwrap();
    assert_eq!(found.unused, ["extra.weight"]);
    let has = |wanted: &str, kind: fn(&Error) -> bool| {
        assert!(
            found.problems.iter().any(|e| kind(e) && e.to_string().contains(wanted)),
            "{wanted}: {:?}",
            found.problems
        );
    };
    has("encoder.final_layer_norm", |e| matches!(e, Error::TensorMissing { .. }));
    has("wo.weight", |e| matches!(e, Error::TensorShape { .. }));
    has("shared.weight", |e| matches!(e, Error::TensorValue { .. }));
    has("wi_0.weight", |e| matches!(e, Error::TensorValue { .. }));
}
