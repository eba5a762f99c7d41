//! Vectors of f32, the same code for every instruction set.
//!
//! [`Simd`] is implemented by the proofs of [`Isa`](crate::isa::Isa): whoever holds one may use its instructions. A
//! kernel is a [`Kernel`] generic over it, and [`dispatch`] runs the body that was compiled for the level at hand.
//!
//! Everything below `Kernel::run` must be inlined into the entry point that enables the instructions: a generic body
//! left as a function of its own is compiled without them and is 80 times slower. So the methods of `Simd`, the functions
//! of [`math`] and every `run` are `#[inline(always)]`.

mod gelu_tables;
pub(crate) mod math;
pub(crate) mod words;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

#[cfg(test)]
mod tests;

use crate::isa::Isa;
pub(crate) use scalar::Scalar;

/// No level has more lanes.
pub(crate) const MAX_LANES: usize = 16;

/// Vectors of [`LANES`](Self::LANES) f32.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector.
    type V: Copy;
    /// What a comparison gives, lane by lane.
    type M: Copy;
    /// Lanes of a vector: a power of two, at most [`MAX_LANES`].
    const LANES: usize;

    /// The same value in every lane.
    fn splat(self, x: f32) -> Self::V;

    /// The vector at `x`, of any alignment.
    ///
    /// # Safety
    /// `LANES` values at `x` can be read.
    unsafe fn load_at(self, x: *const f32) -> Self::V;

    /// Stores `v` at `x`, of any alignment.
    ///
    /// # Safety
    /// `LANES` values at `x` can be written.
    unsafe fn store_at(self, v: Self::V, x: *mut f32);

    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, rounded once where the level has the instruction, twice in [`Scalar`].
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger. A NaN in `b` is kept; one in `a` may be lost.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller. A NaN in `b` is kept; one in `a` may be lost.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// |a|
    fn abs(self, a: Self::V) -> Self::V;
    /// The magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// The nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// 2ⁿ for an integral n in -126..=127; another n gives some number.
    fn pow2(self, n: Self::V) -> Self::V;
    /// a < b, false for NaN.
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    /// a = b, false for NaN.
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// Lanes of `a` where `m` holds, of `b` elsewhere.
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// The lanes of both in turn: a₀ b₀ a₁ b₁ …, which fill two vectors.
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    /// In each lane the value of `table` at the number that the four lowest bits of `index` are.
    fn pick(self, table: &[f32; 16], index: Self::V) -> Self::V;
    /// Whether `m` holds in every lane.
    fn all(self, m: Self::M) -> bool;

    /// Rounded to bf16 as [`round`](crate::kernels::round) does; the lower halves of the lanes' bits are zero.
    fn to_bf16(self, a: Self::V) -> Self::V;

    /// Stores the upper halves of the lanes' bits at `x`, of any alignment.
    ///
    /// # Safety
    /// `LANES` values at `x` can be written.
    unsafe fn store_upper_at(self, v: Self::V, x: *mut u16);

    /// x · 2ⁿ, rounded once, for x near 1 and an integral n of at most 254 in magnitude.
    ///
    /// By two factors, so that either half of a subnormal or huge result is a normal number.
    #[inline(always)]
    fn scale(self, x: Self::V, n: Self::V) -> Self::V {
        let half = self.round(self.mul(n, self.splat(0.5)));
        self.mul(self.mul(x, self.pow2(half)), self.pow2(self.sub(n, half)))
    }

    /// Zeros.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// The first `LANES` values of `x`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the slice was just seen to be long enough.
        unsafe { self.load_at(x.as_ptr()) }
    }

    /// Stores `v` in the first `LANES` values of `x`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline(always)]
    fn store(self, v: Self::V, x: &mut [f32]) {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the slice was just seen to be long enough.
        unsafe { self.store_at(v, x.as_mut_ptr()) }
    }

    /// Stores the upper halves of the lanes' bits in the first `LANES` values of `x`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline(always)]
    fn store_upper(self, v: Self::V, x: &mut [u16]) {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the slice was just seen to be long enough.
        unsafe { self.store_upper_at(v, x.as_mut_ptr()) }
    }

    /// The values of a slice shorter than a vector, `fill` in the lanes behind them.
    #[inline(always)]
    fn load_partial(self, x: &[f32], fill: f32) -> Self::V {
        let mut lanes = [fill; MAX_LANES];
        lanes[..x.len()].copy_from_slice(x);
        self.load(&lanes)
    }

    /// Stores as many lanes as a slice shorter than a vector has room for.
    #[inline(always)]
    fn store_partial(self, v: Self::V, x: &mut [f32]) {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        x.copy_from_slice(&lanes[..x.len()]);
    }

    /// The vector at `at`, zeros behind the end of `x`.
    #[inline(always)]
    fn load_within(self, x: &[f32], at: usize) -> Self::V {
        match x.len() - at < Self::LANES {
            true => self.load_partial(&x[at..], 0.0),
            false => self.load(&x[at..]),
        }
    }

    /// Stores a vector at `at`, as far as `x` goes.
    #[inline(always)]
    fn store_within(self, v: Self::V, x: &mut [f32], at: usize) {
        match x.len() - at < Self::LANES {
            true => self.store_partial(v, &mut x[at..]),
            false => self.store(v, &mut x[at..]),
        }
    }

    /// The sum of all lanes, by halves: lane i and lane i + LANES / 2 first.
    #[inline(always)]
    fn reduce_add(self, v: Self::V) -> f32 {
        self.reduce(v, |a, b| a + b)
    }

    /// The largest lane; NaN may be lost.
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        self.reduce(v, f32::max)
    }

    /// Folds the upper half of the lanes into the lower until one is left.
    #[inline(always)]
    fn reduce(self, v: Self::V, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = f(lanes[i], lanes[i + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

/// A computation written once and compiled for every level.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// The body. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Runs the body of `kernel` that was compiled for `isa`.
#[inline]
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        Isa::Scalar => kernel.run(Scalar),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(proof) => avx2::run(proof, kernel),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(proof) => avx512::run(proof, kernel),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(proof) => neon::run(proof, kernel),
    }
}
