//! A decoder that reads, here and there, what it would have written itself: scheduled sampling (Bengio et al. 2015).

use super::{Encoded, RecurrentModel, steps::in_order};
use crate::{Forward, Result, blocks::Ids};
use seq2seq_core::{Epilogue, Ragged, Rows, SeqBackend, Stage, noise::gumbel};

impl<B: SeqBackend> RecurrentModel<B> {
    /// As [`scores`](Self::scores), of a decoder that reads in the place of each token with a seed one that is drawn, by the
    /// seed, from the scores of the step before. Where there is no seed at all, it has the bits of `scores`.
    pub(crate) fn scores_fed(&self, request: &Forward, seeds: &[Option<u64>]) -> Result<B::Tensor> {
        if seeds.iter().all(Option::is_none) {
            return self.scores(request);
        }
        let (Encoded { mut state, .. }, target) = self.begin(request)?;
        let (b, rows) = (&self.backend, &target.rows);
        let own = |row: usize| seeds.get(row).copied().flatten();
        let mut live: Vec<usize> = (0..rows.sequences()).collect();
        let (mut outputs, mut order, mut drawn) = (Vec::new(), Vec::new(), vec![0; live.len()]);
        for t in 0..rows.longest() {
            let goes_on = |&place: &usize| t < rows.length(live[place]);
            let still: Vec<usize> = (0..live.len()).filter(goes_on).collect();
            if still.len() < live.len() {
                state.moving = state.moving.gather(b, &still)?;
                live = still.iter().map(|&place| live[place]).collect();
            }
            let taken: Vec<usize> = live.iter().map(|&i| rows.range(i).start + t).collect();
            let read = |(&i, &row): (&usize, &usize)| match own(row) {
                Some(_) => drawn[i],
                None => target.ids[row],
            };
            let ids: Vec<u32> = live.iter().zip(&taken).map(read).collect();
            let each = Ragged::single_rows(live.len());
            let x = self.decoder.forward(b, Ids::Known(&ids), &each, &mut state, None)?;
            let logits = b.linear(&x, &self.output, Epilogue::NONE)?;
            let next =
                |i: usize| (t + 1 < rows.length(i)).then(|| own(rows.range(i).start + t + 1));
            let seeds: Vec<_> = live.iter().map(|&i| next(i).flatten()).collect();
            if seeds.iter().any(Option::is_some) {
                let (values, vocab) = (b.download(&logits)?, logits.width());
                for ((&i, seed), scores) in live.iter().zip(seeds).zip(values.chunks(vocab)) {
                    drawn[i] = seed.map_or(0, |seed| draw(scores, seed));
                }
            }
            outputs.push(logits);
            order.extend(taken);
        }
        let logits = in_order(b, &outputs, &order)?;
        b.observe(Stage::Head, &logits)?;
        Ok(logits)
    }
}

/// An id with the probability that its score gives it: the largest of the scores with Gumbel noise.
fn draw(scores: &[f32], seed: u64) -> u32 {
    let noisy = (0..).zip(scores).map(|(id, &score)| (id, f64::from(score) + gumbel(seed, id)));
    noisy.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_drawn_with_their_probabilities() {
        let scores = [0.3f32.ln(), f32::NEG_INFINITY, 0.7f32.ln()];
        let mut counts = [0; 3];
        (0..10_000).for_each(|seed| counts[draw(&scores, seed) as usize] += 1);
        assert_eq!(counts[1], 0);
        // Four standard deviations.
        assert!((2816..=3184).contains(&counts[0]), "{counts:?}");
    }
}
