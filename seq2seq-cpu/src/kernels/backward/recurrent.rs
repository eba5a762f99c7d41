//! The cell of a recurrent layer on its way back, for some units of one row.
//!
//! ```text
//! dh' = product + dh + dy
//! LSTM   dc' = dc + dh' o (1 - tanh² c')
//!        da = dc' g i (1 - i), dc' c f (1 - f), dc' i (1 - g²), dh' tanh c' o (1 - o)     dc = dc' f   dh = 0
//! GRU    da_n = dh' (1 - z) (1 - n²)   da_z = dh' (h - n) z (1 - z)   da_r = da_n u_n r (1 - r)
//!        dx = (da_r, da_z, da_n)   du = (da_r, da_z, da_n r)                               dh = dh' z
//! ```
//!
//! The product is that of du of the position behind with U. Each unit is computed in a lane.

use crate::gemm::{MAX_GATES, MAX_KEPT};
use crate::simd::{Kernel, Simd, math};
use seq2seq_core::Cell;

/// The units of one row at one position. A vector can be read at each unit of what is only read.
pub(crate) struct Cells<'a> {
    pub(crate) cell: Cell,
    /// What comes back through U.
    pub(crate) product: &'a [f32],
    /// The rest of the gradient of h', which becomes that of h but for the next product.
    pub(crate) dh: &'a mut [f32],
    /// The gradient of c', which becomes that of c; empty in a GRU.
    pub(crate) dc: &'a mut [f32],
    /// The gradient of the result.
    pub(crate) dy: Option<&'a [f32]>,
    /// i, f, g, o, c' of an LSTM, r, z, n, u_n of a GRU.
    pub(crate) kept: [&'a [f32]; MAX_KEPT],
    /// c of an LSTM, h of a GRU; zeros where absent.
    pub(crate) before: Option<&'a [f32]>,
    /// du, for the next step and for all positions.
    pub(crate) next: [&'a mut [f32]; MAX_GATES],
    pub(crate) du: [&'a mut [f32]; MAX_GATES],
    /// The gradient of the projected input where it is not du.
    pub(crate) dx: Option<[&'a mut [f32]; MAX_GATES]>,
}

/// A vector of what may be absent.
#[inline(always)]
fn given<S: Simd>(s: S, x: Option<&[f32]>, at: usize) -> S::V {
    match x {
        Some(x) => s.load(&x[at..]),
        None => s.zero(),
    }
}

/// The slope of the logistic function where it is `y`.
#[inline(always)]
fn slope<S: Simd>(s: S, y: S::V) -> S::V {
    s.mul(y, s.sub(s.splat(1.0), y))
}

/// The slope of tanh where it is `y`.
#[inline(always)]
fn flat<S: Simd>(s: S, y: S::V) -> S::V {
    s.sub(s.splat(1.0), s.mul(y, y))
}

impl Kernel for Cells<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.cell {
            Cell::Lstm => self.lstm(s),
            Cell::Gru => self.gru(s),
        }
    }
}

impl Cells<'_> {
    #[inline(always)]
    fn all_of_dh<S: Simd>(&self, s: S, at: usize) -> S::V {
        let behind = s.add(s.load(&self.product[at..]), s.load_within(self.dh, at));
        s.add(behind, given(s, self.dy, at))
    }

    #[inline(always)]
    fn lstm<S: Simd>(self, s: S) {
        for at in (0..self.dh.len()).step_by(S::LANES) {
            let [i, f, g, o, new] = self.kept;
            let (i, f, g) = (s.load(&i[at..]), s.load(&f[at..]), s.load(&g[at..]));
            let (o, new) = (s.load(&o[at..]), s.load(&new[at..]));
            let dh = self.all_of_dh(s, at);
            let tanh = math::tanh(s, new);
            let dc = s.fma(s.mul(dh, o), flat(s, tanh), s.load_within(self.dc, at));
            let da = [
                s.mul(s.mul(dc, g), slope(s, i)),
                s.mul(s.mul(dc, given(s, self.before, at)), slope(s, f)),
                s.mul(s.mul(dc, i), flat(s, g)),
                s.mul(s.mul(dh, tanh), slope(s, o)),
            ];
            s.store_within(s.mul(dc, f), self.dc, at);
            s.store_within(s.zero(), self.dh, at);
            for (gate, da) in da.into_iter().enumerate() {
                s.store_within(da, self.next[gate], at);
                s.store_within(da, self.du[gate], at);
            }
        }
    }

    #[inline(always)]
    fn gru<S: Simd>(mut self, s: S) {
        for at in (0..self.dh.len()).step_by(S::LANES) {
            let [r, z, n, u, ..] = self.kept;
            let (r, z) = (s.load(&r[at..]), s.load(&z[at..]));
            let (n, u) = (s.load(&n[at..]), s.load(&u[at..]));
            let dh = self.all_of_dh(s, at);
            let dn = s.mul(s.mul(dh, s.sub(s.splat(1.0), z)), flat(s, n));
            let dz = s.mul(s.mul(dh, s.sub(given(s, self.before, at), n)), slope(s, z));
            let dr = s.mul(s.mul(dn, u), slope(s, r));
            s.store_within(s.mul(dh, z), self.dh, at);
            for (gate, du) in [dr, dz, s.mul(dn, r)].into_iter().enumerate() {
                s.store_within(du, self.next[gate], at);
                s.store_within(du, self.du[gate], at);
            }
            if let Some(dx) = &mut self.dx {
                for (gate, da) in [dr, dz, dn].into_iter().enumerate() {
                    s.store_within(da, dx[gate], at);
                }
            }
        }
    }
}

/// dh += product
pub(crate) struct Join<'a> {
    pub(crate) product: &'a [f32],
    pub(crate) dh: &'a mut [f32],
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.dh.iter_mut().zip(self.product).for_each(|(dh, x)| *dh += x);
    }
}
