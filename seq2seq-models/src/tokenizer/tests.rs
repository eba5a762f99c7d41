use super::*;
use serde_json::json;

/// A byte-level BPE whose vocabulary is the 256 bytes and two special tokens.
fn byte_level() -> Tokenizer {
    let printable = |b: u8| (b'!'..=b'~').contains(&b) || (0xA1..=0xAC).contains(&b) || b >= 0xAE;
    let mut next = 256u32;
    let vocab: serde_json::Map<_, _> = (0..=255u8)
        .map(|b| {
            let c = if printable(b) { u32::from(b) } else { next };
            next += u32::from(!printable(b));
            (char::from_u32(c).unwrap().to_string(), json!(b))
        })
        .collect();
    let json = json!({
        "version": "1.0",
        "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    Tokenizer::from_bytes(json.to_string().as_bytes(), None).unwrap()
}

fn special(id: u32, content: &str) -> serde_json::Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

/// WordPiece with `[CLS]` and `[SEP]` around each text, and truncation and padding left on in the file.
fn word_piece(clean_up: bool) -> Tokenizer {
    let words = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat", ".", ",", "'",
        "s", "é",
    ];
    let vocab: serde_json::Map<_, _> =
        words.iter().zip(0..).map(|(w, i)| (w.to_string(), json!(i))).collect();
    let template = |pair: bool| {
        let token = |t: &str, s: u32| json!({"SpecialToken": {"id": t, "type_id": s}});
        let text = |t: &str, s: u32| json!({"Sequence": {"id": t, "type_id": s}});
        let mut parts = vec![token("[CLS]", 0), text("A", 0), token("[SEP]", 0)];
        if pair {
            parts.extend([text("B", 1), token("[SEP]", 1)]);
        }
        parts
    };
    let json = json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": (0..5).map(|i| special(i, words[i as usize])).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": false, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": template(false), "pair": template(true),
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    });
    let config = json!({"clean_up_tokenization_spaces": clean_up, "model_max_length": 1e30,
                        "mask_token": {"content": "[MASK]", "lstrip": false}, "pad_token": "[PAD]"});
    Tokenizer::from_bytes(json.to_string().as_bytes(), Some(config.to_string().as_bytes())).unwrap()
}

/// A sentencepiece-like BPE with byte fallback and a leading space, as LLaMA has.
fn byte_fallback() -> Tokenizer {
    let mut vocab: serde_json::Map<_, _> =
        (0..=255u32).map(|b| (format!("<0x{b:02X}>"), json!(b))).collect();
    for (token, id) in ["▁a", "▁b", "c", "▁"].iter().zip(256..) {
        vocab.insert(token.to_string(), json!(id));
    }
    let json = json!({
        "version": "1.0", "added_tokens": [special(260, "<s>")],
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": true},
    });
    Tokenizer::from_bytes(json.to_string().as_bytes(), None).unwrap()
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream(true);
    let mut text = String::new();
    for &id in ids {
        text += &stream.push(id).unwrap();
    }
    text + &stream.finish().unwrap()
}

#[test]
fn settings_in_the_file_neither_cut_nor_pad() {
    let t = word_piece(false);
    let e = t.encode("The cats sat, the cat sat.").unwrap();
    assert_eq!(e.ids(), [2, 5, 6, 7, 8, 10, 5, 6, 8, 9, 3]);
    assert_eq!(&e.offsets()[1..4], [(0, 3), (4, 7), (7, 8)]);
    assert!(e.is_special(0) && !e.is_special(1) && e.is_special(10));
    assert_eq!(t.encode_truncated("The cats sat", 4).unwrap().ids(), [2, 5, 6, 3]);
    assert!(t.encode_truncated("The cats sat", 2).is_err());
    assert_eq!(t.max_length(), None);
    assert_eq!(
        (t.mask_token(), t.pad_id(), t.unk_id(), t.cls_id()),
        (Some("[MASK]"), Some(0), Some(1), Some(2))
    );
}

#[test]
fn offsets_count_characters() {
    let t = word_piece(false);
    assert_eq!(t.encode("é é").unwrap().offsets()[1..3], [(0, 1), (2, 3)]);
}

