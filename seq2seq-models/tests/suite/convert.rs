//! Converted folders: the bits of the original, and errors that name what is damaged.

use crate::support::{
    Fixture, backends, fixture, fixtures_with, label,
    weights::{Tensors, WEIGHTS, narrowed, read, results, write},
    with_format,
};
use safetensors::{Dtype, SafeTensors};
use seq2seq_core::Format;
use seq2seq_models::{
    Device, Error, Files, LoadOptions, Model, checkpoint::Checkpoint, convert, inspect::inspect,
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const STORED: [Format; 4] = [Format::Bf16, Format::F16, Format::Int8, Format::Int4];

fn options(format: Format) -> LoadOptions {
    LoadOptions { format, device: Device::Reference, ..LoadOptions::default() }
}

fn open(folder: &Path) -> Result<Checkpoint, Error> {
    LoadOptions::default().open(Files::folder(folder)?)
}

fn converted(fixture: &Fixture, options: &LoadOptions) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out");
    let files = Files::folder(&fixture.folder).unwrap();
    convert(&files, options, &output).unwrap_or_else(|e| panic!("{}: {e}", fixture.name));
    (dir, output)
}

#[test]
fn every_fixture_gives_the_same_bits() {
    let mut families = std::collections::BTreeSet::new();
    for fixture in fixtures_with("forward.safetensors") {
        for format in STORED {
            let (_dir, output) = converted(&fixture, &options(format));
            for options in backends() {
                let options = with_format(&options, format);
                let original = fixture.load(&options);
                let model = Model::load(&output, &options).unwrap();
                families.insert(model.family().name());
                let what = format!("{} {}", fixture.name, label(&options));
                assert!(results(&fixture, &model) == results(&fixture, &original), "{what}");
                assert_eq!(model.parameters(), original.parameters(), "{what}");
                assert_eq!(model.bytes(), original.bytes(), "{what}");
            }
            let found = inspect(&open(&output).unwrap()).unwrap();
            assert_eq!((found.stored, found.unused.len()), (Some(format), 0), "{}", fixture.name);
            assert!(found.problems.is_empty(), "{}: {:?}", fixture.name, found.problems);
        }
    }
    assert_eq!(families.len(), seq2seq_models::Family::ALL.len(), "{families:?}");
}

#[test]
fn weights_are_smaller_and_named_as_before() {
    let fixture = fixture("gpt2");
    let (_dir, output) = converted(&fixture, &options(Format::Int8));
    let bytes = fs::read(output.join(WEIGHTS)).unwrap();
    let original = fs::read(fixture.folder.join(WEIGHTS)).unwrap();
    assert!(bytes.len() < original.len());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let before = SafeTensors::deserialize(&original).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let words = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    };
    let expected = words(&[("format", "seq2seq"), ("version", "1"), ("weights", "int8")]);
    assert_eq!(*header.metadata(), Some(expected));
    let name = "transformer.h.0.mlp.c_fc.weight";
    let (weight, scale) =
        (file.tensor(name).unwrap(), file.tensor(&format!("{name}.scale")).unwrap());
    assert_eq!((weight.dtype(), scale.dtype()), (Dtype::I8, Dtype::F32));
    assert_eq!(weight.shape(), before.tensor(name).unwrap().shape());
    assert_eq!(scale.shape(), [weight.shape()[1]]);
    // The table is read by rows and multiplied as a matrix.
    let table = "transformer.wte.weight";
    assert_eq!(file.tensor(table).unwrap().data(), before.tensor(table).unwrap().data());
    assert_eq!(file.tensor(&format!("{table}.linear")).unwrap().dtype(), Dtype::I8);
}

#[test]
fn a_table_that_is_in_its_format_already_is_stored_once() {
    let fixture = fixture("gpt2");
    for (format, dtype) in [(Format::Bf16, Dtype::BF16), (Format::F16, Dtype::F16)] {
        let dir = narrowed(&fixture, dtype);
        let source = dir.path();
        let output = source.join("out");
        convert(&Files::folder(source).unwrap(), &options(format), &output).unwrap();
        assert!(read(&output).keys().all(|name| !name.ends_with(".linear")));
        let [a, b] = [source, &output].map(|folder| Model::load(folder, &options(format)).unwrap());
        assert!(results(&fixture, &a) == results(&fixture, &b));
    }
}

