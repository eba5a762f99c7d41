//! Small tokenizers of each kind for tests.

use super::Tokenizer;
use crate::Files;
use serde_json::{Value, json};

fn of(tokenizer: &Value, config: &Value) -> Tokenizer {
    let file = |name: &str, json: &Value| (name.to_owned(), json.to_string().into_bytes().into());
    let files = [file("tokenizer.json", tokenizer), file("tokenizer_config.json", config)];
    Tokenizer::from_files(&Files::embedded("test", files)).unwrap()
}

/// A byte-level BPE whose vocabulary is the 256 bytes and two special tokens.
pub(crate) fn byte_level() -> Tokenizer {
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
    of(&json, &json!({}))
}

fn special(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

/// WordPiece with `[CLS]` and `[SEP]` around each text, and truncation and padding left on in the file.
pub(crate) fn word_piece(clean_up: bool) -> Tokenizer {
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
    of(&json, &config)
}

/// A sentencepiece-like BPE with byte fallback and a leading space, as LLaMA has.
pub(crate) fn byte_fallback() -> Tokenizer {
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
    of(&json, &json!({}))
}
