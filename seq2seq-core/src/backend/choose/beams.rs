//! One step of a beam search.

use crate::{ScoreOrder, TopK};

/// How a beam search goes on: which of the best continuations of its hypotheses take their places.
///
/// The rows are the hypotheses of sources, `width` of each, one source after the other. The best `keep` continuations of a
/// source are looked at, equal ones in the order of their rows, then of [`top_k`](crate::DecoderOps::top_k); the score of a
/// continuation is that of its id added to the one of its hypothesis, in f32. To the score of one that ends
/// [`ENDED`](Self::ENDED) is added. The best `width` go on, equal ones in the order in which they are looked at.
///
/// ```
/// use seq2seq_core::{Backend, Beams, DecoderOps, HostTensor, Pick, ScoreOrder, reference::Reference};
///
/// let b = Reference;
/// // Two hypotheses of one source; id 2 ends.
/// let logits = [0.5f32.ln(), 0.1f32.ln(), 0.4f32.ln(), 0.3f32.ln(), 0.1f32.ln(), 0.6f32.ln()];
/// let logits = b.upload(&HostTensor::from_f32(vec![2, 3], &logits)?)?;
/// let beams = Beams {
///     width: 2, k: 3, keep: 4, order: ScoreOrder::NormaliseThenRules, scores: &[-1.0, -1.2], endings: &[2],
/// };
/// let chosen = b.choose(&logits, &[], &Pick::Beams(beams))?;
/// let picked = b.chosen(&chosen)?;
/// assert_eq!(picked.ids, [0, 2, 1, /**/ 2, 0, 1]);
/// // Of 0 and 2 behind the first, 2 and 0 behind the second, those that do not end.
/// assert_eq!((picked.next_ids(), picked.parents()), (&[0, 0][..], Some(&[0, 1][..])));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Beams<'a> {
    /// Hypotheses of each source, which go on to be as many.
    pub width: usize,
    /// Continuations of each hypothesis.
    pub k: usize,
    /// Continuations of each source that are looked at: `width` of them or more, and all where there are no more.
    pub keep: usize,
    /// That of [`top_k`](crate::DecoderOps::top_k).
    pub order: ScoreOrder,
    /// `[N]`: the score of each hypothesis, which is not -0.
    pub scores: &'a [f32],
    /// Ids that end a hypothesis.
    pub endings: &'a [u32],
}

/// The hypotheses of the next step, as a beam search goes on.
///
/// ```
/// use seq2seq_core::{Beams, Continued, ScoreOrder, TopK};
///
/// let top = TopK { k: 1, ids: vec![7, 3], scores: vec![-0.5, -0.25] };
/// let beams = Beams {
///     width: 2, k: 1, keep: 2, order: ScoreOrder::NormaliseThenRules, scores: &[-1.0; 2], endings: &[],
/// };
/// // The second hypothesis goes on better than the first.
/// assert_eq!(beams.continued(&top), Continued { ids: vec![3, 7], parents: vec![1, 0] });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Continued {
    /// `[N]`: the id that each begins with.
    pub ids: Vec<u32>,
    /// `[N]`: the row that each continues, of the same source.
    pub parents: Vec<usize>,
}

impl Beams<'_> {
    /// What is added to the score of a continuation that ends: finite, so that it goes on where there is nothing else.
    pub const ENDED: f32 = -1e9;

    /// The hypotheses of the next step, from the best ids of each row, as [`check::beams`](crate::backend::check::beams) has let
    /// them be looked for. Where a score is NaN it is left open which of a source go on.
    pub fn continued(&self, top: &TopK) -> Continued {
        let mut next = Continued::default();
        for source in 0..self.scores.len().checked_div(self.width).unwrap_or(0) {
            let rows = source * self.width..(source + 1) * self.width;
            let of_row = |row: usize| {
                let entries = row * top.k..(row + 1) * top.k;
                let ids = top.ids.get(entries.clone()).unwrap_or_default();
                let scores = top.scores.get(entries).unwrap_or_default();
                let sums = scores.iter().map(move |score| score + self.scores[row]);
                ids.iter().zip(sums).map(move |(&id, sum)| (row, id, sum))
            };
            let mut looked_at: Vec<_> = rows.flat_map(of_row).collect();
            // Sorting is stable.
            looked_at.sort_by(|a, b| b.2.total_cmp(&a.2));
            looked_at.truncate(self.keep);
            for (_, id, score) in &mut looked_at {
                *score += if self.endings.contains(id) { Self::ENDED } else { 0.0 };
            }
            looked_at.sort_by(|a, b| b.2.total_cmp(&a.2));
            for (row, id, _) in looked_at.into_iter().take(self.width) {
                next.ids.push(id);
                next.parents.push(row);
            }
        }
        next
    }
}
