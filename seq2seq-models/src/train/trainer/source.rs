//! What a training starts from: a model, and rows for it.

use super::folder::Folder;
use crate::{
    Error, Files, LoadOptions, Result, Tokenizer,
    generate::ConfigLayers,
    tasks::Labels,
    tokenizer,
    train::{
        Learner,
        checkpoint::Saved,
        data::{Corpus, RowEncoder, least},
        new_model::NewModel,
        save::WEIGHTS,
        settings::{ObjectiveSettings, Settings},
        tokenizers::{NewTokenizer, TokenizerOptions},
    },
};
use std::borrow::Cow;

/// A model to be trained, and what makes rows into ids.
pub(super) struct Source {
    pub(super) learner: Learner,
    pub(super) decoding: ConfigLayers,
    pub(super) encoder: RowEncoder,
    pub(super) corpus: Corpus,
}

impl Source {
    /// The model that the settings name, or a new one.
    pub(super) fn new(settings: &Settings, mut corpus: Corpus) -> Result<Self> {
        let files = match (settings.new_family()?, &settings.model) {
            (Some(family), _) => {
                let tokenizer = tokenizer_files(settings, &mut corpus)?;
                NewModel { family, architecture: &settings.architecture, seed: settings.seed }
                    .files(tokenizer)?
            }
            (None, Some(model)) => Files::folder(model)?,
            (None, None) => return Err(Error::input("name a 'model' or a 'family'")),
        };
        Self::of(settings, files, corpus)
    }

    /// The model of a checkpoint.
    pub(super) fn resumed(
        settings: &Settings,
        folder: &Folder,
        saved: &Saved,
        corpus: Corpus,
    ) -> Result<Self> {
        let files = Files::folder(folder.path())?;
        let mut held = files.carried()?;
        held.push((WEIGHTS.into(), saved.weights()));
        let held = held.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes)));
        let name = folder.path().display().to_string();
        Self::of(settings, Files::embedded(&name, held), corpus)
    }

    fn of(settings: &Settings, files: Files, corpus: Corpus) -> Result<Self> {
        let options = LoadOptions {
            device: settings.device,
            format: settings.format,
            threads: settings.threads,
            ..LoadOptions::default()
        };
        let tokenizer = Tokenizer::from_files(&files)?;
        let mut learner = Learner::load_files(files, &options)?;
        let recurrent = learner.plan().recurrent.is_some();
        if settings.checkpointing && recurrent {
            return Err(Error::input(
                "'checkpointing' is for transformers; a recurrent model is trained without it",
            ));
        }
        if settings.sampling.is_some() && !recurrent {
            return Err(Error::input(
                "'sampling' is for recurrent decoders; a transformer reads its targets at once",
            ));
        }
        if let Some(options) = &settings.lora {
            learner.add_lora(options)?;
        }
        let decoding = ConfigLayers::from_files(learner.files())?;
        let limit = learner.max_positions();
        let mut encoder = RowEncoder::new(tokenizer);
        encoder.max_source = least(settings.data.max_source, limit);
        encoder.max_target = least(settings.data.max_target, limit);
        if !learner.plan().is_encoder_decoder() && learner.plan().decoder.is_some() {
            // The last of them is written and not read.
            encoder.max_together = limit.map(|limit| limit.saturating_add(1));
        }
        encoder.overlong = settings.data.overlong;
        encoder.echoes = settings.data.objective.vae().is_some();
        if learner.plan().generates() {
            let eos = decoding.config().eos_token_id;
            encoder.eos = eos.and_then(|ids| ids.0.first().copied());
        }
        use ObjectiveSettings::{Classify, Tag};
        if matches!(settings.data.objective, Classify {} | Tag {}) {
            let labels = Labels::from_files(learner.files())?;
            let names = labels.names().iter().cloned();
            encoder.classes = Some(names.zip(0..).collect());
        }
        Ok(Self { learner, decoding, encoder, corpus })
    }
}

/// The files of the tokenizer of a new model.
fn tokenizer_files(settings: &Settings, corpus: &mut Corpus) -> Result<Vec<(String, Vec<u8>)>> {
    let of = &settings.tokenizer;
    if let Some(folder) = &of.folder {
        let files = Files::folder(folder)?;
        // Fails where there is none.
        Tokenizer::from_files(&files)?;
        let read = |name: &str| Some(files.read(name).transpose()?.map(|b| (name.to_owned(), b)));
        return tokenizer::files(|name| files.contains(name)).filter_map(read).collect();
    }
    let (spans, masks) = match &settings.data.objective {
        ObjectiveSettings::Spans(_) => (100, false),
        ObjectiveSettings::Denoise { .. } | ObjectiveSettings::MaskedLm(_) => (0, true),
        _ => (0, false),
    };
    let options = TokenizerOptions {
        kind: of.kind,
        vocab_size: of.vocab_size,
        extra_ids: of.extra_ids.max(spans),
        mask: of.mask || masks,
    };
    let new = NewTokenizer::train(&options, Some(corpus))?;
    Ok(new.files().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).to_vec())
}
