//! Back through additive attention.

use super::additive::{Operands, flat};
use super::column_threads;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::{Ragged, Rows};
use std::ops::Range;

static ARTIFACT: Artifact = artifact!("additive_back");
static SCORES: Kernel = Kernel::new(&ARTIFACT, "additive_scores_back");
static QUERY: Kernel = Kernel::new(&ARTIFACT, "additive_query_back");
static MEMORY: Kernel = Kernel::new(&ARTIFACT, "additive_memory_back");
const THREADS: usize = 256;

/// What the way back reads.
pub(crate) struct Back<'a> {
    /// `[N, A]`
    pub(crate) q: &'a Tensor,
    pub(crate) operands: Operands<'a>,
    /// The probabilities, `[N, longest]`.
    pub(crate) p: &'a Tensor,
    /// `[N, M]`
    pub(crate) dy: &'a Tensor,
    /// The positions of each row.
    pub(crate) spans: &'a [Range<usize>],
}

/// A gradient that is written, or added to where it holds something; none where nobody wants it.
pub(crate) type Into<'a> = Option<(&'a mut Tensor, bool)>;

fn into<'a>(launch: Launch<'a>, target: Into<'_>) -> Launch<'a> {
    match target {
        Some((tensor, _)) => launch.out(tensor.values_mut()),
        None => launch.arg(0u64),
    }
}

fn adds(target: &Into<'_>) -> i32 {
    target.as_ref().map_or(0, |(_, add)| i32::from(*add))
}

fn fits(target: &Into<'_>, like: &Tensor) -> bool {
    target.as_ref().is_none_or(|(t, _)| (t.rows(), t.width()) == (like.rows(), like.width()))
}

impl Back<'_> {
    fn check(&self) {
        let Operands { v, keys, values } = self.operands;
        let (rows, columns) = (self.q.rows(), self.q.width());
        assert_eq!([rows; 3], [self.p.rows(), self.dy.rows(), self.spans.len()]);
        assert_eq!([columns; 2], [v.len(), keys.width()]);
        assert_eq!((values.rows(), values.width()), (keys.rows(), self.dy.width()));
        let fits = |s: &Range<usize>| s.end <= keys.rows() && s.len() <= self.p.width();
        assert!(self.spans.iter().all(fits));
    }

    /// The gradients of the scores, `[N, longest]`; what is behind a row's positions is not defined.
    pub(crate) fn scores(&self, cuda: &Cuda) -> Result<Tensor> {
        self.check();
        let mut ds = cuda.tensor(self.p.rows(), self.p.width())?;
        let spans = flat(cuda, self.spans)?;
        let launch = Launch::new(cuda, &SCORES)
            .grid(self.spans.len(), 1, 1)
            .block(THREADS)
            .arg(self.p.values())
            .arg(self.dy.values())
            .arg(self.operands.values.values())
            .arg(&spans)
            .size(self.p.width())
            .size(self.dy.width())
            .out(ds.values_mut());
        // SAFETY: sizes agree and spans lie inside, as was checked.
        unsafe { launch.run() }?;
        Ok(ds)
    }

    /// The gradient of the queries, and of v the share of each row, `[N, A]`.
    pub(crate) fn query(&self, cuda: &Cuda, ds: &Tensor, dq: Into<'_>) -> Result<Tensor> {
        self.check();
        assert!(fits(&dq, self.q));
        assert_eq!((ds.rows(), ds.width()), (self.p.rows(), self.p.width()));
        let mut shares = cuda.tensor(self.q.rows(), self.q.width())?;
        let spans = flat(cuda, self.spans)?;
        let launch = Launch::new(cuda, &QUERY)
            .grid(self.spans.len(), 1, 1)
            .block(column_threads(self.q.width()))
            .arg(self.q.values())
            .arg(self.operands.keys.values())
            .arg(self.operands.v)
            .arg(ds.values())
            .arg(&spans)
            .size(self.p.width())
            .size(self.q.width())
            .arg(adds(&dq));
        let launch = into(launch, dq).out(shares.values_mut());
        // SAFETY: sizes agree and spans lie inside, as was checked.
        unsafe { launch.run() }?;
        Ok(shares)
    }

    /// The gradients of keys and values. `rows` divides the positions into sources; `sources[n]` is that of row n.
    pub(crate) fn memory(
        &self,
        cuda: &Cuda,
        ds: &Tensor,
        (rows, sources): (&Ragged, &[usize]),
        [dkeys, dvalues]: [Into<'_>; 2],
    ) -> Result<()> {
        self.check();
        let Operands { v, keys, values } = self.operands;
        assert_eq!((rows.rows(), sources.len()), (keys.rows(), self.q.rows()));
        assert!(fits(&dkeys, keys) && fits(&dvalues, values));
        let places: Vec<u32> = (rows.ranges().enumerate())
            .flat_map(|(s, range)| (0..range.len()).flat_map(move |j| [s as u32, j as u32]))
            .collect();
        let (starts, list) = by_source(sources, rows.sequences());
        let [places, starts, list]: [Buffer<u32>; 3] = [
            cuda.upload_values(&places)?,
            cuda.upload_values(&starts)?,
            cuda.upload_values(&list)?,
        ];
        let launch = Launch::new(cuda, &MEMORY)
            .grid(keys.rows(), 1, 1)
            .block(column_threads(self.q.width().max(self.dy.width())))
            .arg(self.q.values())
            .arg(keys.values())
            .arg(v)
            .arg(self.p.values())
            .arg(ds.values())
            .arg(self.dy.values())
            .arg(&places)
            .arg(&starts)
            .arg(&list)
            .size(self.p.width())
            .size(self.q.width())
            .size(self.dy.width())
            .arg(adds(&dkeys))
            .arg(adds(&dvalues));
        let launch = into(into(launch, dkeys), dvalues);
        // SAFETY: sizes agree; every position has a source, and the rows that are listed for it have as many positions.
        unsafe { launch.run() }
    }
}

/// Where the list of each source begins (and the last ends), and the lists: the rows that attend to it, in their order.
pub(super) fn by_source(sources: &[usize], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut list: Vec<u32> = (0..sources.len() as u32).collect();
    list.sort_by_key(|&i| sources[i as usize]);
    let before = |s| list.partition_point(|&i| sources[i as usize] < s) as u32;
    ((0..=count).map(before).collect(), list)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_are_listed_by_source() {
        let (starts, list) = super::by_source(&[2, 0, 2, 2], 4);
        assert_eq!((starts, list), (vec![0, 1, 1, 4, 4], vec![1, 0, 2, 3]));
    }
}
