//! Which pages each hypothesis reads, and which one it writes.
//!
//! A page belongs to one chunk of 64 positions. The history of a hypothesis is a list of runs: positions up to an end that
//! lie in one page. **Nobody writes where another reads**: a hypothesis of length n writes positions n and on of a page
//! that it alone writes, and of which nobody reads further than n. The first child of a hypothesis goes on in its parent's
//! page. Another child takes, when it next grows, a page of the same chunk that nobody writes and nobody reads beyond n, or
//! else a new one. Where hypotheses are equally long, as in a beam search, there is always such a page among as many as
//! there are hypotheses, so pages do not become more than that.

use crate::kernels::kv_store::CHUNK;
use seq2seq_core::Ragged;

/// The hypotheses of a cache.
#[derive(Debug)]
pub(super) struct Histories {
    hypotheses: Vec<Hypothesis>,
    /// Pages that were ever taken.
    pages: usize,
}

#[derive(Debug, Clone)]
struct Hypothesis {
    /// The first sequence that it goes back to.
    origin: usize,
    length: usize,
    /// In rising order of their ends, the last of which is `length`.
    runs: Vec<Run>,
    /// The page that it writes next, where it has one: that of position `length`, which begins no chunk.
    writes: Option<u32>,
}

/// Positions from the end of the run before up to `end`, all of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    page: u32,
    end: usize,
}

impl Run {
    fn chunk(&self) -> usize {
        (self.end - 1) / CHUNK
    }
}

/// How a page is used.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    chunk: usize,
    /// Nobody reads from here on; 0 where nobody reads.
    end: usize,
    written: bool,
}

impl Use {
    fn is_free(&self) -> bool {
        self.end == 0 && !self.written
    }
}

/// The pages that hypotheses write in the next pass.
#[derive(Debug)]
pub(super) struct Growth {
    /// For each hypothesis one for each chunk that it grows into.
    writes: Vec<Vec<u32>>,
    pages: usize,
}

impl Growth {
    /// The page of the first row of hypothesis `i`.
    pub(super) fn page(&self, i: usize) -> u32 {
        self.writes[i][0]
    }

    /// Pages that there have to be.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }
}

/// The pages of all hypotheses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Where those of each hypothesis begin.
    pub(super) starts: Vec<usize>,
    /// For each chunk, or for each position.
    pub(super) pages: Vec<u32>,
    pub(super) by_position: bool,
}

impl Histories {
    /// One of length 0 for each sequence.
    pub(super) fn new(sequences: usize) -> Self {
        let empty = |origin| Hypothesis { origin, length: 0, runs: Vec::new(), writes: None };
        Self { hypotheses: (0..sequences).map(empty).collect(), pages: 0 }
    }

