//! What training is made of, against what other libraries compute (`fixtures/README.md`).

mod adapters;
mod classes;
mod metrics;
mod sampling;
mod schedule;
mod tokenizers;
mod trainer;
mod vae;

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// A JSON file of `fixtures/`.
fn fixture<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(path(name)).expect(name)).expect(name)
}
