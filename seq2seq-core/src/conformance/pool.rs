//! Pooling and choosing rows.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::pool, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! pool::matches_reference(&backend)?;
//! pool::is_batch_invariant(&backend)?;
//! pool::gather_rows_copies(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Pool, reference::Reference};
//! use seq2seq_core::conformance::{Op, pool::{Case, Pooling}};
//!
//! let case = Case { lengths: vec![4, 1], width: 8, pool: Pool::Last, seed: 1 };
//! let (x, last) = (case.x().to_f32(), case.rows().last_rows()?);
//! let y = Pooling::run(&Reference, &case)?;
//! assert_eq!((last, &y[..8], &y[8..]), (vec![3, 4], &x[24..32], &x[32..]));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::tolerance::Approx;
use super::values::{Profile, Random, values};
use super::{
    Cases, Op, Outcome, Timed, bits, each, host, on_host, rows_of, run_timed, width, within,
};
use crate::{HostTensor, Pool, Ragged, Result, SeqBackend};
use proptest::prelude::*;

/// One pooling and its input.
#[derive(Debug, Clone)]
pub struct Case {
    /// Of each sequence; none is empty.
    pub lengths: Vec<usize>,
    /// M
    pub width: usize,
    /// Which.
    pub pool: Pool,
    /// Of all values.
    pub seed: u64,
}

impl Case {
    /// `[N, M]`
    pub fn x(&self) -> HostTensor {
        let rows = self.lengths.iter().sum::<usize>();
        host(rows, self.width, &values(Profile::Wide, self.seed, rows * self.width))
    }

    /// The division of N into sequences.
    pub fn rows(&self) -> Ragged {
        Ragged::from_lengths(self.lengths.iter().copied())
    }

    fn bounds(&self) -> Vec<Approx> {
        let x = self.x().to_f32();
        let at = |row: usize, column: usize| Approx::exact(x[row * self.width + column]);
        let element = |range: &std::ops::Range<usize>, column| match self.pool {
            Pool::First => at(range.start, column),
            Pool::Last => at(range.end - 1, column),
            Pool::Mean if range.len() == 1 => at(range.start, column),
            Pool::Mean => {
                let terms: Vec<Approx> = range.clone().map(|row| at(row, column)).collect();
                Approx::sum(&terms).over(range.len())
            }
        };
        let rows = self.rows();
        let ranges: Vec<_> = rows.ranges().collect();
        ranges.iter().flat_map(|r| (0..self.width).map(move |c| element(r, c))).collect()
    }
}

/// [`Backend::pool`](crate::Backend::pool).
pub struct Pooling;

impl Op for Pooling {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        run_timed::<B, Self>(backend, case)
    }
}

impl Cases for Pooling {
    fn cases() -> BoxedStrategy<Case> {
        let pool = proptest::sample::select(&[Pool::First, Pool::Mean, Pool::Last][..]);
        let lengths = super::lengths().prop_map(|l| l.into_iter().map(|n| n.max(1)).collect());
        (lengths, width(), pool, 0..1000u64)
            .prop_map(|(lengths, width, pool, seed)| Case { lengths, width, pool, seed })
            .boxed()
    }
}

impl Timed for Pooling {
    const NAME: &'static str = "pool";
    type Prepared<B: SeqBackend> = (B::Tensor, Ragged, Pool);
    type Output<B: SeqBackend> = B::Tensor;

    fn real() -> Vec<(String, Case)> {
        let case = Case { lengths: vec![128; 8], width: 384, pool: Pool::Mean, seed: 1 };
        vec![("minilm, 8 of 128".into(), case)]
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Self::Prepared<B>> {
        Ok((backend.upload(&case.x())?, case.rows(), case.pool))
    }

    fn call<B: SeqBackend>(
        backend: &B,
        (x, rows, pool): &mut Self::Prepared<B>,
    ) -> Result<B::Tensor> {
        backend.pool(x, rows, *pool)
    }
}

/// First and last rows are copied to the bit, means lie within the bound of the sum.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Pooling::cases(), |case| within("pool", &case.bounds(), &Pooling::run(backend, case)?))
}

/// A sequence alone gives the bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(Pooling::cases(), |case| {
        let (x, whole) = (case.x(), Pooling::run(backend, case)?);
        for (range, expected) in case.rows().ranges().zip(whole.chunks(case.width)) {
            let one = Ragged::from_lengths([range.len()]);
            let got = on_host(backend, &rows_of(&x, range), |x| backend.pool(x, &one, case.pool))?;
            bits("a sequence alone", expected, &got)?;
        }
        Ok(())
    })
}

/// Rows come in the order asked for, repeated where they are asked for twice.
pub fn gather_rows_copies<B: SeqBackend>(backend: &B) -> Outcome {
    each((1..=40usize, width(), 0..=60usize, 0..1000u64), |&(rows, width, picks, seed)| {
        let x = host(rows, width, &values(Profile::Wide, seed, rows * width));
        let mut random = Random::new(seed);
        let picks: Vec<usize> = (0..picks).map(|_| random.below(rows)).collect();
        let got = on_host(backend, &x, |x| backend.gather_rows(x, &picks))?;
        bits("gather_rows", &rows_of(&x, picks).to_f32(), &got)
    })
}
