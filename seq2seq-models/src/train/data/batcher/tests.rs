use super::*;
use crate::{tokenizer::test_tokenizers::byte_level, train::data::Overlong};
use std::collections::BTreeSet;

/// Rows of up to 20 and 10 bytes; every source begins with its number.
fn corpus(rows: usize) -> (tempfile::TempDir, Corpus) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    let row =
        |i: usize| format!("{i:04}{}\t{}\n", "s".repeat(i * 7 % 17), "t".repeat(1 + i * 5 % 10));
    std::fs::write(&path, (0..rows).map(row).collect::<String>()).unwrap();
    let corpus = Corpus::open(&[path]).unwrap();
    (folder, corpus)
}

fn options(seed: u64) -> BatchOptions {
    BatchOptions { tokens: 100, window: 64, order: Order::Shuffled { seed } }
}

fn batcher(corpus: Corpus, options: BatchOptions) -> Batcher {
    Batcher::new(corpus, RowEncoder::new(byte_level()), options).unwrap()
}

fn epoch(batcher: &mut Batcher) -> Vec<Batch> {
    let mut batches = Vec::new();
    loop {
        batches.push(batcher.next_batch().unwrap());
        if batches.last().unwrap().ends_epoch {
            return batches;
        }
    }
}

#[test]
fn every_row_comes_once_an_epoch_and_no_batch_is_too_large() {
    for (rows, order) in [
        (300, Order::InFiles),
        (300, Order::Shuffled { seed: 1 }),
        (64, Order::InFiles),
        (1, Order::InFiles),
    ] {
        let (_folder, corpus) = corpus(rows);
        let mut batcher = batcher(corpus, BatchOptions { order, ..options(0) });
        for number in 0..3 {
            let batches = epoch(&mut batcher);
            let mut seen: Vec<usize> = batches.iter().flat_map(|b| b.rows.clone()).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..rows));
            for batch in &batches {
                assert!(batch.tokens() <= 100 && batch.epoch == number);
                assert_eq!(batch.source.ragged.sequences(), batch.rows.len());
                assert_eq!(batch.target.ragged.rows(), batch.target.ids.len());
                for (i, &row) in batch.rows.iter().enumerate() {
                    let ids = &batch.source.ids[batch.source.ragged.range(i)];
                    let text: String = ids.iter().map(|&b| b as u8 as char).collect();
                    assert_eq!(text[..4], format!("{row:04}"));
                    assert_eq!(batch.target.ragged.length(i), 1 + row * 5 % 10);
                }
            }
            // Fewer than half would be empty: the next row of a full batch has at most 30 tokens.
            let windows = rows.div_ceil(64);
            let full = batches.iter().filter(|b| b.tokens() > 70).count();
            assert!(full + windows >= batches.len(), "{full} of {}", batches.len());
        }
    }
}

#[test]
fn rows_of_a_batch_have_like_lengths() {
    let (_folder, corpus) = corpus(300);
    let mut batcher = batcher(corpus, options(3));
    let spread: Vec<usize> = epoch(&mut batcher)
        .iter()
        .map(|b| b.source.ragged.longest() - b.source.ragged.lengths().min().unwrap())
        .collect();
    let mean = spread.iter().sum::<usize>() as f64 / spread.len() as f64;
    // Of 17 lengths that are all as frequent; rows at random differ by 10 and more.
    assert!(mean < 4.0, "{mean}");
}

#[test]
fn orders_hang_on_seed_and_epoch_alone() {
    let rows = |seed, skip| {
        let (_folder, corpus) = corpus(300);
        let mut batcher = batcher(corpus, options(seed));
        (0..skip).for_each(|_| drop(epoch(&mut batcher)));
        epoch(&mut batcher).into_iter().map(|b| b.rows).collect::<Vec<_>>()
    };
    assert_eq!(rows(1, 0), rows(1, 0));
    assert_eq!(rows(1, 2), rows(1, 2));
    let different: BTreeSet<_> = [rows(1, 0), rows(2, 0), rows(1, 1), rows(1, 2)].into();
    assert_eq!(different.len(), 4);
}

#[test]
fn training_goes_on_from_any_position() {
    let (_folder, first) = corpus(150);
    let path = _folder.path().join("rows.tsv");
    let mut whole = batcher(first, options(9));
    let mut positions = vec![whole.position()];
    let mut batches = Vec::new();
    while batches.len() < 120 {
        batches.push(whole.next_batch().unwrap());
        positions.push(whole.position());
    }
    assert!(batches.last().unwrap().epoch > 1);
    let again = || batcher(Corpus::open(&[&path]).unwrap(), options(9));
    for from in (0..100).step_by(7) {
        let mut resumed = again();
        let saved = serde_json::to_string(&positions[from]).unwrap();
        resumed.resume(serde_json::from_str(&saved).unwrap()).unwrap();
        assert_eq!(resumed.position(), positions[from]);
        for batch in &batches[from..from + 20] {
            assert_eq!(&resumed.next_batch().unwrap(), batch);
        }
    }
    // The same batcher, back and forth.
    let mut batcher = again();
    for from in [50, 3, 99] {
        batcher.resume(positions[from]).unwrap();
        assert_eq!(batcher.next_batch().unwrap(), batches[from]);
    }
}