#[test]
fn weights_are_rounded_to_the_nearest_f16() {
    let fixture = fixture("gpt2");
    let (_dir, output) = converted(&fixture, &options(Format::F16));
    let (before, after) = (read(&fixture.folder), read(&output));
    let rounded = |data: &[u8]| -> Vec<u8> {
        let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        values.flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect()
    };
    let mut matrices = 0;
    for (name, (dtype, _, data)) in &after {
        let (_, _, exact) = &before[name.strip_suffix(".linear").unwrap_or(name)];
        match *dtype {
            Dtype::F16 => {
                assert!(*data == rounded(exact), "{name}");
                matrices += 1;
            }
            _ => assert!(data == exact, "{name}"),
        }
    }
    // Four a layer, and the table as the output layer.
    let layers = fixture.json("config.json")["n_layer"].as_u64().unwrap();
    assert_eq!(matrices, 4 * layers + 1);
}

#[test]
fn another_format_is_refused() {
    let fixture = fixture("t5_v1_0");
    for stored in STORED {
        let (_dir, output) = converted(&fixture, &options(stored));
        for asked in Format::ALL.into_iter().filter(|&f| f != stored) {
            let error = Model::load(&output, &options(asked)).unwrap_err();
            let Error::StoredFormat { stored: s, asked: a, .. } = &error else { panic!("{error}") };
            assert_eq!((*s, *a), (stored, asked));
        }
    }
}

