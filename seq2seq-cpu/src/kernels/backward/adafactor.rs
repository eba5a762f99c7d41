//! Adafactor's estimates of squared gradients, and the updates that follow from them.

use crate::simd::{Kernel, Simd};

/// A row whose squares are kept one by one.
pub(crate) struct FullRow<'a> {
    /// β, 1 - β
    pub(crate) betas: [f32; 2],
    pub(crate) scale: f32,
    /// Added to each square.
    pub(crate) least: f32,
    pub(crate) gradient: &'a [f32],
    pub(crate) held: &'a mut [f32],
    pub(crate) update: &'a mut [f32],
}

impl Kernel for FullRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { betas: [beta, rest], scale, least, gradient, held, update } = self;
        for ((&g, v), u) in gradient.iter().zip(held).zip(update) {
            let g = g * scale;
            *v = beta * *v + rest * (g * g + least);
            *u = g / v.sqrt();
        }
    }
}

/// A row whose squares are the product of a value of its own and one of each column.
pub(crate) struct FactoredRow<'a> {
    /// Of the gradient, by the root of the row's value.
    pub(crate) scale: f32,
    /// 1 / the root of each column's value.
    pub(crate) by_column: &'a [f32],
    pub(crate) gradient: &'a [f32],
    pub(crate) update: &'a mut [f32],
}

impl Kernel for FactoredRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { scale, by_column, gradient, update } = self;
        for ((&g, &c), u) in gradient.iter().zip(by_column).zip(update) {
            *u = g * scale * c;
        }
    }
}
