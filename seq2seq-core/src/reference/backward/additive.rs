//! Additive attention.

use super::{Real, Tensor, add_wanted, attention::Groups, numbers};
use crate::backend::check;
use crate::reference::additive::{self, Additive, AdditiveMemory};
use crate::train::{AdditiveBackward, AdditiveGradients};
use crate::{Activation, Ragged, Result, Rows};

pub(super) fn forward(
    q: &Tensor,
    rows: &Ragged,
    v: &Additive,
    memory: &AdditiveMemory,
    sources: &[usize],
) -> Result<(Tensor, Tensor)> {
    let mut weights = Vec::new();
    let y = additive::attend(q, rows, v, memory, sources, Some(&mut weights))?;
    let longest = memory.rows().longest();
    let (mut kept, mut rest) = (vec![0.0; q.rows() * longest], weights.as_slice());
    for (range, &source) in rows.ranges().zip(sources) {
        for n in range {
            let (own, others) = rest.split_at(memory.rows().length(source));
            kept[n * longest..][..own.len()].copy_from_slice(own);
            rest = others;
        }
    }
    Ok((y, Tensor::new(q.rows(), longest, kept)))
}

/// The operands of a backward.
pub(crate) struct Operands<'a, R> {
    /// `[N, A]`
    pub(crate) q: &'a [R],
    /// `[S, A]`
    pub(crate) keys: &'a [R],
    /// `[S, M]`
    pub(crate) values: &'a [R],
    /// `[A]`
    pub(crate) v: &'a [R],
    /// `[N, longest source]`
    pub(crate) weights: &'a [R],
    /// `[N, M]`
    pub(crate) dy: &'a [R],
    /// A, M
    pub(crate) widths: [usize; 2],
    pub(crate) groups: Groups<'a>,
}

/// The gradients of q, keys, values and v.
pub(crate) fn gradients<R: Real>(of: &Operands<'_, R>) -> [Vec<R>; 4] {
    let ([a, m], Groups { rows, sources, source_rows }) = (of.widths, &of.groups);
    let longest = source_rows.longest();
    let terms = |count: usize| vec![Vec::new(); count];
    let (mut dq, mut dkeys) = (terms(of.q.len()), terms(of.keys.len()));
    let (mut dvalues, mut dv) = (terms(of.values.len()), terms(a));
    for (range, &source) in rows.ranges().zip(*sources) {
        let positions = source_rows.range(source);
        for n in range {
            let dy = &of.dy[n * m..][..m];
            let p = &of.weights[n * longest..][..positions.len()];
            let value = |j: usize| of.values[j * m..][..m].iter().copied();
            let dp: Vec<R> =
                positions.clone().map(|j| R::dot(dy.iter().copied().zip(value(j)))).collect();
            let along = R::dot(p.iter().copied().zip(dp.iter().copied()));
            for (at, j) in positions.clone().enumerate() {
                let ds = p[at].times(dp[at].minus(along));
                for i in 0..a {
                    let t = of.q[n * a + i].plus(of.keys[j * a + i]).activated(Activation::Tanh);
                    let through = ds.times(of.v[i]).times(R::exact(1.0).minus(t.times(t)));
                    dq[n * a + i].push(through);
                    dkeys[j * a + i].push(through);
                    dv[i].push(ds.times(t));
                }
                for (i, dy) in dy.iter().enumerate() {
                    dvalues[j * m + i].push(p[at].times(*dy));
                }
            }
        }
    }
    [dq, dkeys, dvalues, dv].map(|all| all.iter().map(|terms| R::sum(terms)).collect())
}

pub(super) fn backward(
    of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
    wanted: AdditiveGradients<'_, Tensor>,
) -> Result<()> {
    let (rows, keys, values) = (of.memory.rows(), of.memory.keys(), of.memory.values());
    let held = (rows.sequences(), rows.longest());
    check::additive_attend_backward(of, of.v.v().len(), (keys, values), held, &wanted)?;
    let (a, m) = (keys.width(), values.width());
    let [dq, dkeys, dvalues, dv] = gradients(&Operands {
        q: &numbers::<f64>(of.q),
        keys: &numbers(keys),
        values: &numbers(values),
        v: &f64::all(of.v.v()),
        weights: &numbers(of.weights),
        dy: &numbers(of.dy),
        widths: [a, m],
        groups: Groups { rows: of.rows, sources: of.sources, source_rows: rows },
    });
    add_wanted(wanted.q, of.q.rows(), a, &dq);
    add_wanted(wanted.keys, keys.rows(), a, &dkeys);
    add_wanted(wanted.values, values.rows(), m, &dvalues);
    add_wanted(wanted.v, 1, a, &dv);
    Ok(())
}