#[test]
fn damaged_folders_are_typed_errors() {
    const NAME: &str = "decoder.block.0.layer.2.DenseReluDense.wo.weight";
    const GOOD: [(&str, &str); 3] = [("format", "seq2seq"), ("version", "1"), ("weights", "int8")];
    type Kind = fn(&Error) -> bool;
    let file: Kind = |e| matches!(e, Error::File { .. });
    let shape: Kind = |e| matches!(e, Error::TensorShape { .. });
    let missing: Kind = |e| matches!(e, Error::TensorMissing { .. });
    let kind: Kind = |e| matches!(e, Error::TensorType { .. });
    let scale = || format!("{NAME}.scale");
    type Damage = Box<dyn Fn(&mut Tensors)>;
    type Metadata = &'static [(&'static str, &'static str)];
    let cases: Vec<(Metadata, Damage, Kind, &str)> = vec![
        (&GOOD, Box::new(move |t| drop(t.remove(&scale()))), missing, ".scale"),
        (&GOOD, Box::new(|t| drop(t.remove(NAME))), missing, "wo.weight"),
        (
            &GOOD,
            Box::new(move |t| {
                let (_, shape, data) = t.get_mut(&scale()).unwrap();
                shape[0] -= 1;
                data.truncate(data.len() - 4);
            }),
            shape,
            ".scale",
        ),
        (
            &GOOD,
            Box::new(move |t| t.get_mut(&scale()).unwrap().0 = Dtype::I32),
            file,
            "where it is F32",
        ),
        (
            &GOOD,
            Box::new(move |t| {
                t.get_mut(&scale()).unwrap().2[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
            }),
            file,
            "output 1: a scale of NaN",
        ),
        (
            &GOOD,
            Box::new(move |t| {
                t.get_mut(&scale()).unwrap().2[..4].copy_from_slice(&(-1.0f32).to_le_bytes());
            }),
            file,
            "output 0: a scale of -1",
        ),
        (&GOOD, Box::new(|t| t.get_mut(NAME).unwrap().2[3] = 0x80), file, "up to 128"),
        (&GOOD, Box::new(|t| t.get_mut(NAME).unwrap().2.fill(1)), file, "up to 1 "),
        (&GOOD, Box::new(|t| t.get_mut(NAME).unwrap().1.swap(0, 1)), shape, NAME),
        (
            &GOOD,
            Box::new(|t| {
                let (kind, _, data) = t.get_mut(NAME).unwrap();
                *data = data.iter().flat_map(|&b| f32::from(b as i8).to_le_bytes()).collect();
                *kind = Dtype::F32;
            }),
            file,
            "said to be stored in int8",
        ),
        (
            &GOOD,
            Box::new(|t| {
                let (kind, _, data) = t.get_mut("decoder.final_layer_norm.weight").unwrap();
                *data = data.as_chunks::<4>().0.iter().map(|_| 1).collect();
                *kind = Dtype::I8;
            }),
            kind,
            "final_layer_norm",
        ),
        (
            &[("format", "seq2seq"), ("version", "9"), ("weights", "int8")],
            Box::new(|_| ()),
            file,
            "another version",
        ),
        (
            &[("format", "seq2seq"), ("version", "1"), ("weights", "int1")],
            Box::new(|_| ()),
            file,
            "'int1'",
        ),
        // Without a word about them, I8 may be anything.
        (&[("format", "pt")], Box::new(|_| ()), kind, "I8"),
    ];
    let (_dir, output) = converted(&fixture("t5_v1_0"), &options(Format::Int8));
    let whole = read(&output);
    let options = options(Format::Int8);
    write(&output, &whole, Some(&GOOD));
    Model::load(&output, &options).unwrap();
    for (words, damage, is, says) in cases {
        let mut tensors = whole.clone();
        damage(&mut tensors);
        write(&output, &tensors, Some(words));
        let error = Model::load(&output, &options).unwrap_err();
        assert!(is(&error) && error.to_string().contains(says), "{says}: {error:?}");
        assert!(error.to_string().contains(WEIGHTS), "{error}");
        // Inspection finds it too, at once or among the problems.
        let seen = match open(&output).and_then(|checkpoint| inspect(&checkpoint)) {
            Ok(found) => found.problems,
            Err(e) => vec![e],
        };
        assert!(seen.iter().any(|e| is(e) && e.to_string().contains(says)), "{says}: {seen:?}");
    }
    fs::write(output.join(WEIGHTS), &fs::read(output.join(WEIGHTS)).unwrap()[..4000]).unwrap();
    assert!(file(&Model::load(&output, &options).unwrap_err()));
}

#[test]
fn weights_that_are_no_numbers_leave_nothing_behind() {
    const NAME: &str = "transformer.h.1.mlp.c_proj.weight";
    let [bf16, f16] = [Format::Bf16, Format::F16];
    let cases = [
        (f32::NAN, &STORED[..], "NaN"),
        (f32::INFINITY, &STORED, "inf"),
        (3.4e38, &[bf16], "3.4e38 at element 2, which is too large for bf16; take f32"),
        (-65520.0, &[f16], "-6.552e4 at element 2, which is too large for f16; take bf16 or f32"),
    ];
    for (value, formats, says) in cases {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::copy(fixture("gpt2").folder.join("config.json"), source.join("config.json")).unwrap();
        let mut tensors = read(&fixture("gpt2").folder);
        let weight = tensors.get_mut(NAME).unwrap();
        weight.2[8..12].copy_from_slice(&value.to_le_bytes());
        write(&source, &tensors, None);
        for &format in formats {
            let output = dir.path().join("out");
            let files = Files::folder(&source).unwrap();
            let error = convert(&files, &options(format), &output).unwrap_err();
            assert_eq!(matches!(error, Error::TensorRange { .. }), value.is_finite(), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(says) && text.contains(NAME), "{text}");
            let left: Vec<_> =
                fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, ["source"]);
            // Loading says the same.
            let error = Model::load(&source, &options(format)).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }
}

#[test]
fn an_empty_folder_may_be_filled_and_keeps_common_permissions() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out");
    fs::create_dir(&output).unwrap();
    let files = Files::folder(fixture("bert").folder).unwrap();
    let made = convert(&files, &options(Format::Int8), &output).unwrap();
    assert_eq!(made.bytes, fs::metadata(output.join(WEIGHTS)).unwrap().len());
    assert!(made.files.contains(&"config.json".to_owned()));
    assert!(matches!(convert(&files, &options(Format::Int8), &output), Err(Error::File { .. })));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let plain = dir.path().join("plain");
        fs::create_dir(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&output), mode(&plain));
    }
}

