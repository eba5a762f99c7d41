//! The weights of fixtures, changed; and all that a model gives, to the bit.

use super::Fixture;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use seq2seq_models::{Model, Prompt, generate::GenerationConfig};
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

/// The file that they lie in.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Tensors of a checkpoint by their names: element type, shape, bytes.
pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Those of `model.safetensors`, or of its shards.
pub(crate) fn read(folder: &Path) -> Tensors {
    let own = |t: TensorView<'_>| (t.dtype(), t.shape().to_vec(), t.data().to_vec());
    let mut tensors = Tensors::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            let bytes = fs::read(&path).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            tensors.extend(file.iter().map(|(n, t)| (n.to_string(), own(t))));
        }
    }
    assert!(!tensors.is_empty(), "{}", folder.display());
    tensors
}

/// Writes them as one file, with these words as its metadata.
pub(crate) fn write(folder: &Path, tensors: &Tensors, words: Option<&[(&str, &str)]>) {
    let views = tensors.iter().map(|(n, (dtype, shape, data))| {
        (n, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let words = words.map(|w| w.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
    fs::write(folder.join(WEIGHTS), safetensors::serialize(views, words).unwrap()).unwrap();
}

/// A folder with the fixture's model whose tensors of f32 are rounded to `dtype`, F16 or BF16.
pub(crate) fn narrowed(fixture: &Fixture, dtype: Dtype) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "generation_config.json"] {
        if fixture.folder.join(name).is_file() {
            fs::copy(fixture.folder.join(name), dir.path().join(name)).unwrap();
        }
    }
    let narrow: fn(f32) -> [u8; 2] = match dtype {
        Dtype::F16 => |v| f16::from_f32(v).to_le_bytes(),
        Dtype::BF16 => |v| bf16::from_f32(v).to_le_bytes(),
        other => panic!("{other:?}"),
    };
    let mut tensors = read(&fixture.folder);
    for (kind, _, data) in tensors.values_mut().filter(|t| t.0 == Dtype::F32) {
        let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        *data = values.flat_map(narrow).collect();
        *kind = dtype;
    }
    write(dir.path(), &tensors, None);
    dir
}

/// For each prompt the sequences: ids, and the bits of the score.
pub(crate) type Written = Vec<Vec<(Vec<u32>, u32)>>;

/// Everything that a model gives for the request of its fixture, to the bit.
pub(crate) fn results(fixture: &Fixture, model: &Model) -> (Vec<Vec<u32>>, Written) {
    let (request, _) = fixture.forward();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect();
    let outputs = model.forward_with_hidden(&request).unwrap();
    let outputs = outputs.iter().map(|o| bits(&o.values)).collect();
    if !model.plan().generates() {
        return (outputs, Vec::new());
    }
    let prompt = |ids: Vec<u32>| Prompt::new(ids);
    let prompts: Vec<_> = request.input_ids.into_iter().map(prompt).collect();
    let written = [1, 3].into_iter().flat_map(|beams| {
        let config = GenerationConfig {
            num_beams: Some(beams),
            max_new_tokens: Some(5),
            ..GenerationConfig::default()
        };
        model.generate(&prompts, &config, &mut ()).unwrap()
    });
    let written = written.map(|r| r.into_iter().map(|g| (g.ids, g.score.to_bits())).collect());
    (outputs, written.collect())
}
