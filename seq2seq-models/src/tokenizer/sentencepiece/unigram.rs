//! The most probable pieces of a text, where each is drawn by itself.
//!
//! The crate `tokenizers` has this too, but sums in f64. sentencepiece keeps the sum to each place in f32, by which it
//! decides between pieces that are as probable in any order, as in `.......`; and it has symbols that are always kept.

use std::ops::Range;

/// What an unknown character costs beyond the least probable piece.
const UNKNOWN: f32 = 10.0;
/// What a symbol gains with each byte but the first. Found by trying: of texts with ties behind a symbol, version 0.2.3 of
/// the library cuts every one as this has it.
const SYMBOL: f32 = 0.1;

#[derive(Debug, Clone)]
pub(super) struct Unigram {
    /// In the order of their bytes.
    pieces: Vec<(String, Score)>,
    /// The least score of a piece.
    least: f32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Score {
    /// The logarithm of the piece's probability.
    Of(f32),
    /// Better than any other way to cut the symbol.
    Symbol,
}

/// A part of a text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) range: Range<usize>,
    /// Whether it is one character that is no piece.
    pub(super) unknown: bool,
}

/// The best way to a place in the text.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f32,
    start: usize,
    unknown: bool,
}

impl Unigram {
    pub(super) fn new(mut pieces: Vec<(String, Score)>) -> Self {
        pieces.sort_by(|a, b| a.0.cmp(&b.0));
        let scores = pieces.iter().filter_map(|(_, score)| match score {
            Score::Of(score) => Some(*score),
            Score::Symbol => None,
        });
        let least = scores.fold(f32::MAX, f32::min);
        Self { pieces, least }
    }

    /// The pieces that `text` begins with, the shortest first: length in bytes, and score.
    fn beginning(&self, text: &[u8]) -> impl Iterator<Item = (usize, Score)> {
        // Those that agree with the text so far, which lie together.
        let mut left = &self.pieces[..];
        text.iter()
            .enumerate()
            .map_while(move |(i, byte)| {
                let next = |piece: &(String, Score)| piece.0.as_bytes().get(i).copied();
                let begin = left.partition_point(|p| next(p) < Some(*byte));
                let end = left.partition_point(|p| next(p) <= Some(*byte));
                left = &left[begin..end];
                let first = left.first()?;
                Some((first.0.len() == i + 1).then_some((i + 1, first.1)))
            })
            .flatten()
    }

    pub(super) fn cut(&self, text: &str) -> Vec<Part> {
        let mut best: Vec<Option<Best>> = vec![None; text.len() + 1];
        for (start, c) in text.char_indices() {
            let so_far = best[start].map_or(0.0, |b| b.score);
            let mut offer = |end: usize, score: f32, unknown| {
                let score = score + so_far;
                if best[end].is_none_or(|b| score > b.score) {
                    best[end] = Some(Best { score, start, unknown });
                }
            };
            let mut alone = false;
            for (length, score) in self.beginning(&text.as_bytes()[start..]) {
                let score = match score {
                    Score::Of(score) => score,
                    Score::Symbol => length as f32 * SYMBOL - SYMBOL,
                };
                offer(start + length, score, false);
                alone |= length == c.len_utf8();
            }
            if !alone {
                offer(start + c.len_utf8(), self.least - UNKNOWN, true);
            }
        }
        let mut parts = Vec::new();
        let mut end = text.len();
        while let Some(Best { start, unknown, .. }) = best[end] {
            parts.push(Part { range: start..end, unknown });
            end = start;
        }
        parts.reverse();
        parts
    }
}
