//! The factors of one row under dropout.

use seq2seq_core::train::Dropout;

/// For each column of `row` 0 or the scale of what is kept.
pub(crate) fn mask(dropout: Dropout, row: usize, out: &mut [f32]) {
    let (threshold, scale) = (dropout.threshold(), dropout.scale());
    for (block, out) in out.chunks_mut(4).enumerate() {
        let bits = dropout.bits(row as u32, block as u32);
        for (out, bits) in out.iter_mut().zip(bits) {
            *out = if bits < threshold { 0.0 } else { scale };
        }
    }
}
