//! Products of matrices that lie in the caches, a tile of [`ROWS`] rows and [`columns`] columns at a time: as many sums as keep
//! the multipliers busy and stay in registers. Each sum is one chain over the rising step.

use crate::simd::Simd;

/// Rows of a tile.
pub(super) const ROWS: usize = 6;

/// Vectors of a row of a tile, at most.
const MOST: usize = 4;

/// Columns of a tile: two vectors, or four of four lanes.
#[inline(always)]
pub(super) const fn columns<S: Simd>() -> usize {
    if S::LANES > 8 { 2 * S::LANES } else { 16 }
}

/// Rows of values, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

impl Lines<'_> {
    /// From a place of a line on.
    #[inline(always)]
    pub(super) fn from(self, line: usize, column: usize) -> Self {
        Self { values: &self.values[line * self.stride + column..], ..self }
    }
}

/// Adds Σ x\[i\]\[k\] · table\[k\]\[c\] over `steps` steps to each value of a tile of `out`, or puts it there.
#[inline(always)]
pub(super) fn rows<S: Simd>(
    s: S,
    x: Lines<'_>,
    table: Lines<'_>,
    steps: usize,
    (out, stride): (&mut [f32], usize),
    add: bool,
) {
    let mut of = [x.values; ROWS];
    for (i, row) in of.iter_mut().enumerate() {
        *row = &x.values[i * x.stride..i * x.stride + steps];
    }
    let mut sums = if add { load(s, out, stride) } else { [[s.zero(); MOST]; ROWS] };
    for (k, line) in table.values.chunks(table.stride).take(steps).enumerate() {
        let mut x = [0.0; ROWS];
        for i in 0..ROWS {
            x[i] = of[i][k];
        }
        step(s, x, &line[..columns::<S>()], &mut sums);
    }
    store(s, &sums, out, stride);
}

/// Adds Σ x\[k\]\[i\] · table\[k\]\[c\] over `steps` steps to each value of a tile of `out`.
#[inline(always)]
pub(super) fn turned<S: Simd>(
    s: S,
    x: Lines<'_>,
    table: Lines<'_>,
    steps: usize,
    (out, stride): (&mut [f32], usize),
) {
    let mut sums = load(s, out, stride);
    let (mut at, mut from) = (0, 0);
    for _ in 0..steps {
        let mut of = [0.0; ROWS];
        of.copy_from_slice(&x.values[from..from + ROWS]);
        step(s, of, &table.values[at..at + columns::<S>()], &mut sums);
        (at, from) = (at + table.stride, from + x.stride);
    }
    store(s, &sums, out, stride);
}

/// Adds x\[i\] · line\[c\] to each sum.
#[inline(always)]
fn step<S: Simd>(s: S, x: [f32; ROWS], line: &[f32], sums: &mut [[S::V; MOST]; ROWS]) {
    let mut vectors = [s.zero(); MOST];
    for v in 0..columns::<S>() / S::LANES {
        vectors[v] = s.load(&line[v * S::LANES..]);
    }
    for i in 0..ROWS {
        let x = s.splat(x[i]);
        for v in 0..columns::<S>() / S::LANES {
            sums[i][v] = s.fma(x, vectors[v], sums[i][v]);
        }
    }
}

#[inline(always)]
fn load<S: Simd>(s: S, out: &[f32], stride: usize) -> [[S::V; MOST]; ROWS] {
    let mut sums = [[s.zero(); MOST]; ROWS];
    for i in 0..ROWS {
        for v in 0..columns::<S>() / S::LANES {
            sums[i][v] = s.load(&out[i * stride + v * S::LANES..]);
        }
    }
    sums
}

#[inline(always)]
fn store<S: Simd>(s: S, sums: &[[S::V; MOST]; ROWS], out: &mut [f32], stride: usize) {
    for i in 0..ROWS {
        for v in 0..columns::<S>() / S::LANES {
            s.store(sums[i][v], &mut out[i * stride + v * S::LANES..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::{Kernel, dispatch};

    const STRIDE: usize = 70;

    /// Both products of small integers, which are exact, for some steps: each into a tile that begins at row 1, column 3.
    struct Products(usize);

    impl Kernel for Products {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self(steps) = self;
            let value = |seed: usize| move |i: usize| ((i * 7 + i / 11 + seed) % 9) as f32 - 4.0;
            let many = |seed| (0..40 * STRIDE).map(value(seed)).collect::<Vec<_>>();
            let (x, table, before) = (many(1), many(2), many(5));
            let lines = |values| Lines { values, stride: STRIDE };
            for product in 0..3 {
                let mut out = before.clone();
                let (x, table) = (lines(&x).from(2, 1), lines(&table).from(0, 5));
                let place = (&mut out[STRIDE + 3..], STRIDE);
                match product {
                    0 => rows(s, x, table, steps, place, false),
                    1 => rows(s, x, table, steps, place, true),
                    _ => turned(s, x, table, steps, place),
                }
                for (i, got) in out.iter().enumerate() {
                    let (row, column) = (i / STRIDE, i % STRIDE);
                    let mut want = before[i];
                    if (1..=ROWS).contains(&row) && (3..3 + columns::<S>()).contains(&column) {
                        let (row, column) = (row - 1, column - 3);
                        let factor = |k: usize| match product {
                            2 => x.values[k * STRIDE + row],
                            _ => x.values[row * STRIDE + k],
                        };
                        let terms =
                            (0..steps).map(|k| factor(k) * table.values[k * STRIDE + column]);
                        want = terms.sum::<f32>() + if product == 0 { 0.0 } else { before[i] };
                    }
                    assert_eq!(*got, want, "product {product} of {steps} steps at {row}, {column}");
                }
            }
        }
    }

    #[test]
    fn tiles_are_the_products_of_their_definition() {
        for isa in Isa::available() {
            for steps in [0, 1, 5, 31] {
                dispatch(isa, Products(steps));
            }
        }
    }
}
