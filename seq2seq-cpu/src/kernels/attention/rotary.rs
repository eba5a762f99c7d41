//! Rotary positions: cosine and sine once a row, for all of its heads.

use crate::memory::{Buffer, Chunks};
use crate::threads::Threads;
use seq2seq_core::{Ragged, Rotary};

/// Cosines and sines of packed rows.
#[derive(Debug)]
pub(crate) struct Angles {
    rotary: Rotary,
    /// For each row: half cosines, half sines, each times the scale.
    table: Buffer<f32>,
}

impl Angles {
    /// For the rows of sequences of which sequence i begins at position `first(i)`.
    ///
    /// The angle is an f32 product, as the models were trained with; its cosine and sine are exact to half a unit.
    pub(crate) fn new(
        threads: &Threads,
        rotary: &Rotary,
        rows: &Ragged,
        first: impl Fn(usize) -> usize + Sync,
    ) -> Self {
        let half = rotary.inv_freq.len();
        let mut positions = Buffer::<usize>::scratch(rows.rows());
        for (i, range) in rows.ranges().enumerate() {
            let positions = positions[range].iter_mut().zip(first(i)..);
            positions.for_each(|(p, position)| *p = position);
        }
        let mut table = Buffer::scratch(rows.rows() * 2 * half);
        let chunks = Chunks::new(&mut table, (2 * half).max(1));
        threads.each_part(chunks, 64 * half, |row, out: &mut [f32]| {
            let (cosines, sines) = out.split_at_mut(half);
            for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(&*rotary.inv_freq) {
                let angle = f64::from(positions[row] as f32 * frequency);
                let (s, c) = angle.sin_cos();
                *cos = (c * f64::from(rotary.scale)) as f32;
                *sin = (s * f64::from(rotary.scale)) as f32;
            }
        });
        Self { rotary: rotary.clone(), table }
    }

    /// Whether they are those of `rotary`.
    pub(crate) fn are_of(&self, rotary: &Rotary) -> bool {
        self.rotary == *rotary
    }

    /// Rotates the gradient of a rotated vector back: the transposed rotation.
    #[inline(always)]
    pub(crate) fn rotate_back(&self, row: usize, head: &mut [f32]) {
        let half = self.rotary.inv_freq.len();
        let (cosines, sines) = self.table[row * 2 * half..][..2 * half].split_at(half);
        let (a, b) = head[..2 * half].split_at_mut(half);
        for j in 0..half {
            let (x, y) = (a[j], b[j]);
            a[j] = x * cosines[j] + y * sines[j];
            b[j] = y * cosines[j] - x * sines[j];
        }
    }

    /// Rotates the vector of one head of `row`.
    #[inline(always)]
    pub(crate) fn rotate(&self, row: usize, head: &mut [f32]) {
        let half = self.rotary.inv_freq.len();
        let (cosines, sines) = self.table[row * 2 * half..][..2 * half].split_at(half);
        let (a, b) = head[..2 * half].split_at_mut(half);
        for j in 0..half {
            let (x, y) = (a[j], b[j]);
            a[j] = x * cosines[j] - y * sines[j];
            b[j] = y * cosines[j] + x * sines[j];
        }
    }
}
