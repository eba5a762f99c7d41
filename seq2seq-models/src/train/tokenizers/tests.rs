use super::*;
use std::path::PathBuf;

const TEXTS: [&str; 8] = [
    "Hello, world! It's 12:30.",
    "naïve Ελλάδα 中文、句子。 🙂 e\u{301}",
    "tabs\tand  two spaces",
    "line\nbreaks\r\n",
    "the byte <0x41> and <0xZZ>",
    "the river",
    "\u{7f}\u{85}\u{2581}x",
    "",
];

/// Rows with some hundred different words, in a folder of their own.
fn rows() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    let starts = ["re", "un", "over", "out", "co", "sub", "in", "de"];
    let stems = ["lat", "form", "play", "act", "ject", "port", "scrib", "vert", "duc", "é"];
    let ends = ["e", "ing", "ed", "ion", "s", "able", "or", ""];
    let word = |i: usize| format!("{}{}{}", starts[i % 8], stems[i / 3 % 10], ends[i / 5 % 8]);
    let row =
        |i: usize| format!("{} {}, {}\t{}!\n", word(i), word(i * 7), word(i * i), word(i * 3));
    std::fs::write(&path, (0..400).map(row).collect::<String>()).unwrap();
    (folder, path)
}

fn options(kind: Kind) -> TokenizerOptions {
    let vocab_size = (kind != Kind::Bytes).then_some(500);
    TokenizerOptions { kind, vocab_size, extra_ids: 3, mask: true }
}

fn train(options: &TokenizerOptions) -> Result<NewTokenizer> {
    let (_folder, path) = rows();
    NewTokenizer::train(options, Some(&mut Corpus::open(&[path])?))
}

#[test]
fn special_tokens_are_where_they_should_be() {
    for kind in Kind::ALL {
        let new = train(&options(kind)).unwrap();
        let tokenizer = new.tokenizer().unwrap();
        let size = new.tokens();
        assert_eq!(tokenizer.vocab_size(), size);
        match kind {
            Kind::Bytes => assert_eq!(size, 263),
            Kind::Bpe => assert_eq!(size, 500),
            // These rows have no more pieces.
            Kind::Unigram => assert!((400..=500).contains(&size), "{size}"),
        }
        for (id, token) in (0..).zip(SPECIAL) {
            assert_eq!(tokenizer.token_to_id(token), Some(id));
            assert!(tokenizer.is_special(id));
        }
        assert_eq!((tokenizer.pad_id(), tokenizer.unk_id()), (Some(0), Some(2)));
        let id = |token: &str| tokenizer.token_to_id(token).map(|id| id as usize);
        assert_eq!(id("<extra_id_0>"), Some(size - 4));
        assert_eq!(id("<extra_id_2>"), Some(size - 2));
        assert_eq!((tokenizer.mask_token(), id("<mask>")), (Some("<mask>"), Some(size - 1)));
        let ids = tokenizer.encode("ab<extra_id_1>").unwrap();
        assert_eq!(ids.ids().last_chunk(), Some(&[size as u32 - 3, 1]), "{kind}");
        assert_eq!(
            tokenizer.encode_pair("a", "b").unwrap().ids().iter().filter(|&&i| i == 1).count(),
            2
        );
    }
}

#[test]
fn every_text_comes_back() {
    for kind in Kind::ALL {
        let tokenizer = train(&options(kind)).unwrap().tokenizer().unwrap();
        for text in TEXTS {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids.ids().last(), Some(&1));
            assert!(!ids.ids().contains(&2), "{kind} {text:?}");
            // ▁ is a space to Unigram, as everywhere.
            let expected =
                if kind == Kind::Unigram { text.replace('▁', " ") } else { text.into() };
            assert_eq!(tokenizer.decode(ids.ids(), true).unwrap(), expected, "{kind}");
        }
    }
}

#[test]
fn frequent_words_become_few_tokens() {
    let count = |kind| {
        let tokenizer = train(&options(kind)).unwrap().tokenizer().unwrap();
        tokenizer.encode("reforming subverted").unwrap().ids().len()
    };
    assert_eq!(count(Kind::Bytes), 20);
    for kind in [Kind::Bpe, Kind::Unigram] {
        assert!(count(kind) <= 14, "{kind}: {}", count(kind));
    }
}