    /// Positions that each holds.
    pub(super) fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.hypotheses.iter().map(|h| h.length)
    }

    /// Positions that hypothesis `i` holds.
    pub(super) fn length(&self, i: usize) -> usize {
        self.hypotheses[i].length
    }

    /// The first sequence of each.
    pub(super) fn origins(&self) -> impl Iterator<Item = usize> + '_ {
        self.hypotheses.iter().map(|h| h.origin)
    }

    /// The page in which hypothesis `i` holds `position`.
    pub(super) fn page(&self, i: usize, position: usize) -> u32 {
        let runs = &self.hypotheses[i].runs;
        runs[runs.partition_point(|r| r.end <= position)].page
    }

    fn uses(&self) -> Vec<Use> {
        let mut uses = vec![Use::default(); self.pages];
        for hypothesis in &self.hypotheses {
            for run in &hypothesis.runs {
                let used = &mut uses[run.page as usize];
                used.end = used.end.max(run.end);
                used.chunk = run.chunk();
            }
            if let Some(page) = hypothesis.writes {
                uses[page as usize].written = true;
            }
        }
        uses
    }

    /// What it takes for hypothesis i to grow by `rows.length(i)` positions. Changes nothing.
    pub(super) fn growth(&self, rows: &Ragged) -> Growth {
        // Most steps need no page, and no look at all of them.
        let mut uses: Option<Vec<Use>> = None;
        let mut writes = Vec::with_capacity(self.hypotheses.len());
        for (hypothesis, new) in self.hypotheses.iter().zip(rows.lengths()) {
            let (length, end) = (hypothesis.length, hypothesis.length + new);
            let chunks = if new == 0 { 0..0 } else { length / CHUNK..end.div_ceil(CHUNK) };
            let page = |chunk: usize| match hypothesis.writes {
                Some(page) if chunk == length / CHUNK => page,
                _ => take(uses.get_or_insert_with(|| self.uses()), chunk, length),
            };
            writes.push(chunks.map(page).collect());
        }
        Growth { writes, pages: uses.map_or(self.pages, |u| u.len().max(self.pages)) }
    }

    /// The same for a row each of hypotheses that continue these, as many of each sequence, and nobody knows yet which: all that
    /// is read may be read on, and nobody writes any more where these did. Those of a sequence are equally long.
    pub(super) fn growth_unknown(&self) -> Growth {
        let mut uses = self.uses();
        uses.iter_mut().for_each(|u| u.written = false);
        let mut page = |h: &Hypothesis| vec![take(&mut uses, h.length / CHUNK, h.length)];
        let writes = self.hypotheses.iter().map(&mut page).collect();
        Growth { writes, pages: uses.len() }
    }

    /// Each grows by its rows into the pages that [`growth`](Self::growth) chose for them.
    pub(super) fn grow(&mut self, rows: &Ragged, growth: Growth) {
        self.pages = growth.pages;
        let new = rows.lengths().zip(growth.writes);
        for (hypothesis, (new, writes)) in self.hypotheses.iter_mut().zip(new) {
            let end = hypothesis.length + new;
            for page in writes {
                let until = (hypothesis.length / CHUNK + 1) * CHUNK;
                hypothesis.length = end.min(until);
                let run = Run { page, end: hypothesis.length };
                match hypothesis.runs.last_mut() {
                    Some(last) if last.page == page => *last = run,
                    _ => hypothesis.runs.push(run),
                }
                hypothesis.writes = (end < until).then_some(page);
            }
        }
    }

    /// New hypothesis i continues old hypothesis `parents[i]`.
    pub(super) fn reorder(&mut self, parents: &[usize]) {
        let mut continued = vec![false; self.hypotheses.len()];
        let child = |&parent: &usize| {
            let mut child = self.hypotheses[parent].clone();
            if std::mem::replace(&mut continued[parent], true) {
                child.writes = None;
            }
            child
        };
        self.hypotheses = parents.iter().map(child).collect();
    }

    /// Which pages each hypothesis reads, by position, and then the one that takes its place writes by
    /// [`growth_unknown`](Self::growth_unknown).
    pub(super) fn table_unknown(&self, growth: &Growth) -> Table {
        let mut table = Table { starts: Vec::new(), pages: Vec::new(), by_position: true };
        for (i, hypothesis) in self.hypotheses.iter().enumerate() {
            table.starts.push(table.pages.len());
            let mut start = 0;
            for run in &hypothesis.runs {
                table.pages.extend(std::iter::repeat_n(run.page, run.end - start));
                start = run.end;
            }
            table.pages.push(growth.page(i));
        }
        table
    }

    /// Which pages each hypothesis reads: by chunk, unless one of them has a chunk in several.
    pub(super) fn table(&self) -> Table {
        let by_position = self.hypotheses.iter().any(|h| h.runs.len() > h.length.div_ceil(CHUNK));
        let mut table = Table { starts: Vec::new(), pages: Vec::new(), by_position };
        for hypothesis in &self.hypotheses {
            table.starts.push(table.pages.len());
            let mut start = 0;
            for run in &hypothesis.runs {
                let count = if by_position { run.end - start } else { 1 };
                table.pages.extend(std::iter::repeat_n(run.page, count));
                start = run.end;
            }
        }
        table
    }
}

