//! Byte pair encoding over bytes.

use super::{Parts, SPECIAL, Texts, TokenizerOptions, failed, words};
use crate::{Result, train::data::Corpus};
use tokenizers::{
    AddedToken, Trainer,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

pub(super) fn train(options: &TokenizerOptions, corpus: &mut Corpus) -> Result<Parts> {
    let room = options.room(256)?;
    let level = ByteLevel::new(false, false, true);
    let mut trainer = BpeTrainer::builder()
        .vocab_size(SPECIAL.len() + room)
        .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut texts = Texts::of(corpus);
    trainer.feed(&mut texts, |text| words(&level, text)).map_err(failed)?;
    texts.finish()?;
    let mut model = BPE::default();
    trainer.train(&mut model).map_err(failed)?;
    Ok(Parts { model: model.into(), pre_tokenizer: level.into(), decoder: level.into() })
}