#[test]
fn bytes_have_the_ids_of_byt5() {
    let new = NewTokenizer::train(&TokenizerOptions::new(Kind::Bytes), None).unwrap();
    let tokenizer = new.tokenizer().unwrap();
    assert_eq!(tokenizer.vocab_size(), 259);
    for byte in 0..=255u8 {
        assert_eq!(tokenizer.token_bytes(u32::from(byte) + 3), [byte]);
    }
    let text = "é \n\u{10FFFF}";
    let ids: Vec<u32> = text.bytes().map(|b| u32::from(b) + 3).chain([1]).collect();
    assert_eq!(tokenizer.encode(text).unwrap().ids(), ids);
}

#[test]
fn the_same_rows_give_the_same_files_on_any_number_of_threads() {
    for kind in Kind::ALL {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(&options(kind))).unwrap()
        };
        let first = on(1);
        for threads in [1, 2, 3, 5] {
            assert_eq!(on(threads).files(), first.files(), "{kind} {threads}");
        }
    }
}

#[test]
fn folders_load_and_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("new");
    let new = train(&options(Kind::Unigram)).unwrap();
    new.save(&output).unwrap();
    let tokenizer = Tokenizer::from_folder(&output).unwrap();
    assert_eq!(
        tokenizer.encode("recoed").unwrap().ids(),
        new.tokenizer().unwrap().encode("recoed").unwrap().ids()
    );
    assert!(new.save(&output).unwrap_err().to_string().contains("holds something"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_done_is_said() {
    let error = |options| train(&options).unwrap_err().to_string();
    for kind in [Kind::Bpe, Kind::Unigram] {
        let small = TokenizerOptions { vocab_size: Some(200), ..options(kind) };
        assert!(error(small).contains("too small"), "{kind}");
        let none = NewTokenizer::train(&options(kind), None).unwrap_err().to_string();
        assert!(none.contains("give rows"), "{none}");
    }
    let sized = TokenizerOptions { vocab_size: Some(300), ..options(Kind::Bytes) };
    assert!(error(sized).contains("263 tokens"));
    // The least that does.
    let least = TokenizerOptions { vocab_size: Some(3 + 256), ..TokenizerOptions::new(Kind::Bpe) };
    assert_eq!(train(&least).unwrap().tokens(), 259);
    assert!("wordpiece".parse::<Kind>().unwrap_err().contains("unigram"));
}

#[test]
fn nothing_to_train_on_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{\"text\": \"\"}\n").unwrap();
    let train = |kind| {
        NewTokenizer::train(
            &TokenizerOptions::new(kind),
            Some(&mut Corpus::open(&[&path]).unwrap()),
        )
    };
    assert!(train(Kind::Unigram).unwrap_err().to_string().contains("no words"));
    assert_eq!(train(Kind::Bpe).unwrap().tokens(), 259);
}

#[test]
fn rows_that_cannot_be_read_any_more_are_errors() {
    for kind in [Kind::Bpe, Kind::Unigram] {
        let (_folder, path) = rows();
        let mut corpus = Corpus::open(&[&path]).unwrap();
        std::fs::write(&path, "a\tb\n").unwrap();
        let error = NewTokenizer::train(&options(kind), Some(&mut corpus)).unwrap_err();
        assert!(error.to_string().contains("rows.tsv"), "{error}");
    }
}

#[test]
fn the_smallest_unigram_holds_all_characters() {
    let (_folder, path) = rows();
    let too_small =
        TokenizerOptions { vocab_size: Some(270), ..TokenizerOptions::new(Kind::Unigram) };
    let error = NewTokenizer::train(&too_small, Some(&mut Corpus::open(&[&path]).unwrap()))
        .unwrap_err()
        .to_string();
    // The error names the least size that does.
    let least: usize = error.rsplit(' ').next().unwrap().parse().unwrap();
    let options = TokenizerOptions { vocab_size: Some(least), ..too_small };
    let new = NewTokenizer::train(&options, Some(&mut Corpus::open(&[path]).unwrap())).unwrap();
    assert_eq!(new.tokens(), least);
    let ids = new.tokenizer().unwrap().encode("éa").unwrap();
    assert!(ids.ids().iter().all(|&id| id == 1 || id >= 259), "{ids:?}");
}
