//! Additive attention, forward with what is kept, and back.

use super::super::additive::Case;
use super::super::groups::Groups;
use super::super::tolerance::Approx;
use super::super::{Outcome, bits, each, host};
use super::{added, begun, gradient_values, narrow};
use crate::Result;
use crate::reference::backward::{additive, attention};
use crate::reference::real::Real;
use crate::train::{AdditiveBackward, AdditiveGradients, Gradient, TrainBackend};
use proptest::prelude::*;

fn cases() -> BoxedStrategy<Case> {
    let length = prop_oneof![1 => Just(0usize), 2 => Just(1), 6 => 2..=12usize, 2 => 15..=20usize];
    let sharpness = proptest::sample::select(&[1.0f32, 1.0, 0.0, 30.0][..]);
    (Groups::some(length, 5), narrow(), narrow(), sharpness, 0..1000u64)
        .prop_map(|(groups, keys, width, sharpness, seed)| Case {
            groups,
            keys,
            width,
            sharpness,
            seed,
        })
        .boxed()
}

fn dy(case: &Case) -> Vec<f32> {
    gradient_values(case.seed + 7, case.groups.group_rows().rows() * case.width)
}

/// Result, probabilities, and the gradients of q, keys, values and v; those of keys and v are added to.
type Ran<T> = (T, T, [Gradient<T>; 4]);

fn run<B: TrainBackend>(backend: &B, case: &Case) -> Result<Ran<B::Tensor>> {
    let (rows, source_rows) = (case.groups.group_rows(), case.groups.source_rows());
    let sources = case.groups.sources();
    let (keys, values) = (backend.upload(&case.keys())?, backend.upload(&case.values())?);
    let memory = backend.additive_memory(&keys, &values, &source_rows)?;
    let v = backend.additive(&case.v())?;
    let q = backend.upload(&case.q())?;
    let (y, weights) = backend.additive_attend_forward(&q, &rows, &v, &memory, &sources)?;
    let dy = backend.upload(&host(rows.rows(), case.width, &dy(case)))?;
    let of = AdditiveBackward {
        q: &q,
        weights: &weights,
        rows: &rows,
        v: &v,
        memory: &memory,
        sources: &sources,
        dy: &dy,
    };
    let mut gradients =
        [None, begun(backend, source_rows.rows(), case.keys)?, None, begun(backend, 1, case.keys)?];
    let [q, keys, values, v] = gradients.each_mut().map(Some);
    backend.additive_attend_backward(&of, AdditiveGradients { q, keys, values, v })?;
    Ok((y, weights, gradients))
}

/// The forward has the bits of [`additive_attend`](crate::RecurrentOps::additive_attend), weights included; gradients lie
/// within their bounds.
pub fn backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let (rows, source_rows) = (case.groups.group_rows(), case.groups.source_rows());
        let sources = case.groups.sources();
        let (y, weights, got) = run(backend, case)?;
        let (plain, probabilities) = super::super::additive::both(backend, case)?;
        bits("additive_attend_forward", &plain, &backend.download(&y)?)?;
        let longest = source_rows.longest();
        let (mut padded, mut rest) = (vec![0.0; rows.rows() * longest], &probabilities[..]);
        for (range, &source) in rows.ranges().zip(&sources) {
            for n in range {
                let (own, others) = rest.split_at(source_rows.length(source));
                padded[n * longest..][..own.len()].copy_from_slice(own);
                rest = others;
            }
        }
        let weights = backend.download(&weights)?;
        bits("weights of additive_attend_forward", &padded, &weights)?;
        let groups =
            attention::Groups { rows: &rows, sources: &sources, source_rows: &source_rows };
        let want = additive::gradients(&additive::Operands {
            q: &Approx::all(&case.q().to_f32()),
            keys: &Approx::all(&case.keys().to_f32()),
            values: &Approx::all(&case.values().to_f32()),
            v: &Approx::all(&case.v().to_f32()),
            weights: &Approx::all(&weights),
            dy: &Approx::all(&dy(case)),
            widths: [case.keys, case.width],
            groups,
        });
        let pairs = rows.rows() * longest;
        let named = [
            ("dq", longest, false),
            ("dkeys", rows.rows(), true),
            ("dvalues", rows.rows(), false),
            ("dv", pairs, true),
        ];
        for (((name, terms, begun), want), got) in named.iter().zip(&want).zip(&got) {
            added(backend, name, (want, *terms), got, *begun)?;
        }
        Ok(())
    })
}

/// A vector that was renewed attends as one that was taken over.
pub fn renews<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let other = Case { seed: case.seed + 1000, ..case.clone() };
        let mut v = backend.additive(&case.v())?;
        let row = other.v().reshape(vec![1, case.keys])?;
        backend.renew_additive(&mut v, &backend.upload(&row)?)?;
        let (keys, values) = (backend.upload(&case.keys())?, backend.upload(&case.values())?);
        let memory = backend.additive_memory(&keys, &values, &case.groups.source_rows())?;
        let (rows, sources) = (case.groups.group_rows(), case.groups.sources());
        let q = backend.upload(&case.q())?;
        let attend = |v: &B::Additive| {
            backend.download(&backend.additive_attend(&q, &rows, v, &memory, &sources, None)?)
        };
        bits("renewed", &attend(&backend.additive(&other.v())?)?, &attend(&v)?)
    })
}

fn flat<B: TrainBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
    let (y, weights, gradients) = run(backend, case)?;
    let mut out = backend.download(&y)?;
    for x in [Some(weights)].into_iter().chain(gradients).flatten() {
        out.extend(backend.download(&x)?);
    }
    Ok(out)
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let same = |case: &Case| bits("additive_attend", &flat(a, case)?, &flat(b, case)?);
    same(&Case {
        groups: Groups { lengths: vec![30, 41, 7], rows: vec![20, 3, 11, 9] },
        keys: 300,
        width: 200,
        sharpness: 1.0,
        seed: 1,
    })?;
    each(cases(), same)
}
