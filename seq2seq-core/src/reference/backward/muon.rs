//! The direction of a step of Muon.

use crate::reference::real::Real;
use crate::train::Muon;

/// Columns as rows.
fn turned<R: Copy>(x: &[R], [rows, columns]: [usize; 2]) -> Vec<R> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}

/// Products of the rows of `a` with the columns of `b`, which is `[length, columns]`; `bf16` rounds both.
fn product<R: Real>(a: &[R], b: &[R], [length, columns]: [usize; 2], bf16: bool) -> Vec<R> {
    let round = |v: &R| if bf16 { v.rounded() } else { *v };
    let a: Vec<R> = a.iter().map(round).collect();
    let b: Vec<R> = turned(b, [length, columns]).iter().map(round).collect();
    let rows = a.chunks(length);
    rows.flat_map(|a| {
        b.chunks(length).map(move |b| R::dot(a.iter().copied().zip(b.iter().copied())))
    })
    .collect()
}

/// Roughly the nearest orthogonal matrix to `u`.
pub(crate) fn update<R: Real>(
    u: &[R],
    [rows, columns]: [usize; 2],
    iterations: u32,
    bf16: bool,
) -> Vec<R> {
    if u.is_empty() {
        return Vec::new();
    }
    let tall = rows > columns;
    let (m, n) = (rows.min(columns), rows.max(columns));
    let squares = R::dot(u.iter().map(|&v| (v, v)));
    // A norm that is not a number is larger than any.
    let inverse = match squares.value() < Muon::EPS * Muon::EPS {
        true => R::constant(1.0 / Muon::EPS),
        false => squares.rsqrt(),
    };
    let mut x = if tall { turned(u, [rows, columns]) } else { u.to_vec() };
    x.iter_mut().for_each(|v| *v = v.times(inverse));
    let [a, b, c] = Muon::COEFFICIENTS.map(R::constant);
    for _ in 0..iterations {
        let gram = product(&x, &turned(&x, [m, n]), [n, m], bf16);
        let squared = product(&gram, &gram, [m, m], bf16);
        let mixed: Vec<R> =
            gram.iter().zip(squared).map(|(g, s)| b.times(*g).plus(c.times(s))).collect();
        let moved = product(&mixed, &x, [m, n], bf16);
        x = x.iter().zip(moved).map(|(x, y)| a.times(*x).plus(y)).collect();
    }
    if tall { turned(&x, [m, n]) } else { x }
}