/// A page for a hypothesis to write in `chunk` from `length` on: one of that chunk that is neither written nor read
/// there, else a free one, else a new one.
fn take(uses: &mut Vec<Use>, chunk: usize, length: usize) -> u32 {
    let shared = |u: &Use| !u.written && u.end > 0 && u.chunk == chunk && u.end <= length;
    let found = uses.iter().position(shared).or_else(|| uses.iter().position(Use::is_free));
    let page = found.unwrap_or_else(|| {
        uses.push(Use::default());
        uses.len() - 1
    });
    uses[page].written = true;
    page as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extend(h: &mut Histories, lengths: &[usize]) -> usize {
        let rows = Ragged::from_lengths(lengths.iter().copied());
        let growth = h.growth(&rows);
        h.grow(&rows, growth);
        h.pages
    }

    fn pages(h: &Histories, i: usize) -> Vec<u32> {
        (0..h.length(i)).map(|position| h.page(i, position)).collect()
    }

    #[test]
    fn pages_are_taken_as_hypotheses_grow() {
        let mut h = Histories::new(3);
        assert_eq!(extend(&mut h, &[0, 64, 65]), 3);
        assert_eq!(
            h.table(),
            Table { starts: vec![0, 0, 1], pages: vec![0, 1, 2], by_position: false }
        );
        assert_eq!(extend(&mut h, &[1, 1, 1]), 5);
        assert_eq!(h.lengths().collect::<Vec<_>>(), [1, 65, 66]);
        assert_eq!(extend(&mut h, &[130, 0, 0]), 7);
        assert_eq!([h.page(0, 0), h.page(0, 64), h.page(0, 130)], [3, 5, 6]);
    }

    #[test]
    fn children_share_the_past_and_part_from_there() {
        let mut h = Histories::new(1);
        extend(&mut h, &[2]);
        h.reorder(&[0, 0]);
        assert_eq!(extend(&mut h, &[1, 1]), 2);
        assert_eq!([pages(&h, 0), pages(&h, 1)], [[0, 0, 0], [0, 0, 1]]);
        // The second wins; its sibling's page is written again, behind what is read of it.
        h.reorder(&[1, 1]);
        assert_eq!(extend(&mut h, &[1, 1]), 2);
        assert_eq!([pages(&h, 0), pages(&h, 1)], [[0, 0, 1, 1], [0, 0, 1, 0]]);
        assert_eq!(h.table().starts, [0, 4]);
        assert!(h.table().by_position);
    }

    /// Each step of a beam search whose hypotheses are equally long needs no more pages a chunk than hypotheses.
    #[test]
    fn equal_lengths_need_a_page_a_hypothesis() {
        let mut h = Histories::new(2);
        extend(&mut h, &[3, 3]);
        h.reorder(&[0, 0, 0, 1, 1, 1]);
        for step in 0..200 {
            let pages = extend(&mut h, &[1; 6]);
            assert!(pages <= 6 * h.length(0).div_ceil(CHUNK), "step {step}: {pages} pages");
            let parent = |i: usize| i / 3 * 3 + (i * 7 + step * step + step / 5) % 3;
            h.reorder(&(0..6).map(parent).collect::<Vec<_>>());
        }
    }

    /// The same where nobody knows who continues whom when they grow.
    #[test]
    fn hypotheses_that_nobody_knows_need_a_page_each() {
        let mut h = Histories::new(2);
        extend(&mut h, &[3, 40]);
        h.reorder(&[0, 0, 0, 1, 1, 1]);
        for step in 0..200 {
            let growth = h.growth_unknown();
            let own: std::collections::BTreeSet<u32> = (0..6).map(|i| growth.page(i)).collect();
            assert_eq!(own.len(), 6, "step {step}: each writes a page of its own");
            let longest = h.lengths().max().unwrap_or(0) + 1;
            // Sequences of unequal lengths do not take each other's place for ever.
            assert!(growth.pages() <= 2 * 6 * longest.div_ceil(CHUNK), "step {step}: {growth:?}");
            let parent = |i: usize| i / 3 * 3 + (i * 7 + step * step + step / 5) % 3;
            h.reorder(&(0..6).map(parent).collect::<Vec<_>>());
            h.grow(&Ragged::single_rows(6), growth);
        }
    }

    /// Pages hold numbers instead of keys: whatever the lengths and the tree, each hypothesis reads what it wrote.
    #[test]
    fn each_reads_its_own_history() {
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        for _ in 0..60 {
            let mut h = Histories::new(3);
            let (mut memory, mut histories) = (Vec::<[usize; CHUNK]>::new(), vec![Vec::new(); 3]);
            let mut next = 0;
            for _ in 0..20 {
                let lengths: Vec<usize> = histories.iter().map(|_| below(4) * below(30)).collect();
                extend(&mut h, &lengths);
                memory.resize(h.pages, [usize::MAX; CHUNK]);
                for (i, history) in histories.iter_mut().enumerate() {
                    for position in history.len()..history.len() + lengths[i] {
                        memory[h.page(i, position) as usize][position % CHUNK] = next;
                        history.push(next);
                        next += 1;
                    }
                }
                for (i, history) in histories.iter().enumerate() {
                    let read = |(t, page): (usize, u32)| memory[page as usize][t % CHUNK];
                    let read: Vec<usize> = pages(&h, i).into_iter().enumerate().map(read).collect();
                    assert_eq!(read, *history);
                }
                let parents: Vec<usize> =
                    (0..1 + below(6)).map(|_| below(histories.len())).collect();
                histories = parents.iter().map(|&p| histories[p].clone()).collect();
                h.reorder(&parents);
                // Then each grows by one, and is found to continue one that is as long as itself.
                let (growth, lengths) = (h.growth_unknown(), h.lengths().collect::<Vec<_>>());
                memory.resize(growth.pages().max(h.pages), [usize::MAX; CHUNK]);
                for (i, &length) in lengths.iter().enumerate() {
                    memory[growth.page(i) as usize][length % CHUNK] = next + i;
                }
                let mut like = |&length: &usize| {
                    let like: Vec<_> =
                        (0..lengths.len()).filter(|&i| lengths[i] == length).collect();
                    like[below(like.len())]
                };
                let parents: Vec<usize> = lengths.iter().map(&mut like).collect();
                histories = parents.iter().map(|&p| histories[p].clone()).collect();
                for history in &mut histories {
                    history.push(next);
                    next += 1;
                }
                h.reorder(&parents);
                h.grow(&Ragged::single_rows(parents.len()), growth);
            }
        }
    }
}
