//! Which pieces of work are done together.
//!
//! Work is taken up in windows, so that memory does not grow with the input. Within a window it is sorted by length and
//! cut into batches of bounded size, such that sequences of a batch are about as long; results leave in the order in
//! which work came.

use crate::failure::{Failure, Result};

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
/// `cost` says how many tokens a piece counts for. What came before a piece that fails is done all the same.
pub(crate) fn run<W, R>(
    mut work: impl Iterator<Item = Result<W>>,
    limits: Limits,
    cost: impl Fn(&W) -> usize,
    mut batch: impl FnMut(&[&W]) -> Result<Vec<R>>,
    mut done: impl FnMut(Vec<(W, R)>) -> Result<()>,
) -> Result<()> {
    loop {
        let (window, unread) = window(&mut work, limits, &cost);
        if window.is_empty() {
            return unread.map_or(Ok(()), Err);
        }
        let costs: Vec<usize> = window.iter().map(&cost).collect();
        let (results, failed) = results(&window, batches(&costs, limits.tokens), &mut batch);
        done(window.into_iter().zip(results).collect())?;
        if let Some(failure) = failed.or(unread) {
            return Err(failure);
        }
    }
}

/// The next pieces, and why there are no more where one could not be read.
fn window<W>(
    work: &mut impl Iterator<Item = Result<W>>,
    limits: Limits,
    cost: impl Fn(&W) -> usize,
) -> (Vec<W>, Option<Failure>) {
    let mut window = Vec::new();
    let mut tokens = 0usize;
    while window.len() < PIECES && tokens < limits.tokens.saturating_mul(BATCHES) {
        match work.next() {
            None => break,
            Some(Err(failure)) => return (window, Some(failure)),
            Some(Ok(piece)) => {
                tokens = tokens.saturating_add(cost(&piece));
                window.push(piece);
            }
        }
    }
    (window, None)
}

/// The results of the pieces of a window, as far as the first that fails, and how that does.
fn results<W, R>(
    window: &[W],
    batches: Vec<Vec<usize>>,
    batch: &mut impl FnMut(&[&W]) -> Result<Vec<R>>,
) -> (Vec<R>, Option<Failure>) {
    let mut results: Vec<Option<R>> = window.iter().map(|_| None).collect();
    let mut first: Option<(usize, Failure)> = None;
    for mut places in batches {
        // Nobody asks for what lies behind a failure.
        places.retain(|&place| first.as_ref().is_none_or(|(end, _)| place < *end));
        places.sort_unstable();
        let Some(&foremost) = places.first() else { continue };
        let mut run = |places: &[usize]| -> Result<()> {
            let pieces: Vec<&W> = places.iter().map(|&i| &window[i]).collect();
            for (&place, result) in places.iter().zip(batch(&pieces)?) {
                results[place] = Some(result);
            }
            Ok(())
        };
        let failed = match run(&places) {
            Ok(()) => continue,
            // Which of them it is: each by itself.
            Err(Failure::Input(_)) if places.len() > 1 => {
                places.iter().find_map(|&place| Some((place, run(&[place]).err()?)))
            }
            Err(failure) => Some((foremost, failure)),
        };
        first = failed.or(first);
    }
    let (end, failure) = first.map_or((window.len(), None), |(end, e)| (end, Some(e)));
    (results.into_iter().take(end).flatten().collect(), failure)
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

    #[test]
    fn what_comes_before_a_failure_is_done() {
        // 7 and 70 are refused by batches, 5 cannot be read; each batch is of ten pieces.
        let tried = |work: Vec<usize>| {
            let batch = |pieces: &[&usize]| match pieces.iter().find(|&&&n| n == 7 || n == 70) {
                Some(bad) => Err(Failure::input(format!("bad {bad}"))),
                None => Ok(pieces.iter().map(|&&n| n).collect()),
            };
            let read = |n| if n == 5 { Err(Failure::input("unreadable")) } else { Ok(n) };
            let mut got = Vec::new();
            let done = |pairs: Vec<(usize, usize)>| {
                got.extend(
                    pairs.into_iter().map(|(n, result)| (n == result).then_some(n).unwrap()),
                );
                Ok(())
            };
            let work = work.into_iter().map(read);
            match run(work, Limits { tokens: 10 }, |_| 1, batch, done) {
                Err(Failure::Input(reason)) => (got, reason),
                other => panic!("{other:?}"),
            }
        };
        let rows = |range: std::ops::Range<usize>| range.collect::<Vec<_>>();
        assert_eq!(tried(rows(60..90)), (rows(60..70), "bad 70".into()));
        // The first in their order, whichever is found first.
        let both: Vec<usize> = rows(10..44).into_iter().chain([7]).chain(rows(50..80)).collect();
        assert_eq!(tried(both), (rows(10..44), "bad 7".into()));
        assert_eq!(tried(vec![1, 2, 5, 3]), (vec![1, 2], "unreadable".into()));
        assert_eq!(tried(vec![1, 7, 2, 5]), (vec![1], "bad 7".into()));
        assert_eq!(tried(vec![5]), (vec![], "unreadable".into()));
        // A window is 32 batches: what is read later is not reached.
        let late: Vec<usize> = rows(100..900).into_iter().chain([7]).collect();
        assert_eq!(tried(late), (rows(100..900), "bad 7".into()));
    }
}
