//! Models by their id on the Hugging Face hub (feature `hub`).
//!
//! Files are kept where the Python libraries keep them, so that each finds what the other has downloaded. A model
//! that is there whole is used without asking the network. The weights come last: a folder with weights is whole.

mod progress;
#[cfg(test)]
mod tests;

use crate::{Error, Result, tokenizer};
use hf_hub::{
    Cache, CacheRepo, Repo, RepoType,
    api::sync::{Api, ApiBuilder, ApiError, ApiRepo},
};
use progress::Bar;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Component, Path, PathBuf},
    thread,
    time::Duration,
};

/// What a model may need beside its weights, where the repository has it.
const SMALL_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];
const MODULES: &str = "modules.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model on the hub: `OWNER/NAME` or, for a few old ones, `NAME`; `@REVISION` may follow.
///
/// ```
/// use seq2seq_models::hub::HubId;
///
/// // What a user names is a folder where there is one, else perhaps an id.
/// let is_id = |name: &str| HubId::parse(name).is_some();
/// assert!(is_id("gpt2") && is_id("google/flan-t5-small") && is_id("google/flan-t5-small@main"));
/// assert!(!is_id("../models/t5") && !is_id("a/b/c"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    repo: String,
    revision: String,
}

impl HubId {
    /// Understands `id`; `None` where it cannot be the id of a model.
    pub fn parse(id: &str) -> Option<Self> {
        let (repo, revision) = id.split_once('@').unwrap_or((id, "main"));
        let word = |w: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !w.is_empty()
                && w.len() <= 96
                && w.chars().all(allowed)
                && !w.starts_with(['.', '-'])
                && !w.contains("..")
        };
        let parts = repo.split('/').count();
        let known = parts <= 2 && repo.split('/').all(word) && revision.split('/').all(word);
        known.then(|| Self { repo: repo.into(), revision: revision.into() })
    }
}

/// Where models come from and where they are kept.
///
/// ```no_run
/// use seq2seq_models::{LoadOptions, Model, hub::{Hub, HubId}};
///
/// let id = HubId::parse("google/flan-t5-small@main").expect("the id of a model");
/// let folder = Hub::from_env().fetch(&id)?; // downloads it, once
/// let model = Model::load(folder, &LoadOptions::default())?;
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hub {
    /// The address of the hub.
    pub endpoint: String,
    /// The folder with one folder a repository.
    pub cache: PathBuf,
    /// For private and gated models.
    pub token: Option<String>,
    /// Never asks the network.
    pub offline: bool,
    /// Draws a bar on stderr where that is a terminal.
    pub progress: bool,
    /// How often a transfer that breaks off is taken up again.
    pub resumptions: usize,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Module {
    path: String,
}

impl Hub {
    /// As the environment says: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME` (or `XDG_CACHE_HOME`), `HF_TOKEN` or the
    /// token that `hf auth login` left, `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let var = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
        let home = var("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let cache = var("XDG_CACHE_HOME").map(PathBuf::from);
            cache
                .or_else(|| env::home_dir().map(|h| h.join(".cache")))
                .unwrap_or_default()
                .join("huggingface")
        });
        let token = || Cache::new(home.join("hub")).token();
        let on = |v: String| matches!(v.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        Self {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            cache: var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: var("HF_TOKEN").or_else(token),
            offline: var("HF_HUB_OFFLINE").is_some_and(on),
            progress: true,
            resumptions: 4,
        }
    }

    /// The folder of a model, downloaded where it is not there yet. A download that broke off goes on where it ended.
    ///
    /// # Errors
    /// When the hub cannot be reached or does not know the model, or the model has no safetensors weights.
    pub fn fetch(&self, id: &HubId) -> Result<PathBuf> {
        let kept = self.kept(id);
        if let Some(folder) = whole(&kept) {
            // A folder that other programs filled may lack what those had no use for.
            if self.offline || tokenizer::is_in(|name| folder.join(name).exists()) {
                return Ok(folder);
            }
        }
        if self.offline {
            return Err(fail(id, "is not kept here, and HF_HUB_OFFLINE forbids to download it"));
        }
        self.download(id).or_else(|error| match whole(&kept) {
            Some(folder) => {
                tracing::warn!("{error}; using what is kept in {}", folder.display());
                Ok(folder)
            }
            None => Err(error),
        })
    }

    fn kept(&self, id: &HubId) -> CacheRepo {
        Cache::new(self.cache.clone()).repo(repo(id, &id.revision))
    }

    fn api(&self) -> Result<Api, ApiError> {
        ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.trim_end_matches('/').into())
            .with_token(self.token.clone())
            .with_progress(false)
            // Its own resumption appends at the wrong place when a connection breaks before the first byte.
            .with_retries(0)
            .build()
    }

    fn download(&self, id: &HubId) -> Result<PathBuf> {
        let refused = |e: ApiError| fail(id, explain(&e));
        let api = self.api().map_err(refused)?;
        let info = api.repo(repo(id, &id.revision)).info().map_err(refused)?;
        let there: BTreeSet<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
        // All files of one state of the repository, even if it changes meanwhile.
        let pinned = repo(id, &info.sha);
        let kept = Cache::new(self.cache.clone()).repo(pinned.clone());
        let blobs = self.cache.join(pinned.folder_name()).join("blobs");
        let transfer = Transfer { hub: self, id, remote: api.repo(pinned), kept, blobs };
        let folder = transfer.small_files(&there)?;
        transfer.weights(&there)?;
        // Only now does the name of the revision lead to this state.
        self.kept(id).create_ref(&info.sha).map_err(|e| fail(id, e.to_string()))?;
        Ok(folder)
    }
}

