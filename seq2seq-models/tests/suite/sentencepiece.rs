//! Folders without tokenizer.json, by the ids and texts that transformers has of them.

use super::support;
use proptest::{prelude::*, sample::Index};
use seq2seq_models::{
    Files, LoadOptions, Tokenizer, convert,
    seq2seq_core::Format,
    train::data::{Row, RowEncoder},
};
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap, path::Path};

#[derive(Deserialize)]
struct Expected {
    size: usize,
    encodings: Vec<Encoding>,
    /// Two texts, and their ids.
    pairs: Vec<(String, String, Vec<u32>)>,
    /// Ids, and their text without and with special tokens.
    decodings: Vec<(Vec<u32>, String, String)>,
}

#[derive(Deserialize)]
struct Encoding {
    text: String,
    ids: Vec<u32>,
    /// Where targets have rules of their own.
    target_ids: Option<Vec<u32>>,
}

#[test]
fn ids_and_texts_are_those_of_transformers() {
    let folders = std::fs::read_dir(support::root().join("sentencepiece")).unwrap();
    let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().path()).collect();
    folders.push(support::fixture("marian_shared").folder);
    assert!(folders.len() > 7);
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy();
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        let targets = tokenizer.for_targets();
        let json = std::fs::read(folder.join("encodings.json")).unwrap();
        let expected: Expected = serde_json::from_slice(&json).unwrap();
        assert_eq!(tokenizer.vocab_size(), expected.size, "{name}");
        assert!(expected.encodings.len() > 80 && expected.decodings.len() > 80);
        for Encoding { text, ids, target_ids } in expected.encodings {
            let encoding = tokenizer.encode(&text).unwrap();
            assert_eq!(encoding.ids(), ids, "{name} {text:?} {:?}", encoding.tokens());
            let in_text =
                |&(begin, end): &(usize, usize)| begin <= end && end <= text.chars().count();
            assert!(encoding.offsets().iter().all(in_text), "{name} {text:?}");
            if let Some(ids) = target_ids {
                let encoding = targets.encode(&text).unwrap();
                assert_eq!(encoding.ids(), ids, "{name} {text:?} {:?}", encoding.tokens());
            }
        }
        for (first, second, ids) in expected.pairs {
            assert_eq!(
                tokenizer.encode_pair(&first, &second).unwrap().ids(),
                ids,
                "{name} {first:?}"
            );
        }
        for (ids, text, with_special) in expected.decodings {
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text, "{name} {ids:?}");
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), with_special, "{name} {ids:?}");
            for (skips, text) in [(true, text), (false, with_special)] {
                let mut stream = tokenizer.stream(skips);
                let pieces: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
                let streamed = pieces.concat() + &stream.finish().unwrap();
                assert_eq!(streamed, text, "{name} {ids:?}");
            }
        }
    }
}

#[test]
fn rows_are_encoded_by_the_rules_of_their_language() {
    for name in ["sentencepiece/marian_separate", "sentencepiece/mbart", "marian_shared"] {
        let folder = support::fixture(name).folder;
        let encoder = RowEncoder::new(Tokenizer::from_folder(&folder).unwrap());
        let json = std::fs::read(folder.join("encodings.json")).unwrap();
        let expected: Expected = serde_json::from_slice(&json).unwrap();
        for Encoding { text, ids, target_ids } in expected.encodings {
            let row = Row::Pair { source: text.clone(), target: text.clone() };
            let example = encoder.encode(&row).unwrap();
            assert_eq!(
                (example.source, Some(example.target)),
                (ids, target_ids),
                "{name} {text:?}"
            );
        }
    }
}

#[test]
fn converted_folders_keep_their_tokenizer() {
    let folder = support::fixture("marian_shared").folder;
    let work = tempfile::tempdir().unwrap();
    let output = work.path().join("int8");
    let options = LoadOptions { format: Format::Int8, ..LoadOptions::default() };
    convert(&Files::folder(&folder).unwrap(), &options, &output).unwrap();
    let ids = |folder| {
        let tokenizer = Tokenizer::from_folder(folder).unwrap();
        let text = ">>de<< reforming  the ports!";
        [tokenizer.for_targets(), tokenizer].map(|t| t.encode(text).unwrap().ids().to_vec())
    };
    assert_eq!(ids(output), ids(folder));
}

/// A folder's files with one of them changed.
fn with(folder: &Path, changed: &str, change: impl FnOnce(&mut Vec<u8>)) -> Files {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: BTreeMap<String, Vec<u8>> = files
        .filter(|path| path.extension().is_some_and(|e| e != "safetensors"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(path).unwrap())
        })
        .collect();
    change(files.get_mut(changed).unwrap());
    Files::embedded("damaged", files.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes))))
}

