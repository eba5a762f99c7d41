use super::{test_tokenizers::*, *};

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
    for file in ["spiece.model", "vocab.txt"] {
        std::fs::write(folder.path().join(file), "").unwrap();
        let error = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        for part in ["tokenizer.json", file, "save_pretrained(DIR)"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(Tokenizer::find(&Files::folder(folder.path()).unwrap()).unwrap().is_none());
    }
    std::fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
    assert!(
        Tokenizer::from_folder(folder.path()).unwrap_err().to_string().contains("tokenizer.json")
    );
}

#[test]
fn what_a_tokenizer_knows_of_itself() {
    assert!(word_piece(true).marks_subwords() && !byte_level().marks_subwords());
    assert_eq!(byte_level().vocab_size(), 258);
    assert_eq!(word_piece(true).join_tokens(vec!["cat".into(), "##s".into()]).unwrap(), "cats");
}
