//! Activation, gate, dropout and residual of one row, and back.

use crate::simd::{Kernel, Simd, math};
use seq2seq_core::Activation;

/// y = activation(z) [· up] [· mask] [+ residual]
pub(crate) struct Activate<'a> {
    pub(crate) activation: Option<Activation>,
    pub(crate) z: &'a [f32],
    pub(crate) up: Option<&'a [f32]>,
    pub(crate) mask: Option<&'a [f32]>,
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) y: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match self.activation {
            None => self.by(s, |z| z),
            Some(Activation::Relu) => self.by(s, |z| math::activate(s, Activation::Relu, z)),
            Some(Activation::Gelu) => self.by(s, |z| math::activate(s, Activation::Gelu, z)),
            Some(Activation::GeluTanh) => {
                self.by(s, |z| math::activate(s, Activation::GeluTanh, z));
            }
            Some(Activation::QuickGelu) => {
                self.by(s, |z| math::activate(s, Activation::QuickGelu, z));
            }
            Some(Activation::Silu) => self.by(s, |z| math::activate(s, Activation::Silu, z)),
            Some(Activation::Tanh) => self.by(s, |z| math::activate(s, Activation::Tanh, z)),
        }
    }
}

impl Activate<'_> {
    #[inline(always)]
    fn by<S: Simd>(&mut self, s: S, act: impl Fn(S::V) -> S::V) {
        // One call of each closure: a function that is called twice is compiled apart, without the instructions.
        let n = self.z.len();
        for at in (0..n).step_by(S::LANES) {
            let end = n.min(at + S::LANES);
            let mut y = act(s.load_within(&self.z[..end], at));
            if let Some(up) = self.up {
                y = s.mul(y, s.load_within(&up[..end], at));
            }
            if let Some(mask) = self.mask {
                y = s.mul(y, s.load_within(&mask[..end], at));
            }
            if let Some(residual) = self.residual {
                y = s.add(y, s.load_within(&residual[..end], at));
            }
            s.store_within(y, &mut self.y[..end], at);
        }
    }
}

/// dz = dy [· mask] activation'(z), or, with `up`, the gradients of gate and up: `dz` and `dup`.
pub(crate) struct Deactivate<'a> {
    pub(crate) activation: Option<Activation>,
    pub(crate) z: &'a [f32],
    pub(crate) up: Option<&'a [f32]>,
    pub(crate) mask: Option<&'a [f32]>,
    pub(crate) dy: &'a [f32],
    pub(crate) dz: &'a mut [f32],
    pub(crate) dup: &'a mut [f32],
}

impl Kernel for Deactivate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        macro_rules! by {
            ($activation:expr) => {
                self.by(
                    s,
                    |z| math::activate(s, $activation, z),
                    |z| math::slope(s, $activation, z),
                )
            };
        }
        match self.activation {
            None => self.by(s, |z| z, |_| s.splat(1.0)),
            Some(Activation::Relu) => by!(Activation::Relu),
            Some(Activation::Gelu) => by!(Activation::Gelu),
            Some(Activation::GeluTanh) => by!(Activation::GeluTanh),
            Some(Activation::QuickGelu) => by!(Activation::QuickGelu),
            Some(Activation::Silu) => by!(Activation::Silu),
            Some(Activation::Tanh) => by!(Activation::Tanh),
        }
    }
}

impl Deactivate<'_> {
    #[inline(always)]
    fn by<S: Simd>(&mut self, s: S, act: impl Fn(S::V) -> S::V, slope: impl Fn(S::V) -> S::V) {
        let n = self.dy.len();
        for at in (0..n).step_by(S::LANES) {
            let end = n.min(at + S::LANES);
            let mut dy = s.load_within(&self.dy[..end], at);
            if let Some(mask) = self.mask {
                dy = s.mul(dy, s.load_within(&mask[..end], at));
            }
            let z = s.load_within(&self.z[..end], at);
            let mut through = dy;
            if let Some(up) = self.up {
                through = s.mul(dy, s.load_within(&up[..end], at));
                s.store_within(s.mul(dy, act(z)), &mut self.dup[..end], at);
            }
            s.store_within(s.mul(through, slope(z)), &mut self.dz[..end], at);
        }
    }
}