/// Changes to bytes of a file: some are others, some are gone or there twice.
#[derive(Debug, Clone)]
struct Damage {
    others: Vec<(Index, u8)>,
    gone: Option<(Index, usize)>,
    twice: Option<(Index, usize)>,
    cut: Option<Index>,
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        let range = || proptest::option::of((any::<Index>(), 1..40usize));
        let others = proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4);
        let cut = proptest::option::weighted(0.2, any::<Index>());
        (others, range(), range(), cut).prop_map(|(others, gone, twice, cut)| Self {
            others,
            gone,
            twice,
            cut,
        })
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let range = |(begin, length): &(Index, usize), bytes: &Vec<u8>| {
            let begin = begin.index(bytes.len());
            begin..(begin + length).min(bytes.len())
        };
        for (at, byte) in &self.others {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Some(gone) = &self.twice {
            let range = range(gone, bytes);
            let part = bytes[range.clone()].to_vec();
            bytes.splice(range.start..range.start, part);
        }
        if let Some(gone) = &self.gone {
            let range = range(gone, bytes);
            bytes.drain(range);
        }
        if let Some(cut) = self.cut.filter(|_| !bytes.is_empty()) {
            bytes.truncate(cut.index(bytes.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    /// Each is an error that names a file, or a tokenizer that works somehow.
    #[test]
    fn damaged_files_neither_panic_nor_hang(which in 0..DAMAGED.len(), damage in Damage::any()) {
        let (folder, file) = DAMAGED[which];
        let files = with(&support::fixture(folder).folder, file, |bytes| damage.apply(bytes));
        match Tokenizer::from_files(&files) {
            Err(error) => prop_assert!(error.to_string().starts_with("damaged"), "{error}"),
            Ok(tokenizer) => {
                for tokenizer in [tokenizer.for_targets(), tokenizer] {
                    for text in ["", "reforming  the \u{212b}\u{fb01}\u{ff8a}\u{ff9f}.", ">>de<< a\u{301}</s> \0\u{1f642}"] {
                        // Text for which a damaged vocabulary has no token is an error.
                        if let Ok(encoding) = tokenizer.encode(text) {
                            tokenizer.decode(encoding.ids(), false).unwrap();
                        }
                    }
                    let ids: Vec<u32> = (0..400).collect();
                    tokenizer.decode(&ids, true).unwrap();
                }
            }
        }
    }
}

const DAMAGED: [(&str, &str); 9] = [
    ("marian_shared", "source.spm"),
    ("marian_shared", "target.spm"),
    ("marian_shared", "vocab.json"),
    ("marian_shared", "tokenizer_config.json"),
    ("sentencepiece/marian_separate", "source.spm"),
    ("sentencepiece/marian_separate", "target_vocab.json"),
    ("sentencepiece/xlm_roberta", "sentencepiece.bpe.model"),
    ("sentencepiece/t5", "spiece.model"),
    ("sentencepiece/mbart", "tokenizer_config.json"),
];

#[test]
fn what_is_missing_or_wrong_is_named() {
    let shared = support::fixture("marian_shared").folder;
    let separate = support::fixture("sentencepiece/marian_separate").folder;
    let t5 = support::fixture("sentencepiece/t5").folder;
    let says = |files: Files, parts: &[&str]| {
        let error = Tokenizer::from_files(&files).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let config = "tokenizer_config.json";
    let json = |text: &'static str| move |bytes: &mut Vec<u8>| *bytes = text.into();
    says(
        with(&shared, config, json(r#"{"separate_vocabs": true}"#)),
        &["target_vocab.json", "no such file"],
    );
    says(with(&shared, config, json(r#"{"unk_token": "[UNK]"}"#)), &["vocab.json", "[UNK]"]);
    says(
        with(&shared, "vocab.json", json(r#"{"<unk>": 1, "a": 1}"#)),
        &["vocab.json", "the same id, 1"],
    );
    says(with(&shared, "source.spm", |b| b.truncate(100)), &["source.spm", "damaged"]);
    says(with(&separate, "target.spm", |b| b.clear()), &["target.spm", "what is unknown"]);
    says(with(&t5, "spiece.model", |b| b.truncate(100)), &["spiece.model", "damaged"]);
    // The model's kind: the second field of the message with the settings of the training.
    let bpe = |b: &mut Vec<u8>| b.extend([0x12, 2, 3 << 3, 2]);
    says(with(&t5, "spiece.model", bpe), &["spiece.model", "not a Unigram"]);
    says(with(&shared, "target.spm", bpe), &["target.spm", "not a Unigram"]);
}
