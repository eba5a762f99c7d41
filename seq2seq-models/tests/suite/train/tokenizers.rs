//! New tokenizers as transformers reads them.

use seq2seq_models::{
    Tokenizer,
    train::{
        data::Corpus,
        tokenizers::{Kind, NewTokenizer, TokenizerOptions},
    },
};
use serde::Deserialize;
use serde_json::Value;

const KINDS: [Kind; 3] = [Kind::Bytes, Kind::Bpe, Kind::Unigram];

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[test]
fn ids_are_those_that_transformers_reads() {
    for kind in KINDS {
        let tokenizer = Tokenizer::from_folder(super::path(&format!("tokenizers/{kind}"))).unwrap();
        let cases: Vec<Case> = super::fixture(&format!("tokenizers/{kind}/encodings.json"));
        assert!(cases.len() > 5);
        for Case { text, ids, decoded } in cases {
            assert_eq!(tokenizer.encode(&text).unwrap().ids(), ids, "{kind} {text:?}");
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), decoded, "{kind} {text:?}");
        }
    }
}

/// With the settings of `make_tokenizers.py`.
#[test]
fn training_gives_the_committed_files() {
    for (kind, vocab_size, extra_ids) in
        [(Kind::Bytes, None, 5), (Kind::Bpe, Some(400), 2), (Kind::Unigram, Some(420), 2)]
    {
        let options = TokenizerOptions { kind, vocab_size, extra_ids, mask: kind != Kind::Bytes };
        let mut corpus = Corpus::open(&[super::path("tokenizers/rows.tsv")]).unwrap();
        let new = NewTokenizer::train(&options, Some(&mut corpus)).unwrap();
        for (name, text) in new.files() {
            let committed: Value = super::fixture(&format!("tokenizers/{kind}/{name}"));
            alike(&serde_json::from_str(text).unwrap(), &committed, &format!("{kind} {name}"));
        }
    }
}

/// Logarithms of different mathematical libraries differ in the last bits.
fn alike(a: &Value, b: &Value, place: &str) {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            a.iter()
                .zip(b)
                .enumerate()
                .for_each(|(i, (a, b))| alike(a, b, &format!("{place} {i}")));
        }
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{place}");
            a.iter().zip(b).for_each(|((key, a), (_, b))| alike(a, b, &format!("{place} {key}")));
        }
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|n| n.as_f64().unwrap());
            assert!((a - b).abs() <= 1e-9 * b.abs(), "{place}: {a} {b}");
        }
        _ => assert_eq!(a, b, "{place}"),
    }
}
