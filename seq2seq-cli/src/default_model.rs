//! The model that is used where none is named: a small T5 that writes numbers, dates and amounts as words and back.
//!
//! It is a Hugging Face folder like any other, held in the program. Text prefixes choose the task: `speak: $3.50`,
//! `write: three dollars`, `french: 71`, `german: 71`.

use seq2seq_models::Files;
use std::borrow::Cow;

macro_rules! files {
    ($($name:literal),*) => {
        [$(($name, Cow::Borrowed(&include_bytes!(concat!("../default-model/", $name))[..]))),*]
    };
}

/// Its files.
pub(crate) fn files() -> Files {
    let files = files!(
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json"
    );
    Files::embedded("default model", files)
}