/// Exceptions are stored with the weights: the folder is loaded without naming them again, and with no others.
#[test]
fn layers_keep_their_formats() {
    let fixture = fixture("t5_v1_0");
    let exceptions = ["decoder.*.ffn.out=int8", "encoder.layers.0.*=f32", "*.cross.key=bf16"];
    let parse = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
    let mixed = LoadOptions { module_formats: parse(&exceptions), ..options(Format::Int4) };
    let (_dir, output) = converted(&fixture, &mixed);
    let dtype = |name: &str| read(&output)[name].0;
    for (name, expected) in [
        ("decoder.block.0.layer.2.DenseReluDense.wo.weight", Dtype::I8),
        ("decoder.block.0.layer.2.DenseReluDense.wi.weight", Dtype::U8),
        ("encoder.block.0.layer.1.DenseReluDense.wi.weight", Dtype::F32),
        ("encoder.block.1.layer.1.DenseReluDense.wi.weight", Dtype::I8),
        ("decoder.block.1.layer.1.EncDecAttention.v.weight", Dtype::BF16),
    ] {
        assert_eq!(dtype(name), expected, "{name}");
    }
    let original = fixture.load(&mixed);
    for named in [vec![], parse(&exceptions)] {
        let asked = LoadOptions { module_formats: named, ..options(Format::Int4) };
        let model = Model::load(&output, &asked).unwrap();
        assert!(results(&fixture, &model) == results(&fixture, &original));
        assert_eq!(model.bytes(), original.bytes());
    }
    let found = inspect(&open(&output).unwrap()).unwrap();
    assert_eq!(found.stored_exceptions, mixed.module_formats);
    assert_eq!(found.bytes(Format::Int4), original.bytes());
    let other = LoadOptions { module_formats: parse(&["*.query=f32"]), ..options(Format::Int4) };
    let error = Model::load(&output, &other).unwrap_err().to_string();
    assert!(error.contains("*.query=f32") && error.contains("cannot be had"), "{error}");
    let unused = LoadOptions { module_formats: parse(&["*.wo=f32"]), ..options(Format::Int4) };
    let files = Files::folder(&fixture.folder).unwrap();
    let error = convert(&files, &unused, &output.join("again")).unwrap_err().to_string();
    assert!(error.contains("*.wo=f32") && error.contains("decoder.layers.*.ffn.out"), "{error}");
}

#[test]
fn damaged_codes_are_typed_errors() {
    const NAME: &str = "decoder.block.0.layer.2.DenseReluDense.wo.weight";
    const WORDS: [(&str, &str); 3] = [("format", "seq2seq"), ("version", "1"), ("weights", "int4")];
    let scale = format!("{NAME}.scale");
    let (_dir, output) = converted(&fixture("t5_v1_0"), &options(Format::Int4));
    let whole = read(&output);
    let groups = whole[&scale].1[1];
    type Damage<'a> = &'a dyn Fn(&mut Tensors);
    let nan: Damage<'_> = &|t| {
        let at = 2 * groups;
        t.get_mut(&scale).unwrap().2[at..at + 2].copy_from_slice(&0x7fc0_u16.to_le_bytes());
    };
    let missing: Damage<'_> = &|t| drop(t.remove(&scale));
    let narrow: Damage<'_> = &|t| {
        let (_, shape, data) = t.get_mut(NAME).unwrap();
        shape[1] -= 1;
        data.truncate(shape[0] * shape[1]);
    };
    let wide: Damage<'_> = &|t| t.get_mut(NAME).unwrap().0 = Dtype::I8;
    let cases = [
        (nan, "output 1: a scale of NaN"),
        (missing, ".scale"),
        (narrow, "DenseReluDense.wo.weight"),
        (wide, "said to be stored in int4, where it is U8"),
    ];
    for (damage, says) in cases {
        let mut tensors = whole.clone();
        damage(&mut tensors);
        write(&output, &tensors, Some(&WORDS));
        let error = Model::load(&output, &options(Format::Int4)).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(WEIGHTS), "{says}: {error}");
    }
}
