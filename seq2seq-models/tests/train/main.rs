//! What training is made of, against what other libraries compute (`fixtures/README.md`).

mod metrics;
mod schedule;

use serde::de::DeserializeOwned;
use std::path::Path;

/// A file of `fixtures/`.
fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).expect(name)).expect(name)
}
