//! The tensors of a model in one or many safetensors files.

use super::{
    adapter::Adapter,
    files::Files,
    formats::{Formats, ModuleFormat},
    mapping::Mapped,
    safetensors::{Entry, read_header},
    stored,
};
use crate::{Error, Result, families};
use ::safetensors::Dtype;
use seq2seq_core::{DType, Format, HostTensor, host::Release};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Files of older checkpoints that execute code when read, which this library will not do.
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// An opened folder: its configuration as it stands in the file and views of its mapped tensors.
///
/// Opening reads headers only. The files must not be rewritten in place while the checkpoint, or a model made from
/// it, is in use.
///
/// ```
/// use seq2seq_models::{Files, checkpoint::Checkpoint};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let checkpoint = Checkpoint::open(Files::folder(folder)?, None)?;
/// for name in checkpoint.names() {
///     let tensor = checkpoint.tensor(name)?.expect("a name of this checkpoint");
///     println!("{name} {:?} {:?}", tensor.dtype(), tensor.shape());
/// }
/// # assert!(checkpoint.contains("shared.weight"));
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub struct Checkpoint {
    files: Files,
    config: Value,
    shards: Vec<Shard>,
    /// Tensor name to its shard.
    tensors: BTreeMap<String, (usize, Entry)>,
    stored: Option<Formats>,
    adapter: Option<Adapter>,
}

struct Shard {
    path: PathBuf,
    file: Mapped,
    release: Release,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The bare model of a sentence-transformers folder whose configuration names a masked language model. What is no such folder, or
/// one whose first module is another than the bare model, is left as it is.
fn sentence_encoder(files: &Files, config: &Value) -> Option<String> {
    let named = config.get("architectures")?.get(0)?.as_str()?.strip_suffix("ForMaskedLM")?;
    // Where the file is damaged, whoever embeds says so.
    let modules: Value = files.json("modules.json").ok()??;
    let first = modules.get(0)?.get("type")?.as_str()?;
    (first.rsplit('.').next() == Some("Transformer")).then(|| format!("{named}Model"))
}

impl Checkpoint {
    /// Opens `config.json` and `model.safetensors`, or the files that `model.safetensors.index.json` lists.
    ///
    /// `architecture` takes the place of the one that `config.json` names. Of a folder of sentence-transformers it is the bare
    /// model, where the file still names the masked language model that it was made from (PARITY trap 86).
    ///
    /// # Errors
    /// Missing and damaged files, naming the file and what is wrong in it.
    pub fn open(files: Files, architecture: Option<&str>) -> Result<Self> {
        let mut config: Value = files.json("config.json")?.ok_or_else(|| {
            let e = std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "no such file; every model needs one",
            );
            Error::io(files.path("config.json"), e)
        })?;
        let bare = architecture.is_none().then(|| sentence_encoder(&files, &config)).flatten();
        let architecture = architecture.or(bare.as_deref());
        if let (Some(architecture), Some(keys)) = (architecture, config.as_object_mut()) {
            keys.insert("architectures".into(), vec![architecture].into());
        }
        let mut this = Self {
            files,
            config,
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            stored: None,
            adapter: None,
        };
        if this.files.contains(SINGLE) {
            this.add_shard(SINGLE)?;
        } else if let Some(index) = this.files.json::<Index>(INDEX)? {
            this.add_shards(&index)?;
        } else {
            return Err(this.no_weights());
        }
        Ok(this)
    }

    /// The same checkpoint with low-rank adapters added to its weights (LoRA), and with the tensors that were saved beside
    /// them in the place of its own: the files `adapter_config.json` and `adapter_model.safetensors` of peft, or of a training
    /// here.
    ///
    /// ```
    /// use seq2seq_models::{Files, checkpoint::Checkpoint};
    ///
    /// # let (folder, adapter) = ("../fixtures/gpt2", "../fixtures/lora/gpt2");
    /// let plain = Checkpoint::open(Files::folder(folder)?, None)?;
    /// let adapted = Checkpoint::open(Files::folder(folder)?, None)?.with_adapter(Files::folder(adapter)?)?;
    /// # let name = "transformer.h.0.attn.c_attn.weight";
    /// let weight = |c: &Checkpoint| c.tensor(name).map(|t| t.map(|t| t.to_f32()));
    /// assert_ne!(weight(&plain)?, weight(&adapted)?);
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    ///
    /// # Errors
    /// Missing and damaged files, adapters of another model or of another kind (DoRA, say), and checkpoints whose weights
    /// [`convert`](crate::convert()) has quantised.
    pub fn with_adapter(mut self, files: Files) -> Result<Self> {
        if let Some(stored) = self.stored() {
            let reason = format!(
                "the weights are stored in {stored}, to which no adapters can be added; convert the original with them"
            );
            return Err(Error::file(self.files.root(), reason));
        }
        let names = families::plan(&self)?.family.names();
        self.adapter = Some(Adapter::open(files, &self, names)?);
        Ok(self)
    }

    fn no_weights(&self) -> Error {
        let pickled = PICKLED.iter().find(|name| self.files.contains(name));
        let reason = match pickled {
            Some(name) => format!(
                "no such file; {name} cannot be read safely, save the model with safetensors"
            ),
            None => format!("no such file, nor {INDEX}; every model needs its weights"),
        };
        Error::io(
            self.files.path(SINGLE),
            std::io::Error::new(std::io::ErrorKind::NotFound, reason),
        )
    }

