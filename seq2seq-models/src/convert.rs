//! Folders whose weights are in a number format already, so that loading need not make them so.
//!
//! What is written is a folder like any other: config.json, the tokenizer's files, and one `model.safetensors`, whose
//! linear weights are stored as `checkpoint::stored` says. It gives the bits that the original gives in that format.
//!
//! ```
//! use seq2seq_models::{
//!     Error, Files, LoadOptions, Model, Prompt,
//!     convert::{Converted, convert},
//!     generate::GenerationConfig,
//!     seq2seq_core::Format,
//! };
//!
//! # let (folder, work) = ("../fixtures/t5_v1_0", tempfile::tempdir()?);
//! # let smaller = &work.path().join("smaller");
//! let int8 = LoadOptions { format: Format::Int8, ..LoadOptions::default() };
//! let Converted { bytes, files, .. } = convert(&Files::folder(folder)?, &int8, smaller)?;
//! println!("{bytes} bytes of weights, beside {}", files.join(", "));
//! assert!(files.iter().any(|name| name == "tokenizer.json"));
//!
//! let write = |folder: &std::path::Path| {
//!     let prompts = [Prompt::new([14, 15, 9, 1])];
//!     Model::load(folder, &int8)?.generate(&prompts, &GenerationConfig::default(), &mut ())
//! };
//! assert_eq!(write(smaller)?, write(folder.as_ref())?);
//! // Other formats cannot be had of it, f32 neither.
//! let other = Model::load(smaller, &LoadOptions::default());
//! assert!(matches!(other, Err(Error::StoredFormat { stored: Format::Int8, .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod encode;

use crate::{
    Error, Files, LoadOptions, Result,
    checkpoint::{Checkpoint, Formats, Loader, TakenLinear, stored, writer},
    families,
    inspect::blank::Blank,
    new_folder::NewFolder,
    stacks,
};
use encode::Entry;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

const WEIGHTS: &str = "model.safetensors";

/// What was written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Converted {
    /// Bytes of the weights' file.
    pub bytes: u64,
    /// The other files, by their names in the folder.
    pub files: Vec<String>,
}

/// Writes the model to the folder `output` with its linear weights in the format, and with the exceptions from it, that
/// `options` name, adapters added. Of the options only the architecture matters else; the files keep the one that they name.
///
/// The folder appears when all is written, or not at all. Tensors that the model has no use for are left out.
///
/// ```
/// use seq2seq_models::{Files, LoadOptions, Model, convert, seq2seq_core::Format};
///
/// # let (folder, adapter) = ("../fixtures/gpt2", "../fixtures/lora/gpt2");
/// # let work = tempfile::tempdir()?;
/// # let smaller = &work.path().join("smaller");
/// let int8 = LoadOptions { format: Format::Int8, ..LoadOptions::default() };
/// let adapted = LoadOptions { adapter: Some(adapter.into()), ..int8.clone() };
/// let written = convert(&Files::folder(folder)?, &adapted, smaller)?;
/// println!("{} bytes of weights", written.bytes);
/// let model = Model::load(smaller, &int8)?; // the adapters are in the weights
/// assert_eq!(model.format(), Format::Int8);
/// assert_eq!(model.bytes(), Model::load(folder, &adapted)?.bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Formats that weights are not stored in, folders that are converted already, an output folder that holds something,
/// and whatever would keep the model from loading so.
pub fn convert(files: &Files, options: &LoadOptions, output: &Path) -> Result<Converted> {
    let formats = options.formats();
    stored::check(formats.format)?;
    let checkpoint = options.open(files.clone())?;
    if let Some(stored) = checkpoint.stored() {
        let (path, asked) = (files.root().into(), formats.format);
        return Err(Error::StoredFormat { path, stored, asked });
    }
    let folder = NewFolder::at(output)?;
    let entries = entries(&checkpoint, &formats)?;
    let mut carried = Vec::new();
    for (name, bytes) in files.carried()? {
        folder.write(&name, bytes)?;
        carried.push(name);
    }
    let bytes = write(&checkpoint, &formats, &entries, &folder.path().join(WEIGHTS), output)?;
    folder.finish()?;
    Ok(Converted { bytes, files: carried })
}

/// What the file will hold, the widest elements first, so that all are aligned.
fn entries(checkpoint: &Checkpoint, formats: &Formats) -> Result<Vec<Entry>> {
    let plan = families::plan(checkpoint)?;
    let loader = Loader::new(&Blank, checkpoint, plan.family.names(), formats).on_paper();
    stacks::load(&plan, &loader)?;
    loader.check_exceptions()?;
    let (taken, _) = loader.finish();
    let matrices =
        taken.linears.iter().flat_map(|&TakenLinear { format, ref parts, transposed }| {
            parts.iter().map(move |m| {
                let shape = if transposed { [m.inputs, m.outputs] } else { [m.outputs, m.inputs] };
                (m.weight.clone(), stored::Matrix { shape, transposed, format })
            })
        });
    let linear: BTreeMap<String, stored::Matrix> = matrices.collect();
    let mut entries = Vec::new();
    for name in &taken.names {
        let table = taken.tables.contains(name);
        let Some(&matrix) = linear.get(name) else {
            entries.push(Entry::same(checkpoint, name)?);
            continue;
        };
        let stored = if table { stored::linear_name(name) } else { name.clone() };
        let made = Entry::linear(checkpoint, name, stored, matrix)?;
        // A table that is in the format as it lies there serves as both.
        let serves = table && made.iter().all(|e| e.content == encode::Content::Same);
        if table {
            entries.push(Entry::same(checkpoint, name)?);
        }
        if !serves {
            entries.extend(made);
        }
    }
    entries.sort_by(|a, b| {
        b.tensor.dtype.size().cmp(&a.tensor.dtype.size()).then_with(|| a.name().cmp(b.name()))
    });
    Ok(entries)
}

/// Writes the weights' file and gives its size; messages call its folder `output`.
fn write(
    checkpoint: &Checkpoint,
    formats: &Formats,
    entries: &[Entry],
    path: &Path,
    output: &Path,
) -> Result<u64> {
    let header = writer::header(&stored::metadata(formats), entries.iter().map(|e| &e.tensor));
    let data: usize = entries.iter().map(Entry::bytes).sum();
    let failed = |e| Error::write(output.join(WEIGHTS), e);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    file.write_all(&header).map_err(failed)?;
    let begin = header.len();
    let starts: BTreeMap<&str, usize> =
        entries.iter().zip(starts(entries)).map(|(e, start)| (e.name(), begin + start)).collect();
    for entry in entries {
        if entry.content == encode::Content::Scales {
            continue;
        }
        file.seek(SeekFrom::Start(starts[entry.name()] as u64)).map_err(failed)?;
        let scales = entry.write(checkpoint, |bytes| file.write_all(bytes).map_err(failed))?;
        // They lie among wider entries, elsewhere.
        if !scales.is_empty() {
            let start = starts[&stored::scale_name(entry.name())[..]];
            file.seek(SeekFrom::Start(start as u64)).map_err(failed)?;
            file.write_all(&scales).map_err(failed)?;
        }
    }
    let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok((header.len() + data) as u64)
}

/// Where the data of each entry begin behind the header.
fn starts(entries: &[Entry]) -> impl Iterator<Item = usize> {
    entries.iter().scan(0, |end, entry| {
        let start = *end;
        *end += entry.bytes();
        Some(start)
    })
}
