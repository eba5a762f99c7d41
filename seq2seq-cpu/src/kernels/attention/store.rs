//! Laying out keys and values.

use super::Angles;
use super::layout::{BLOCK, Layout, join};
use crate::memory::{Buffer, Tensor};
use crate::simd::Simd;
use crate::simd::words::{Words, WordsKernel};
use std::ops::Range;

/// Lays out the keys and values of some rows of one sequence and one key-value head.
pub(crate) struct Store<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) rows: Range<usize>,
    /// Where the head's keys and its values begin in a row.
    pub(crate) columns: (usize, usize),
    pub(crate) layout: Layout,
    /// For each row of `x`.
    pub(crate) angles: Option<&'a Angles>,
    /// The position of the first row.
    pub(crate) position: usize,
    /// `[block][key word][16]`
    pub(crate) keys: &'a mut [f32],
    /// `[word of positions][D']`
    pub(crate) values: &'a mut [f32],
}

impl WordsKernel for Store<'_> {
    #[inline(always)]
    fn run<S: Simd, W: Words<S>>(mut self, s: S, w: W) {
        if self.rows.is_empty() {
            return;
        }
        let (width, key) = (self.layout.width, self.layout.key());
        let mut block = Buffer::<f32>::scratch(BLOCK * key);
        let mut vector = Buffer::<f32>::scratch(width);
        let end = self.position + self.rows.len();
        let mut position = self.position;
        while position < end {
            let stop = end.min((position / BLOCK + 1) * BLOCK);
            let keys = &mut block[..(stop - position) * key];
            for (t, key) in (position..stop).zip(keys.chunks_exact_mut(key)) {
                let row = self.rows.start + t - self.position;
                vector.copy_from_slice(&self.x.row(row)[self.columns.0..][..width]);
                if let Some(angles) = self.angles {
                    angles.rotate(row, &mut vector);
                }
                w.pack_row(s, &mut vector);
                key.copy_from_slice(&vector[..key.len()]);
            }
            self.transpose(keys, position);
            position = stop;
        }
        self.values(s, w, end);
    }
}

impl Store<'_> {
    /// Writes packed keys into the lanes from that of `position` on.
    #[inline(always)]
    fn transpose(&mut self, keys: &[f32], position: usize) {
        let words = self.layout.key();
        let (block, lane) = (position / BLOCK, position % BLOCK);
        let count = keys.len() / words;
        let out = self.keys[block * words * BLOCK..][..words * BLOCK].chunks_exact_mut(BLOCK);
        for (d, lanes) in out.enumerate() {
            for (i, out) in lanes[lane..lane + count].iter_mut().enumerate() {
                *out = keys[i * words + d];
            }
        }
    }

    /// Writes the values of all rows, the last of which lies before position `end`. Of a word that has positions outside,
    /// those stay as they are.
    #[inline(always)]
    fn values<S: Simd, W: Words<S>>(&mut self, s: S, w: W, end: usize) {
        let (width, row) = (self.layout.width, self.layout.row());
        let value = |position: usize| {
            let row = self.rows.start + position - self.position;
            &self.x.row(row)[self.columns.1..][..width]
        };
        let words = self.position / W::NUMBERS..end.div_ceil(W::NUMBERS);
        let rows = self.values[words.start * row..].chunks_exact_mut(row);
        let mut alone = Buffer::<f32>::scratch(row);
        for (word, out) in words.zip(rows) {
            let first = word * W::NUMBERS;
            let last = first + W::NUMBERS - 1;
            match (first >= self.position, last < end) {
                (true, true) => words_of(s, w, [value(first), value(last)], out),
                // Of two positions one is there.
                (true, false) => {
                    words_of(s, w, [value(first); 2], &mut alone);
                    out.iter_mut().zip(&alone[..]).for_each(|(o, &new)| *o = join(new, *o));
                }
                _ => {
                    words_of(s, w, [value(last); 2], &mut alone);
                    out.iter_mut().zip(&alone[..]).for_each(|(o, &new)| *o = join(*o, new));
                }
            }
        }
    }
}

/// Words of the values of two positions, or of the first where a word is one number; zeros behind the last column.
#[inline(always)]
fn words_of<S: Simd, W: Words<S>>(s: S, w: W, [a, b]: [&[f32]; 2], out: &mut [f32]) {
    if W::NUMBERS == 1 {
        let (out, padding) = out.split_at_mut(a.len());
        out.copy_from_slice(a);
        padding.fill(0.0);
        return;
    }
    for (i, out) in out.chunks_exact_mut(S::LANES).enumerate() {
        let at = (i * S::LANES).min(a.len());
        let [low, high] = s.interleave(s.load_within(a, at), s.load_within(b, at));
        s.store(w.pack(s, low, high), out);
    }
}
