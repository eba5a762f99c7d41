//! The output folder.

use super::lock::Lock;
use crate::{
    Error, Files, Result, new_file,
    train::{
        Learner,
        checkpoint::Saved,
        lora,
        save::{WEIGHTS, carried, write_weights},
        settings::Settings,
    },
    unfinished,
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What belongs to the training.
const TRAINING: &str = "training";
const CHECKPOINT: &str = "training/checkpoint.safetensors";

/// Settings that may be others when a training goes on.
const FREE: [&str; 11] = [
    "output",
    "steps",
    "minutes",
    "save_every",
    "log_every",
    "device",
    "threads",
    "checkpointing",
    "evaluation",
    "save_as",
    "model",
];

/// The output folder of a training.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// From when the folder is there.
    lock: Option<Lock>,
}

impl Folder {
    /// Looks at the folder: whether it may be written, and where the training in it stands, of which no other process is then to
    /// be at work. Writes nothing else.
    pub(super) fn open(settings: &Settings, resume: bool) -> Result<(Self, Option<Saved>)> {
        let mut this = Self { root: settings.output.clone(), lock: None };
        let fail = |reason: &str| Err(Error::file(&settings.output, reason));
        let empty = match fs::read_dir(&this.root) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == ErrorKind::NotFound => true,
            Err(e) if e.kind() == ErrorKind::NotADirectory => {
                return fail("is not a folder; name a new one or an empty one");
            }
            Err(e) => return Err(Error::io(&this.root, e)),
        };
        if empty {
            return Ok((this, None));
        }
        let training = this.root.join(TRAINING);
        if !training.is_dir() {
            return fail("is a folder that holds something else than a training; name a new one");
        }
        if !resume {
            Lock::check(&training)?;
            return fail(
                "holds a training; go on with it by --resume, or begin another one in a new folder or after removing this one",
            );
        }
        this.lock = Some(Lock::take(&training)?);
        let saved = Saved::open(&Files::folder(&this.root)?, CHECKPOINT)?;
        if let Some(saved) = &saved {
            this.check_settings(settings, &saved.state.settings)?;
        }
        Ok((this, saved))
    }

    /// Fails where a setting has changed that makes another training.
    fn check_settings(&self, now: &Settings, then: &Settings) -> Result<()> {
        let json = |settings: &Settings| {
            serde_json::to_value(settings).map_err(|e| Error::file(&self.root, e.to_string()))
        };
        let (mut now, mut then) = (json(now)?, json(then)?);
        for settings in [&mut now, &mut then] {
            if let Some(settings) = settings.as_object_mut() {
                settings.retain(|key, _| !FREE.contains(&key.as_str()));
            }
        }
        let mut changed = Vec::new();
        differences("", &then, &now, &mut changed);
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::file(
            &self.root,
            format!(
                "the training in this folder has another {}; give it as it was to go on, or begin another one in a new \
                 folder or after removing this one",
                changed.join(", another ")
            ),
        ))
    }

    /// Makes the folder, with everything but weights.
    pub(super) fn begin(&mut self, settings: &Settings, learner: &Learner) -> Result<()> {
        let training = self.root.join(TRAINING);
        fs::create_dir_all(&training).map_err(|e| Error::write(&training, e))?;
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&training)?);
            if self.checkpoint().exists() {
                let reason = "another training has been done in this folder since this one looked at it; name a new folder";
                return Err(Error::file(&self.root, reason));
            }
        }
        self.resume(settings)?;
        for (name, bytes) in carried(learner.files(), settings.save_as)? {
            let path = self.root.join(name);
            let parent = path.parent().unwrap_or(&self.root);
            fs::create_dir_all(parent).map_err(|e| Error::write(parent, e))?;
            new_file::replace_with(&path, &bytes)?;
        }
        // From an earlier try that came to no checkpoint.
        match fs::remove_file(self.root.join(WEIGHTS)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::write(self.root.join(WEIGHTS), e))
            }
            _ => Ok(()),
        }
    }

    /// Removes what a process that was killed was writing, and writes the settings.
    pub(super) fn resume(&self, settings: &Settings) -> Result<()> {
        for folder in [&self.root, &self.root.join(TRAINING), &self.root.join(lora::FOLDER)] {
            if !folder.exists() {
                continue;
            }
            for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
                let path = entry.map_err(|e| Error::io(folder, e))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // Whoever makes a folder of that name writes no training.
                if name.starts_with(unfinished::PREFIX) && path.is_file() {
                    fs::remove_file(&path).map_err(|e| Error::write(&path, e))?;
                }
            }
        }
        let path = self.root.join(TRAINING).join("config.toml");
        let text = toml::to_string(settings).map_err(|e| Error::file(&path, e.to_string()))?;
        new_file::replace_with(&path, text.as_bytes())
    }

    /// Replaces the model's weights by these, with adapters added, which are written beside them too.
    pub(super) fn write_model(&self, learner: &Learner, settings: &Settings) -> Result<()> {
        if let (Some(_), Some(base)) = (&settings.lora, &settings.model) {
            let folder = self.root.join(lora::FOLDER);
            fs::create_dir_all(&folder).map_err(|e| Error::write(&folder, e))?;
            for (name, bytes) in learner.lora_files(&base.display().to_string())? {
                new_file::replace_with(&folder.join(name), &bytes)?;
            }
        }
        learner.merged(|| write_weights(learner, &self.root.join(WEIGHTS), settings.save_as))
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join(TRAINING).join("metrics.jsonl")
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.root.join(CHECKPOINT)
    }
}

/// Names the keys whose values differ, with both, as deep within tables and lists as they go.
fn differences(key: &str, then: &Value, now: &Value, changed: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let dot = if key.is_empty() { "" } else { "." };
                let value = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                differences(&format!("{key}{dot}{name}"), &value(a), &value(b), changed);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{key}[{i}]"), a, b, changed);
            }
        }
        (then, now) if then != now => {
            let shown = |value: &Value| match value {
                Value::Null => "nothing".into(),
                Value::Object(_) => "a table".into(),
                Value::Array(values) => format!("a list of {}", values.len()),
                value => value.to_string(),
            };
            changed.push(format!("'{key}': {} then, {} now", shown(then), shown(now)));
        }
        _ => {}
    }
}
