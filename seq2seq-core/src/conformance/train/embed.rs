//! Lookups, chosen rows, pools.

use super::super::tolerance::Approx;
use super::super::values::{Profile, Random, values};
use super::super::{Outcome, bits, each, host, width};
use super::{added, begun, gradient_values};
use crate::reference::backward::{embed::gradient, pool};
use crate::reference::real::Real;
use crate::train::{Looked, TrainBackend};
use crate::{Lookup, Pool, Ragged, Result};
use proptest::prelude::*;

/// Rows that are looked up in two tables.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    width: usize,
    tables: [usize; 2],
    scale: f32,
    seed: u64,
}

fn cases() -> BoxedStrategy<Case> {
    let scale = proptest::sample::select(&[1.0f32, 22.627_417][..]);
    (0..=60usize, width(), [1..=40usize, 1..=3usize], scale, 0..1000u64)
        .prop_map(|(rows, width, tables, scale, seed)| Case { rows, width, tables, scale, seed })
        .boxed()
}

impl Case {
    fn ids(&self, table: usize) -> Vec<u32> {
        let mut random = Random::new(self.seed + table as u64);
        (0..self.rows).map(|_| random.below(self.tables[table]) as u32).collect()
    }

    fn table(&self, table: usize) -> Vec<f32> {
        let n = self.tables[table] * self.width;
        values(Profile::Normal, self.seed + 5 + table as u64, n)
    }

    fn dy(&self) -> Vec<f32> {
        gradient_values(self.seed, self.rows * self.width)
    }

    fn scale_of(&self, table: usize) -> f32 {
        if table == 0 { self.scale } else { 1.0 }
    }

    fn looked<'a>(&self, table: usize, ids: &'a [u32]) -> Looked<'a> {
        Looked { ids, scale: self.scale_of(table), table_rows: self.tables[table] }
    }

    fn embed<B: TrainBackend>(&self, backend: &B) -> Result<Vec<f32>> {
        let upload = |t| backend.upload(&host(self.tables[t], self.width, &self.table(t)));
        let (first, second) = (upload(0)?, upload(1)?);
        let (ids, types) = (self.ids(0), self.ids(1));
        let lookups = [
            Lookup { table: &first, ids: &ids, scale: self.scale },
            Lookup { table: &second, ids: &types, scale: 1.0 },
        ];
        backend.download(&backend.embed_masters(&lookups)?)
    }

    fn flat<B: TrainBackend>(&self, backend: &B) -> Result<Vec<f32>> {
        let mut out = self.embed(backend)?;
        let dy = backend.upload(&host(self.rows, self.width, &self.dy()))?;
        for table in [0, 1] {
            let ids = self.ids(table);
            let mut gradient = begun(backend, self.tables[table], self.width)?;
            backend.embed_backward(self.looked(table, &ids), &dy, &mut gradient)?;
            out.extend(gradient.map_or(Ok(Vec::new()), |g| backend.download(&g))?);
        }
        Ok(out)
    }
}

/// Lookups in masters have the bits of lookups in a table; gradients lie within their bounds.
pub fn backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let tables = [0, 1].map(|t| host(case.tables[t], case.width, &case.table(t)));
        let [first, second] = &tables;
        let (first, second) = (backend.embedding(first)?, backend.embedding(second)?);
        let (ids, types) = (case.ids(0), case.ids(1));
        let lookups = [
            Lookup { table: &first, ids: &ids, scale: case.scale },
            Lookup { table: &second, ids: &types, scale: 1.0 },
        ];
        let want = backend.download(&backend.embed(&lookups)?)?;
        bits("embed_masters", &want, &case.embed(backend)?)?;
        let dy = backend.upload(&host(case.rows, case.width, &case.dy()))?;
        for (table, is_begun) in [(0, true), (1, false)] {
            let ids = case.ids(table);
            let looked = case.looked(table, &ids);
            let bounds = gradient(looked, &Approx::all(&case.dy()), case.width);
            let mut got = match is_begun {
                true => begun(backend, case.tables[table], case.width)?,
                false => None,
            };
            backend.embed_backward(looked, &dy, &mut got)?;
            added(backend, "the table", (&bounds, case.rows), &got, is_begun)?;
        }
        Ok(())
    })
}

/// The way back of chosen rows and of every pool.
pub fn rows_and_pools_match_reference<B: TrainBackend>(backend: &B) -> Outcome {
    let lengths = proptest::collection::vec(1..=30usize, 0..=5);
    let pool = proptest::sample::select(&[Pool::First, Pool::Mean, Pool::Last][..]);
    each((lengths, width(), pool, 0..1000u64), |(lengths, width, pool, seed)| {
        let rows = Ragged::from_lengths(lengths.iter().copied());
        let (n, b) = (rows.rows(), rows.sequences());
        let dy = gradient_values(*seed, b * width);
        let numbers = Approx::all(&dy);
        let dy = backend.upload(&host(b, *width, &dy))?;
        let mut dx = begun(backend, n, *width)?;
        backend.pool_backward(&dy, &rows, *pool, &mut dx)?;
        let bounds = pool::pooled(&numbers, &rows, *pool, *width);
        added(backend, "pool", (&bounds, 1), &dx, true)?;

        let mut random = Random::new(*seed);
        let chosen: Vec<usize> = (0..b.min(n)).map(|_| random.below(n)).collect();
        let dy = gradient_values(seed + 1, chosen.len() * width);
        let bounds = pool::gathered(&Approx::all(&dy), &chosen, n, *width);
        let dy = backend.upload(&host(chosen.len(), *width, &dy))?;
        let mut dx = None;
        backend.gather_rows_backward(&dy, &chosen, n, &mut dx)?;
        added(backend, "gather_rows", (&bounds, chosen.len()), &dx, false)
    })
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let same = |case: &Case| bits("embed", &case.flat(a)?, &case.flat(b)?);
    same(&Case { rows: 700, width: 500, tables: [90, 2], scale: 2.0, seed: 1 })?;
    each(cases(), same)
}
