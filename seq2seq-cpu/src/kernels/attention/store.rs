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
    /// [`Store::scratch`] words of any content.
    pub(crate) scratch: &'a mut [f32],
}

impl WordsKernel for Store<'_> {
    #[inline(always)]
    fn run<S: Simd, W: Words<S>>(mut self, s: S, w: W) {
        if self.rows.is_empty() {
            return;
        }
        let (width, key) = (self.layout.width, self.layout.key());
        let (block, alone) = std::mem::take(&mut self.scratch).split_at_mut(self.layout.block());
        let vector = &mut alone[..width];
        let end = self.position + self.rows.len();
        let mut position = self.position;
        while position < end {
            let stop = end.min((position / BLOCK + 1) * BLOCK);
            let keys = &mut block[..(stop - position) * key];
            for (t, key) in (position..stop).zip(keys.chunks_exact_mut(key)) {
                let row = self.rows.start + t - self.position;
                vector.copy_from_slice(&self.x.row(row)[self.columns.0..][..width]);
                if let Some(angles) = self.angles {
                    angles.rotate(row, vector);
                }
                w.pack_row(s, vector);
                key.copy_from_slice(&vector[..key.len()]);
            }
            self.transpose(keys, position);
            position = stop;
        }
        self.values(s, w, end, &mut alone[..self.layout.row()]);
    }
}

impl<'a> Store<'a> {
    /// Words that it works in: a block of keys as rows, and a row of either.
    pub(crate) fn scratch(layout: Layout) -> Buffer<f32> {
        Buffer::scratch(layout.block() + layout.row())
    }

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

    /// The value at `position`, as the row has it.
    #[inline(always)]
    fn value(&self, position: usize) -> &'a [f32] {
        let row = self.rows.start + position - self.position;
        &self.x.row(row)[self.columns.1..][..self.layout.width]
    }

    /// Writes the values of all rows, the last of which lies before position `end`. Of a word that has positions outside,
    /// those stay as they are; the row of one such is made in `alone`.
    #[inline(always)]
    fn values<S: Simd, W: Words<S>>(&mut self, s: S, w: W, end: usize, alone: &mut [f32]) {
        let row = self.layout.row();
        for word in self.position / W::NUMBERS..end.div_ceil(W::NUMBERS) {
            let first = word * W::NUMBERS;
            let last = first + W::NUMBERS - 1;
            // Where one of two positions is there, both numbers of a word are its own, and one is taken over.
            let [low, high] = [first >= self.position, last < end];
            let a = self.value(if low { first } else { last });
            let b = self.value(if high { last } else { first });
            let out = &mut self.values[word * row..][..row];
            if low && high {
                words_of(s, w, [a, b], out);
                continue;
            }
            words_of(s, w, [a, b], alone);
            for (out, &new) in out.iter_mut().zip(&alone[..]) {
                *out = if low { join(new, *out) } else { join(*out, new) };
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