#[test]
fn foreign_and_damaged_positions_are_refused() {
    let (folder, first) = corpus(150);
    let path = folder.path().join("rows.tsv");
    let position = batcher(first, options(9)).position();
    let open = || Corpus::open(&[&path]).unwrap();
    for other in [
        options(8),
        BatchOptions { tokens: 99, ..options(9) },
        BatchOptions { window: 65, ..options(9) },
        BatchOptions { order: Order::InFiles, ..options(9) },
    ] {
        let error = batcher(open(), other).resume(position).unwrap_err().to_string();
        assert!(error.contains("have changed"), "{error}");
    }
    let mut encoder = RowEncoder::new(byte_level());
    encoder.max_target = Some(10);
    assert!(Batcher::new(open(), encoder, options(9)).unwrap().resume(position).is_err());
    let mut same = batcher(open(), options(9));
    for damaged in [
        Position { window: 1, ..position },
        Position { window: 192, ..position },
        Position { window: u64::MAX, ..position },
        Position { taken: 64, ..position },
        Position { taken: u64::MAX, ..position },
    ] {
        let error = same.resume(damaged).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        assert_eq!(same.position(), position);
    }
    assert_eq!(same.next_batch().unwrap(), batcher(open(), options(9)).next_batch().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("0007", "0070", 1)).unwrap();
    assert!(batcher(open(), options(9)).resume(position).is_err());
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let (_folder, first) = corpus(20);
    let mut encoder = RowEncoder::new(byte_level());
    encoder.overlong = Overlong::Refuse;
    let order = BatchOptions { tokens: 20, order: Order::InFiles, ..options(0) };
    let mut narrow = Batcher::new(first, encoder, order).unwrap();
    let error = narrow.next_batch().unwrap_err().to_string();
    assert!(error.contains("rows.tsv: line ") && error.contains("more than the 20"), "{error}");
    let (_folder, first) = corpus(20);
    let mut encoder = RowEncoder::new(byte_level());
    (encoder.max_source, encoder.overlong) = (Some(20), Overlong::Refuse);
    // Row i has 4 + 7i mod 17 bytes: 4, 11, 18, and never more than 20.
    let order = BatchOptions { order: Order::InFiles, ..options(0) };
    let mut refusing = Batcher::new(first, encoder.clone(), order).unwrap();
    assert!(epoch(&mut refusing).iter().all(|b| b.source.ragged.longest() <= 20));
    let (_folder, first) = corpus(20);
    encoder.max_source = Some(17);
    let error = Batcher::new(first, encoder, order).unwrap().next_batch().unwrap_err().to_string();
    assert!(error.contains("rows.tsv: line 3: the source has 18 tokens, more than 17"), "{error}");
    let (_folder, first) = corpus(1);
    let none = BatchOptions { tokens: 0, ..options(0) };
    assert!(Batcher::new(first, RowEncoder::new(byte_level()), none).is_err());
}

#[test]
fn rows_that_are_too_long_for_a_batch_are_cut() {
    let (_folder, first) = corpus(64);
    let options = BatchOptions { tokens: 18, order: Order::InFiles, ..options(0) };
    let mut narrow = batcher(first, options);
    let batches = epoch(&mut narrow);
    let mut rows: Vec<usize> = batches.iter().flat_map(|b| b.rows.clone()).collect();
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..64));
    assert!(batches.iter().all(|b| b.tokens() <= 18));
    for batch in &batches {
        for (i, &row) in batch.rows.iter().enumerate() {
            let whole = (4 + row * 7 % 17, 1 + row * 5 % 10);
            let cut = (batch.source.ragged.length(i), batch.target.ragged.length(i));
            match whole.0 + whole.1 > 18 {
                true => assert_eq!(cut.0 + cut.1, 18, "{row}"),
                false => assert_eq!(cut, whole, "{row}"),
            }
        }
    }
}

#[test]
fn texts_have_targets_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.jsonl");
    std::fs::write(&path, "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n").unwrap();
    let mut batcher = batcher(
        Corpus::open(&[path]).unwrap(),
        BatchOptions { order: Order::InFiles, ..options(0) },
    );
    let batch = batcher.next_batch().unwrap();
    assert_eq!(batch.rows, [1, 0]);
    assert_eq!(batch.target.ids, b"cab".map(u32::from));
    assert_eq!(batch.source.ragged, Ragged::from_lengths([0, 0]));
}