    fn add_shards(&mut self, index: &Index) -> Result<()> {
        let index_path = self.files.path(INDEX);
        for name in index.weight_map.values().collect::<BTreeSet<_>>() {
            // The index is untrusted: it may name files of this folder only.
            if Path::new(name).file_name().is_none_or(|f| f != name.as_str()) {
                return Err(Error::file(index_path, format!("'{name}' is not a plain file name")));
            }
            self.add_shard(name)?;
        }
        for (tensor, file) in &index.weight_map {
            if !self.tensors.contains_key(tensor) {
                return Err(Error::file(
                    index_path,
                    format!("promises tensor '{tensor}' in {file}, which lacks it"),
                ));
            }
        }
        Ok(())
    }

    fn add_shard(&mut self, name: &str) -> Result<()> {
        let path = self.files.path(name);
        let Some(file) = self.files.map(name)? else {
            let e = std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "no such file; the index lists it",
            );
            return Err(Error::io(path, e));
        };
        let shard = self.shards.len();
        let header = read_header(&path, (*file.bytes).as_ref())?;
        let stored = stored::formats(&path, &header.metadata)?;
        if shard > 0 && stored != self.stored {
            return Err(Error::file(path, "stores its weights in another format than other files"));
        }
        self.stored = stored;
        for (tensor, entry) in header.tensors {
            if self.tensors.insert(tensor.clone(), (shard, entry)).is_some() {
                return Err(Error::file(path, format!("tensor '{tensor}' is in another file too")));
            }
        }
        let release = file.releaser();
        self.shards.push(Shard { path, file, release });
        Ok(())
    }

    /// The files beside the weights.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// `config.json` as it stands: some meanings hang on whether a key is there at all (PARITY trap 5).
    pub(crate) fn config(&self) -> &Value {
        &self.config
    }

    /// The format in which [`convert`](crate::convert()) has stored the linear weights; `None` for a checkpoint as others
    /// write it, from which every format can be had.
    pub fn stored(&self) -> Option<Format> {
        self.stored.as_ref().map(|stored| stored.format)
    }

    /// The layers of a converted folder that are stored in another format than [`stored`](Self::stored) says.
    pub fn stored_exceptions(&self) -> &[ModuleFormat] {
        self.stored.as_ref().map_or(&[], |stored| &stored.exceptions)
    }

    /// As [`stored`](Self::stored), layer by layer.
    pub(crate) fn stored_formats(&self) -> Option<&Formats> {
        self.stored.as_ref()
    }

    /// Fails where weights are stored in other formats, from which these cannot be had.
    pub(crate) fn check_formats(&self, asked: &Formats) -> Result<()> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let path = || self.files.root().into();
        if stored.format != asked.format {
            let (stored, asked) = (stored.format, asked.format);
            return Err(Error::StoredFormat { path: path(), stored, asked });
        }
        match asked.exceptions.iter().find(|asked| !stored.exceptions.contains(asked)) {
            None => Ok(()),
            Some(exception) => {
                let reason = format!(
                    "its layers are stored in their formats, from which '{exception}' cannot be had; convert the \
                     model that it was converted from"
                );
                Err(Error::file(path(), reason))
            }
        }
    }

    /// The name of every tensor: in order those of the weights' files, then those that only adapters have.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.tensors.keys().map(String::as_str);
        let saved = self.adapter.iter().flat_map(Adapter::names);
        own.chain(saved.filter(|name| !self.tensors.contains_key(*name)))
    }

    /// Whether there is such a tensor.
    pub fn contains(&self, name: &str) -> bool {
        let saved = self.adapter.as_ref().and_then(|adapter| adapter.saved(name));
        self.tensors.contains_key(name) || saved.is_some()
    }

    /// A view of a tensor, sharing the mapped bytes; `None` where there is none of that name. Where adapters are for it, the
    /// sum, made anew in each call.
    ///
    /// # Errors
    /// When its elements are of a type that the engine has no use for, or adapters do not fit its shape.
    pub fn tensor(&self, name: &str) -> Result<Option<HostTensor>> {
        let Some(adapter) = &self.adapter else { return self.as_stored(name) };
        match adapter.saved(name) {
            Some(tensor) => Ok(Some(tensor.clone())),
            None => self.as_stored(name)?.map(|t| adapter.changed(name, t)).transpose(),
        }
    }

    /// A view of a tensor of the weights' files.
    pub(super) fn as_stored(&self, name: &str) -> Result<Option<HostTensor>> {
        let Some((shard, entry)) = self.tensors.get(name) else { return Ok(None) };
        let Shard { path, file, release } = &self.shards[*shard];
        let dtype = match entry.dtype {
            Dtype::I8 if self.stored.is_some() => Some(DType::I8),
            _ => entry.element(),
        };
        let dtype = dtype.ok_or_else(|| entry.unreadable(path, name))?;
        let (shape, range) = (entry.shape.clone(), entry.range.clone());
        let tensor = HostTensor::from_shared(dtype, shape, file.bytes.clone(), range)?;
        Ok(Some(tensor.with_release(release.clone())))
    }

    /// Lets go of the pages of a tensor that has been read and will hardly be read again.
    pub(super) fn release(&self, tensor: &str) {
        if let Some((shard, entry)) = self.tensors.get(tensor) {
            self.shards[*shard].file.release_around(entry.range.clone());
        }
    }

    /// Lets go of all pages that have been read. Those of tables come back row by row as they are looked up.
    pub(crate) fn release_all(&self) {
        self.shards.iter().for_each(|shard| shard.file.release_all());
    }

    /// The file that holds a tensor, or the one where weights are first looked for.
    pub fn path_of(&self, tensor: &str) -> PathBuf {
        if let Some(path) = self.adapter.as_ref().and_then(|adapter| adapter.path_of(tensor)) {
            return path.into();
        }
        match self.tensors.get(tensor) {
            Some((shard, _)) => self.shards[*shard].path.clone(),
            None if self.shards.len() == 1 => self.shards[0].path.clone(),
            None => self.files.path(INDEX),
        }
    }
}