/// The download of one model.
struct Transfer<'a> {
    hub: &'a Hub,
    id: &'a HubId,
    remote: ApiRepo,
    kept: CacheRepo,
    /// Where the contents of files lie, finished and not.
    blobs: PathBuf,
}

impl Transfer<'_> {
    /// Fetches everything but the weights; gives the folder.
    fn small_files(&self, there: &BTreeSet<String>) -> Result<PathBuf> {
        if !there.contains("config.json") {
            return Err(fail(self.id, "has no config.json: it is not a model of transformers"));
        }
        let mut folder = PathBuf::new();
        let small = SMALL_FILES.into_iter().filter(|n| there.contains(*n));
        for name in small.chain(tokenizer::files(|n| there.contains(n))) {
            let path = self.file(name)?;
            folder = path.parent().map(Path::to_owned).unwrap_or_default();
            if name == MODULES {
                self.modules(&path, there)?;
            }
        }
        Ok(folder)
    }

    /// The configurations of what a sentence-transformers model does after its transformer.
    fn modules(&self, path: &Path, there: &BTreeSet<String>) -> Result<()> {
        for module in json::<Vec<Module>>(path)? {
            let name = format!("{}/config.json", module.path);
            if there.contains(&name) && is_plain(&name) {
                self.file(&name)?;
            }
        }
        Ok(())
    }

    fn weights(&self, there: &BTreeSet<String>) -> Result<()> {
        if there.contains(WEIGHTS) {
            return self.file(WEIGHTS).map(drop);
        }
        if !there.contains(INDEX) {
            let pickled =
                there.iter().any(|n| n.starts_with("pytorch_model") && n.ends_with(".bin"));
            return Err(fail(
                self.id,
                match pickled {
                    true => {
                        "has only pytorch_model.bin, which cannot be read safely; look for a revision with safetensors"
                    }
                    false => "has no model.safetensors",
                },
            ));
        }
        let index: Index = json(&self.file(INDEX)?)?;
        for name in index.weight_map.values().collect::<BTreeSet<_>>() {
            if !is_plain(name) {
                return Err(fail(self.id, format!("{INDEX} names '{name}'")));
            }
            self.file(name)?;
        }
        Ok(())
    }

    /// The path of a file, from what is kept or from the network.
    fn file(&self, name: &str) -> Result<PathBuf> {
        if let Some(path) = self.kept.get(name) {
            return Ok(path);
        }
        let mut left = self.hub.resumptions;
        loop {
            let bar = Bar::new(self.hub.progress);
            match self.remote.download_with_progress(name, bar.clone()) {
                Ok(path) => return self.check_size(path, bar.size()),
                Err(error) if !bar.has_begun() || left == 0 => {
                    return Err(fail(self.id, format!("{name}: {}", explain(&error))));
                }
                Err(error) => {
                    tracing::warn!("{name}: {error}; going on");
                    left -= 1;
                    self.drop_parts(bar.size());
                    thread::sleep(Duration::from_millis(300));
                }
            }
        }
    }

    /// A part as long as the file, or longer, cannot be gone on with: the hub has nothing to send.
    fn drop_parts(&self, size: u64) {
        for entry in fs::read_dir(&self.blobs).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "part")
                && entry.metadata().is_ok_and(|m| m.len() >= size)
            {
                // Where this fails, so does the next attempt, which reports it.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// A server that ignores where a download was to go on leaves a file of the wrong size.
    fn check_size(&self, path: PathBuf, expected: u64) -> Result<PathBuf> {
        let io = |e| Error::io(&path, e);
        let found = fs::metadata(&path).map_err(io)?.len();
        if found == expected {
            return Ok(path);
        }
        fs::remove_file(fs::canonicalize(&path).map_err(io)?).map_err(io)?;
        // Where the file itself was there and no link to it, it is gone already.
        let _ = fs::remove_file(&path);
        Err(fail(
            self.id,
            format!("{}: {found} bytes came, {expected} were announced; try again", path.display()),
        ))
    }
}

fn repo(id: &HubId, revision: &str) -> Repo {
    Repo::with_revision(id.repo.clone(), RepoType::Model, revision.into())
}

/// The folder of a model that is kept with all its weights.
fn whole(kept: &CacheRepo) -> Option<PathBuf> {
    let folder = kept.get("config.json")?.parent()?.to_owned();
    let all = match kept.get(WEIGHTS) {
        Some(_) => true,
        None => json::<Index>(&kept.get(INDEX)?)
            .ok()?
            .weight_map
            .values()
            .all(|name| kept.get(name).is_some()),
    };
    all.then_some(folder)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::file(path, e.to_string()))
}

/// Whether a name from the network stays within the folder.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|c| matches!(c, Component::Normal(_)))
}

fn fail(id: &HubId, reason: impl Into<String>) -> Error {
    Error::Hub { id: id.repo.clone(), reason: reason.into() }
}

/// What the hub or the network said, and what may help.
fn explain(error: &ApiError) -> String {
    let text = error.to_string();
    let hint = match () {
        () if text.contains("status code 401") || text.contains("status code 403") => {
            " (no such model, or one that needs a token: set HF_TOKEN)"
        }
        () if text.contains("status code 404") => " (no such model or revision)",
        () => "",
    };
    format!("{text}{hint}")
}
