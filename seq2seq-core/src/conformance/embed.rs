//! Uploading, and looking up rows of tables.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::embed, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! embed::upload_is_exact(&backend)?;
//! embed::matches_reference(&backend)?;
//! embed::is_batch_invariant(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Backend, DType, reference::Reference};
//! use seq2seq_core::conformance::{Op, Timed, embed::{Case, Embed, Prepared, Table}};
//!
//! // Tokens and positions of five rows of 16 columns.
//! let tables = vec![
//!     Table { rows: 1000, dtype: DType::F16, scale: 4.0 },
//!     Table { rows: 512, dtype: DType::F32, scale: 1.0 },
//! ];
//! let case = Case { rows: 5, width: 16, tables, seed: 1 };
//! let mut prepared: Prepared<Reference> = Embed::prepare(&Reference, &case)?;
//! let x = Embed::call(&Reference, &mut prepared)?;
//! assert_eq!(Reference.download(&x)?, Embed::run(&Reference, &case)?);
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::tolerance::Approx;
use super::values::{Profile, Random, tensor, values};
use super::{Cases, Op, Outcome, Timed, bits, each, run_timed, width, within};
use crate::{Backend, DType, HostTensor, Lookup, Result, Rows, SeqBackend};
use proptest::prelude::*;
use std::ops::Range;

/// One lookup of every case.
#[derive(Debug, Clone)]
pub struct Table {
    /// Rows of the table.
    pub rows: usize,
    /// What it comes in.
    pub dtype: DType,
    /// Multiplies its rows.
    pub scale: f32,
}

/// Tables and ids.
#[derive(Debug, Clone)]
pub struct Case {
    /// N
    pub rows: usize,
    /// M
    pub width: usize,
    /// Looked up and added in this order.
    pub tables: Vec<Table>,
    /// Of all values.
    pub seed: u64,
}

impl Case {
    fn table(&self, i: usize) -> HostTensor {
        let Table { rows, dtype, .. } = self.tables[i];
        let seed = self.seed + 2 * i as u64;
        tensor(dtype, vec![rows, self.width], &values(Profile::Normal, seed, rows * self.width))
    }

    fn ids(&self, i: usize) -> Vec<u32> {
        let mut random = Random::new(self.seed + 2 * i as u64 + 1);
        (0..self.rows).map(|_| random.below(self.tables[i].rows) as u32).collect()
    }

    /// Exact for one table, or one product; each further table adds a product and a sum.
    fn bounds(&self) -> Vec<Approx> {
        let tables: Vec<_> =
            (0..self.tables.len()).map(|i| (self.table(i).to_f32(), self.ids(i))).collect();
        let element = |at: usize| {
            let (row, column) = (at / self.width, at % self.width);
            let term = |(i, (table, ids)): (usize, &(Vec<f32>, Vec<u32>))| {
                let value = Approx::exact(table[ids[row] as usize * self.width + column]);
                match self.tables[i].scale {
                    1.0 => value,
                    scale => value.times(Approx::exact(scale)),
                }
            };
            let terms = tables.iter().enumerate().map(term);
            terms.reduce(Approx::plus).unwrap_or(Approx::exact(0.0))
        };
        (0..self.rows * self.width).map(element).collect()
    }

    fn prepare_rows<B: Backend>(&self, backend: &B, rows: Range<usize>) -> Result<Prepared<B>> {
        let one = |(i, table): (usize, &Table)| {
            Ok((
                backend.embedding(&self.table(i))?,
                self.ids(i)[rows.clone()].to_vec(),
                table.scale,
            ))
        };
        Ok(Prepared(self.tables.iter().enumerate().map(one).collect::<Result<_>>()?))
    }
}

/// A case on a backend: tables, ids, scales.
pub struct Prepared<B: Backend>(Vec<(B::Embedding, Vec<u32>, f32)>);

impl<B: Backend> Prepared<B> {
    fn run(&self, backend: &B) -> Result<B::Tensor> {
        let lookups: Vec<_> = (self.0.iter())
            .map(|(table, ids, scale)| Lookup { table, ids, scale: *scale })
            .collect();
        backend.embed(&lookups)
    }
}

/// [`Backend::embed`].
pub struct Embed;

impl Op for Embed {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        run_timed::<B, Self>(backend, case)
    }
}

impl Cases for Embed {
    fn cases() -> BoxedStrategy<Case> {
        let dtype = proptest::sample::select(&[DType::F32, DType::F16, DType::BF16][..]);
        let scale = proptest::sample::select(&[1.0f32, 1.0, 22.627_417][..]);
        let table = (1..=50usize, dtype, scale).prop_map(|(rows, dtype, scale)| Table {
            rows,
            dtype,
            scale,
        });
        let tables = proptest::collection::vec(table, 1..=3);
        (0..=30usize, width(), tables, 0..1000u64)
            .prop_map(|(rows, width, tables, seed)| Case { rows, width, tables, seed })
            .boxed()
    }
}

impl Timed for Embed {
    const NAME: &'static str = "embed";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = B::Tensor;

    fn real() -> Vec<(String, Case)> {
        let table = |rows| Table { rows, dtype: DType::F32, scale: 1.0 };
        let bert = vec![table(30522), table(512), table(2)];
        vec![("bert-base, 128 rows".into(), Case { rows: 128, width: 768, tables: bert, seed: 1 })]
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        case.prepare_rows(backend, 0..case.rows)
    }

    fn call<B: SeqBackend>(backend: &B, prepared: &mut Prepared<B>) -> Result<B::Tensor> {
        prepared.run(backend)
    }
}

/// Results lie within the bound of the sum; one table without a scale is copied to the bit.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Embed::cases(), |case| within("embed", &case.bounds(), &Embed::run(backend, case)?))
}

/// Any run of ids gives the bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each((Embed::cases(), any::<prop::sample::Index>()), |(case, at)| {
        let whole = Embed::run(backend, case)?;
        let cut = at.index(case.rows + 1);
        for rows in [0..cut, cut..case.rows] {
            let expected = &whole[rows.start * case.width..rows.end * case.width];
            let got = case.prepare_rows(backend, rows.clone())?.run(backend)?;
            bits(&format!("rows {rows:?} alone"), expected, &backend.download(&got)?)?;
        }
        Ok(())
    })
}

/// Uploading widens every float type exactly; downloading gives it back. NaN and infinity pass.
pub fn upload_is_exact<B: SeqBackend>(backend: &B) -> Outcome {
    let dtype = proptest::sample::select(&[DType::F32, DType::F16, DType::BF16][..]);
    each((0..=40usize, width(), dtype, 0..1000u64), |&(rows, width, dtype, seed)| {
        let mut x = values(Profile::Wide, seed, rows * width);
        x.iter_mut().take(1).for_each(|v| *v = f32::NAN);
        x.iter_mut().skip(1).take(1).for_each(|v| *v = f32::NEG_INFINITY);
        let x = tensor(dtype, vec![rows, width], &x);
        let held = backend.upload(&x)?;
        if (held.rows(), held.width()) != (rows, width) {
            let message = format!("{} x {} tensor of {rows} x {width}", held.rows(), held.width());
            return super::fail(message);
        }
        bits("upload", &x.to_f32(), &backend.download(&held)?)
    })
}
