//! What happens to the sums of a tile on their way to memory: scale, bias, activation or gate, residual.
//!
//! ```text
//! plain    y = activation(sum · scale[column] · scale[row] + bias[column]) + residual
//! gated    y = activation(the same of gate) · (the same of up) + residual
//! ```
//!
//! A gated panel holds the gate columns in its first half and the up columns in its second, so both factors lie in the
//! same row of the tile. The scales are those of int8 and of the layer; each is 1 where there is nothing to scale, which
//! leaves the sum as it is.

use super::{
    lhs::Converted,
    micro::{output::Block, stored::Stored},
};
use crate::memory::{For, prefetch_run};
use crate::simd::{Kernel, Simd, math};
use seq2seq_core::Activation;
use std::ops::Range;

/// The columns of one panel: what each sum is multiplied by, and what is then added. As long as the panel is wide.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) scale: &'a [f32],
    pub(super) bias: &'a [f32],
    /// Whether the first half are gates of the second.
    pub(super) gated: bool,
}

impl Columns<'_> {
    /// The vector from column `at` on, before the activation.
    // A closure would be compiled once, apart, without the instructions, as it is called twice.
    #[inline(always)]
    pub(super) fn linear<S: Simd>(&self, s: S, sums: &[f32], row_scale: S::V, at: usize) -> S::V {
        let scaled = s.mul(s.load(&sums[at..]), s.load(&self.scale[at..]));
        s.fma(scaled, row_scale, s.load(&self.bias[at..]))
    }
}

/// A matrix that is added at the end; rows begin `stride` values apart.
#[derive(Clone, Copy)]
pub(crate) struct Residual<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
}

impl Residual<'_> {
    /// Brings `width` columns from `column` on of `rows` nearer.
    #[inline(always)]
    pub(super) fn prefetch(&self, rows: Range<usize>, column: usize, width: usize) {
        for row in rows {
            let start = self.data.as_ptr().wrapping_add(row * self.stride + column);
            prefetch_run(start, width, For::Reading);
        }
    }
}

/// The epilogue of a call: the same for all tiles.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    pub(crate) activation: Option<Activation>,
    pub(crate) residual: Option<Residual<'a>>,
    /// Has a scale for each row; all are 1 where absent.
    pub(crate) converted: Option<&'a Converted>,
}

impl Epilogue<'_> {
    /// Brings what it reads and writes of `rows` and some panels of `block` nearer.
    #[inline(always)]
    pub(super) fn prefetch<T>(
        &self,
        block: &Block<'_, T>,
        rows: Range<usize>,
        panels: Range<usize>,
    ) {
        if let Some(residual) = &self.residual {
            let width = block.panel_width();
            residual.prefetch(rows.clone(), panels.start * width, panels.len() * width);
        }
        block.prefetch(rows, panels);
    }
}

/// Finishes one tile: the rows `rows` of the matrix, in `panel` of `block`.
pub(super) struct Finish<'a, 'b, T> {
    pub(super) epilogue: &'a Epilogue<'a>,
    pub(super) columns: Columns<'a>,
    /// Of that panel, row by row.
    pub(super) sums: &'a [f32],
    pub(super) rows: Range<usize>,
    pub(super) panel: usize,
    pub(super) block: &'a mut Block<'b, T>,
}

impl<T: Stored> Kernel for Finish<'_, '_, T> {
    type Output = ();

    /// Chooses the activation once a tile, so that its constants stay in registers.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.epilogue.activation {
            None => self.all_rows::<S, Identity>(s),
            Some(Activation::Relu) => self.all_rows::<S, Relu>(s),
            Some(Activation::Gelu) => self.all_rows::<S, Gelu>(s),
            Some(Activation::GeluTanh) => self.all_rows::<S, GeluTanh>(s),
            Some(Activation::QuickGelu) => self.all_rows::<S, QuickGelu>(s),
            Some(Activation::Silu) => self.all_rows::<S, Silu>(s),
            Some(Activation::Tanh) => self.all_rows::<S, Tanh>(s),
        }
    }
}

impl<T: Stored> Finish<'_, '_, T> {
    #[inline(always)]
    fn all_rows<S: Simd, A: Apply>(mut self, s: S) {
        for i in 0..self.rows.len() {
            let row = self.rows.start + i;
            let scale = match self.epilogue.converted {
                Some(x) => x.scale(row),
                None => 1.0,
            };
            let row_scale = s.splat(scale);
            let columns = self.columns.scale.len();
            let sums = &self.sums[i * columns..][..columns];
            match self.columns.gated {
                false => self.row::<S, A, false>(s, row, row_scale, sums),
                true => self.row::<S, A, true>(s, row, row_scale, sums),
            }
        }
    }

    #[inline(always)]
    fn row<S: Simd, A: Apply, const GATED: bool>(
        &mut self,
        s: S,
        row: usize,
        row_scale: S::V,
        sums: &[f32],
    ) {
        let columns = self.columns;
        let out = self.block.row(row, self.panel);
        let width = out.len();
        let residual = self.epilogue.residual.map(|r| {
            let at = row * r.stride + self.panel * width;
            &r.data[at..at + width]
        });
        for (i, out) in out.chunks_exact_mut(S::LANES).enumerate() {
            let at = i * S::LANES;
            let mut y = A::apply(s, columns.linear(s, sums, row_scale, at));
            if GATED {
                y = s.mul(y, columns.linear(s, sums, row_scale, width + at));
            }
            if let Some(residual) = residual {
                y = s.add(y, s.load(&residual[at..]));
            }
            T::store(s, y, out);
        }
    }
}

/// An activation as a type, so that each gets its own loop.
trait Apply {
    fn apply<S: Simd>(s: S, x: S::V) -> S::V;
}

struct Identity;

impl Apply for Identity {
    #[inline(always)]
    fn apply<S: Simd>(_: S, x: S::V) -> S::V {
        x
    }
}

macro_rules! apply {
    ($($name:ident)*) => {
        $(struct $name;

        impl Apply for $name {
            #[inline(always)]
            fn apply<S: Simd>(s: S, x: S::V) -> S::V {
                math::activate(s, Activation::$name, x)
            }
        })*
    };
}
apply!(Relu Gelu GeluTanh QuickGelu Silu Tanh);
