//! From what the options say to a loaded model.

use crate::{
    cli::Global,
    default_model,
    failure::{Failure, Result},
};
use seq2seq_core::Format;
use seq2seq_models::{Files, LoadOptions, Model, Tokenizer, checkpoint::Checkpoint, trace::Traced};
use std::path::Path;

/// The files of the model that `--model` names: a folder, an id on the hub, or the one in the program.
pub(crate) fn files(global: &Global) -> Result<Files> {
    match &global.model {
        None => Ok(default_model::files()),
        Some(name) => named(name),
    }
}

/// A folder, or what the hub has under this id.
pub(crate) fn named(name: &str) -> Result<Files> {
    if Path::new(name).exists() {
        return Ok(Files::folder(name)?);
    }
    #[cfg(feature = "hub")]
    if let Some(id) = seq2seq_models::hub::HubId::parse(name) {
        let hub = seq2seq_models::hub::Hub::from_env();
        let folder = hub
            .fetch(&id)
            .map_err(|e| Failure::from(e).at(format_args!("there is no folder {name}, and")))?;
        return Ok(Files::folder(folder)?);
    }
    Err(Failure::input(format!("--model {name}: there is no such folder")))
}

/// How the options want models to be loaded, once it is settled in which format.
pub(crate) fn options(global: &Global, format: Format) -> LoadOptions {
    LoadOptions {
        device: global.device.unwrap_or_default(),
        format,
        module_formats: global.module_formats.clone(),
        threads: global.threads.map(|n| n.get()),
        isa: None,
        adapter: global.adapter.clone(),
        architecture: global.architecture.clone(),
    }
}

/// The checkpoint in `files`, as the options want it to be read.
pub(crate) fn checkpoint(global: &Global, files: Files) -> Result<Checkpoint> {
    Ok(options(global, Format::default()).open(files)?)
}

/// The model that the options name.
pub(crate) fn model(global: &Global) -> Result<Model> {
    let (files, options) = settled(global)?;
    let model = Model::load_files(files, &options)?;
    log(&model);
    Ok(model)
}

/// The model that the options name, to be looked into.
pub(crate) fn traced(global: &Global) -> Result<Traced> {
    let (files, options) = settled(global)?;
    let traced = Traced::load(files, &options)?;
    log(traced.model());
    Ok(traced)
}

/// The files of the model, and how they are to be loaded.
fn settled(global: &Global) -> Result<(Files, LoadOptions)> {
    let files = files(global)?;
    let format = match global.format {
        Some(format) => format,
        // That of a converted folder, which has no other; f32 for all others.
        None => checkpoint(global, files.clone())?.stored().unwrap_or_default(),
    };
    Ok((files, options(global, format)))
}

fn log(model: &Model) {
    tracing::info!(family = %model.family(), parameters = model.parameters(), device = model.device(), "loaded");
}

/// A model and its tokenizer, for what deals in text.
pub(crate) fn with_tokenizer(global: &Global) -> Result<(Model, Tokenizer)> {
    let model = model(global)?;
    let tokenizer = Tokenizer::from_files(model.files())?;
    Ok((model, tokenizer))
}

/// The tokenizer where there is one, else what is missing.
pub(crate) fn required<'a>(
    tokenizer: Option<&'a Tokenizer>,
    model: &Model,
) -> Result<&'a Tokenizer> {
    tokenizer.ok_or_else(|| match Tokenizer::from_files(model.files()) {
        Err(error) => error.into(),
        Ok(_) => Failure::Other("the tokenizer's files appeared while the model was loaded".into()),
    })
}

/// The most tokens that the model can read at once; `None` where any number works.
pub(crate) fn max_input(model: &Model) -> Option<usize> {
    model.plan().first_stack().and_then(|stack| stack.max_positions())
}

/// Fails on more tokens than the model can read.
pub(crate) fn check_length(model: &Model, tokens: usize) -> Result<()> {
    match max_input(model) {
        Some(limit) if tokens > limit => Err(Failure::input(format!(
            "{tokens} tokens are more than the {limit} that the model can read"
        ))),
        _ => Ok(()),
    }
}
