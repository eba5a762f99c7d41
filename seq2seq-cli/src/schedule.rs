//! Which pieces of work are done together.
//!
//! Work is taken up in windows, so that memory does not grow with the input. Within a window it is sorted by length and
//! cut into batches of bounded size, such that sequences of a batch are about as long; results leave in the order in
//! which work came.

use crate::failure::Result;

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Tokens of a batch. A piece of work that is larger is a batch by itself.
    pub(crate) tokens: usize,
}

/// Batches that a window holds: enough for pieces of every length to find others of about theirs.
const BATCHES: usize = 32;
/// Pieces of work in a window.
const PIECES: usize = 4096;

/// Runs `batch` over all of `work` and hands each piece with its result to `done`, in order.
///
/// `cost` says how many tokens a piece counts for.
pub(crate) fn run<W, R>(
    mut work: impl Iterator<Item = Result<W>>,
    limits: Limits,
    cost: impl Fn(&W) -> usize,
    mut batch: impl FnMut(&[&W]) -> Result<Vec<R>>,
    mut done: impl FnMut(Vec<(W, R)>) -> Result<()>,
) -> Result<()> {
    loop {
        let window = window(&mut work, limits, &cost)?;
        if window.is_empty() {
            return Ok(());
        }
        let mut results: Vec<Option<R>> = window.iter().map(|_| None).collect();
        let costs: Vec<usize> = window.iter().map(&cost).collect();
        for places in batches(&costs, limits.tokens) {
            let pieces: Vec<&W> = places.iter().map(|&i| &window[i]).collect();
            for (place, result) in places.into_iter().zip(batch(&pieces)?) {
                results[place] = Some(result);
            }
        }
        done(window.into_iter().zip(results.into_iter().flatten()).collect())?;
    }
}

fn window<W>(
    work: &mut impl Iterator<Item = Result<W>>,
    limits: Limits,
    cost: impl Fn(&W) -> usize,
) -> Result<Vec<W>> {
    let mut window = Vec::new();
    let mut tokens = 0usize;
    while window.len() < PIECES && tokens < limits.tokens.saturating_mul(BATCHES) {
        let Some(piece) = work.next() else { break };
        let piece = piece?;
        tokens = tokens.saturating_add(cost(&piece));
        window.push(piece);
    }
    Ok(window)
}

/// Places of pieces that go together, the longest first, so that what does not fit in memory fails early.
fn batches(costs: &[usize], limit: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(costs[i]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for i in order {
        match batches.last_mut() {
            Some(batch) if costs[i] <= room => {
                batch.push(i);
                room -= costs[i];
            }
            _ => {
                batches.push(vec![i]);
                room = limit.saturating_sub(costs[i]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_of_like_lengths() {
        assert_eq!(batches(&[3, 9, 1, 4, 20, 2], 10), [vec![4], vec![1], vec![3, 0, 5, 2]]);
        assert!(batches(&[], 10).is_empty());
    }

    #[test]
    fn results_keep_the_order_of_the_work() {
        let work: Vec<usize> = (0..10_000).map(|i| (i * 7919) % 97 + 1).collect();
        let mut got = Vec::new();
        let mut largest = 0;
        let batch = |pieces: &[&usize]| {
            let tokens: usize = pieces.iter().copied().sum();
            largest = largest.max(tokens);
            Ok(pieces.iter().map(|&&n| n * 2).collect())
        };
        let done = |pairs: Vec<(usize, usize)>| {
            got.extend(pairs.iter().map(|&(n, doubled)| (doubled == 2 * n).then_some(n).unwrap()));
            Ok(())
        };
        run(work.iter().copied().map(Ok), Limits { tokens: 128 }, |&n| n, batch, done).unwrap();
        assert_eq!(got, work);
        assert!((64..=128).contains(&largest));
    }
}