#[test]
fn windows_overlap_by_the_stride() {
    let t = word_piece(false);
    let windows = t.encode_windows("cat", "the cat sat the cat sat", 8, 2).unwrap();
    let ids: Vec<_> = windows.iter().map(|w| w.ids().to_vec()).collect();
    // [CLS] cat [SEP] and [SEP] leave room for four.
    assert_eq!(ids, [[2, 6, 3, 5, 6, 8, 5, 3], [2, 6, 3, 8, 5, 6, 8, 3]]);
    assert_eq!(windows[1].offsets()[3], (8, 11));
    assert_eq!(windows[1].sequence_ids()[2..5], [None, Some(1), Some(1)]);
    assert_eq!(windows[1].type_ids(), [0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(t.encode_windows("cat", "", 8, 2).unwrap().len(), 1);
    let error = t.encode_windows("the cat sat", "the cat", 8, 2).unwrap_err().to_string();
    assert!(error.contains("no room"), "{error}");
}

#[test]
fn decodes_as_transformers() {
    let ids = [2, 6, 11, 12, 5, 10, 9, 3, 999];
    assert_eq!(word_piece(false).decode(&ids, true).unwrap(), "cat ' s the , .");
    assert_eq!(word_piece(true).decode(&ids, true).unwrap(), "cat's the,.");
    assert_eq!(word_piece(true).decode(&ids, false).unwrap(), "[CLS] cat's the,. [SEP]");
}

#[test]
fn streams_what_decode_gives() {
    let clean: Vec<u32> = [6, 11, 12, 5, 10, 8, 7, 9].into_iter().cycle().take(500).collect();
    for t in [word_piece(true), word_piece(false)] {
        assert_eq!(streamed(&t, &clean), t.decode(&clean, true).unwrap());
    }
    let t = byte_level();
    let text = "Füße – 漢字 🙂 \u{FFFD} end ".repeat(20);
    let mut ids: Vec<u32> = text.bytes().map(u32::from).collect();
    assert_eq!(streamed(&t, &ids), text);
    ids.insert(30, 256);
    ids.insert(100, 0xFF);
    ids.truncate(151);
    assert_eq!(streamed(&t, &ids), t.decode(&ids, true).unwrap());
}

#[test]
fn streams_byte_fallback_in_whole_runs() {
    let t = byte_fallback();
    let valid = [256, 0xC3, 0xA9, 258, 0xE2, 0x82, 0xAC];
    assert_eq!(streamed(&t, &valid), "aéc€");
    // The last byte spoils the run, so that even the finished character must not have gone on.
    let spoiled = [257, 0xC3, 0xA9, 0xFF, 258];
    assert_eq!(streamed(&t, &spoiled), t.decode(&spoiled, true).unwrap());
    let long: Vec<u32> =
        [260; 70].into_iter().chain([256, 259, 257].into_iter().cycle().take(200)).collect();
    assert_eq!(streamed(&t, &long), t.decode(&long, true).unwrap());
}

#[test]
fn characters_arrive_whole_and_early() {
    let t = byte_level();
    let mut stream = t.stream(true);
    let pieces: Vec<_> = "é€".bytes().map(|b| stream.push(u32::from(b)).unwrap()).collect();
    assert_eq!(pieces, ["", "é", "", "", "€"]);
}

#[test]
fn a_folder_without_a_tokenizer_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("source.spm"), "").unwrap();
    let error = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer.json")
            && error.contains("source.spm")
            && error.contains("save_pretrained"),
        "{error}"
    );
    std::fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
    assert!(
        Tokenizer::from_folder(folder.path()).unwrap_err().to_string().contains("tokenizer.json")
    );
}

#[test]
fn what_a_tokenizer_knows_of_itself() {
    assert!(word_piece(true).marks_subwords() && !byte_level().marks_subwords());
    assert!(!byte_level().pads_left());
    assert_eq!(byte_level().vocab_size(), 258);
    assert_eq!(word_piece(true).join_tokens(vec!["cat".into(), "##s".into()]).unwrap(), "cats");
}
