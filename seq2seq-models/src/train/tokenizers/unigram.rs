//! Unigram: the pieces under which words are likeliest.
//!
//! The training of the `tokenizers` crate sums over words in the order of a hash map and on as many threads as there are,
//! so that two runs differ in the last bits and then in pieces. Here it gets its words in order, on one thread.

use super::{Parts, SPECIAL, Texts, TokenizerOptions, failed, words};
use crate::{Error, Result, train::data::Corpus};
use std::collections::{BTreeMap, BTreeSet};
use tokenizers::{
    DecoderWrapper,
    decoders::{byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence, strip::Strip},
    models::unigram::{Unigram, UnigramTrainer},
    normalizers::replace::Replace,
    pre_tokenizers::metaspace::{Metaspace, PrependScheme},
};

/// Stands for the space before a word.
const SPACE: char = '▁';
/// Those of the names of bytes. With them in the vocabulary, the text `<0x41>` is six characters rather than a byte.
const NAMES_OF_BYTES: &str = "<0123456789ABCDEFx>";
/// The steps in which the trainer gives scores to characters that it had dropped.
const STEP: f64 = 0.0001;

pub(super) fn train(options: &TokenizerOptions, corpus: &mut Corpus) -> Result<Parts> {
    let metaspace = Metaspace::new(SPACE, PrependScheme::Always, true);
    let mut counts = BTreeMap::<String, u32>::new();
    let mut texts = Texts::of(corpus);
    for text in &mut texts {
        for word in words(&metaspace, &text).map_err(failed)? {
            let count = counts.entry(word).or_default();
            *count = count.saturating_add(1);
        }
    }
    texts.finish()?;
    check(&counts)?;
    let characters: BTreeSet<char> =
        counts.keys().flat_map(|word| word.chars()).chain(NAMES_OF_BYTES.chars()).collect();
    let room = options.room(256 + characters.len())? - 256;
    let pieces = pieces(counts.into_iter().collect(), room)?;

    let lowest = pieces.iter().map(|(_, score)| *score).fold(-1.0, f64::min);
    // Below six characters, the longest way to write what is a byte's name.
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 8.0 * lowest));
    let special = SPECIAL.map(|token| (token.to_owned(), 0.0));
    let vocabulary: Vec<_> = special.into_iter().chain(bytes).chain(pieces).collect();
    let model = Unigram::from(vocabulary, Some(2), true).map_err(failed)?;
    Ok(Parts { model: model.into(), pre_tokenizer: metaspace.into(), decoder: decoder()? })
}

/// The trainer counts in 32 bits, and has no answer where there is nothing.
fn check(counts: &BTreeMap<String, u32>) -> Result<()> {
    let characters: u64 =
        counts.iter().map(|(w, &n)| u64::from(n) * w.chars().count() as u64).sum();
    match characters {
        0 => Err(Error::input("the rows hold no words to train a tokenizer on")),
        n if n > u64::from(u32::MAX) => Err(Error::Input(format!(
            "the rows hold {n} characters, more than the {} that Unigram can be trained on; give a part of them",
            u32::MAX
        ))),
        _ => Ok(()),
    }
}

/// At most `size` pieces of the words with their log-probabilities, the likeliest first. All characters are among them.
fn pieces(words: Vec<(String, u32)>, size: usize) -> Result<Vec<(String, f64)>> {
    let size = u32::try_from(size).map_err(|_| Error::input("the vocabulary is too large"))?;
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(size)
        .initial_alphabet(NAMES_OF_BYTES.chars().collect())
        .build()
        .map_err(|e| Error::Input(format!("the tokenizer cannot be made: {e}")))?;
    let thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|e| Error::Input(format!("no thread for training the tokenizer: {e}")))?;
    let mut model = Unigram::default();
    thread.install(|| trainer.do_train(words, &mut model)).map_err(failed)?;
    let mut pieces: Vec<(String, f64)> = model.iter().cloned().collect();
    settle(&mut pieces);
    pieces.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    // The trainer gives too many where there is room for characters alone.
    let characters = pieces.iter().filter(|(piece, _)| is_character(piece)).count();
    let mut room = (size as usize).saturating_sub(characters);
    pieces.retain(|(piece, _)| {
        let keep = is_character(piece) || room > 0;
        room -= usize::from(keep && !is_character(piece));
        keep
    });
    Ok(pieces)
}

fn is_character(piece: &str) -> bool {
    piece.chars().nth(1).is_none()
}

/// Characters that training has dropped come back with the lowest score and some steps, which of them with how many
/// being up to a hash map. All that may be such ones get the lowest score.
fn settle(pieces: &mut [(String, f64)]) {
    let lowest = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let steps = pieces.iter().filter(|(piece, _)| is_character(piece)).count() as f64;
    for (_, score) in pieces.iter_mut().filter(|(piece, _)| is_character(piece)) {
        if *score <= lowest + STEP * steps {
            *score = lowest;
        }
    }
}

/// As for the sentencepiece models of LLaMA: the first space of a text is none of its own.
fn decoder() -> Result<DecoderWrapper> {
    let decoders = vec![
        Replace::new(SPACE.to_string(), " ").map_err(failed)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
        Strip::new(' ', 1, 0).into(),
    ];
    Ok(Sequence::new(decoders).into())
}
