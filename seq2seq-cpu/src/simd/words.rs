//! Words of 32 bits that are multiplied lane by lane: one f32, or two bf16.
//!
//! A vector of words travels as a vector of f32, a slice of them as a slice of f32. What their bits mean is the affair of
//! [`Words`]; loads, stores and splats leave bits alone.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{Kernel, Simd, dispatch};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx512;
use crate::isa::Isa;
use seq2seq_core::Precision;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// What words hold, and how they are multiplied on the level `S`.
pub(crate) trait Words<S: Simd>: Copy {
    /// Numbers in a word; in ascending order from the low bits on.
    const NUMBERS: usize;

    /// c + Σ aᵢ bᵢ over the numbers of each word; c is f32.
    fn multiply_add(self, s: S, a: S::V, b: S::V, c: S::V) -> S::V;

    /// `NUMBERS` vectors of f32, one behind the other, as one vector of words. `b` is not looked at where `NUMBERS` is 1.
    fn pack(self, s: S, a: S::V, b: S::V) -> S::V;

    /// Each word with zero in place of all its numbers but the first.
    fn first(self, s: S, a: S::V) -> S::V;

    /// Packs `x` in place: its words lie in the first `x.len() / NUMBERS` places, rounded up. A word that is not filled
    /// ends in zero; what lies behind the words is unspecified.
    #[inline(always)]
    fn pack_row(self, s: S, x: &mut [f32]) {
        if Self::NUMBERS == 1 {
            return;
        }
        let (len, lanes) = (x.len(), S::LANES);
        // A vector of words is stored where numbers were read already, or behind the last of them.
        for at in (0..len).step_by(2 * lanes) {
            let a = s.load_within(x, at);
            let b = if at + lanes < len { s.load_within(x, at + lanes) } else { s.zero() };
            s.store_within(self.pack(s, a, b), x, at / 2);
        }
    }
}

/// One f32.
#[derive(Clone, Copy)]
pub(crate) struct Single;

impl<S: Simd> Words<S> for Single {
    const NUMBERS: usize = 1;

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::V, b: S::V, c: S::V) -> S::V {
        s.fma(a, b, c)
    }

    #[inline(always)]
    fn pack(self, _: S, a: S::V, _: S::V) -> S::V {
        a
    }

    #[inline(always)]
    fn first(self, _: S, a: S::V) -> S::V {
        a
    }
}

/// Two bf16, and the proof of `avx512bf16`. The instruction adds the product of the second first, fused; it takes
/// subnormal operands as zero and flushes subnormal sums.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Pair(());

#[cfg(target_arch = "x86_64")]
impl Pair {
    /// The proof, where the level has it.
    fn of(level: Avx512) -> Option<Self> {
        level.bf16().then_some(Self(()))
    }
}

// SAFETY of every block below: the level and `self` prove that the machine has AVX-512 F and BF16. The types that are
// transmuted are 64 bytes without invalid values.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)]
impl Words<Avx512> for Pair {
    const NUMBERS: usize = 2;

    #[inline(always)]
    fn multiply_add(self, _: Avx512, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe {
            let a = std::mem::transmute::<__m512, __m512bh>(a);
            let b = std::mem::transmute::<__m512, __m512bh>(b);
            _mm512_dpbf16_ps(c, a, b)
        }
    }

    #[inline(always)]
    fn pack(self, _: Avx512, a: __m512, b: __m512) -> __m512 {
        unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(b, a)) }
    }

    #[inline(always)]
    fn first(self, _: Avx512, a: __m512) -> __m512 {
        unsafe {
            let low = _mm512_set1_epi32(0xffff);
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), low))
        }
    }
}

/// A computation written once and compiled for every level and the words that it has.
pub(crate) trait WordsKernel {
    /// The body. Implementations are `#[inline(always)]`.
    fn run<S: Simd, W: Words<S>>(self, s: S, w: W);
}

/// Numbers in a word in which `isa` multiplies fastest what is in the caches.
pub(crate) fn quick_numbers(isa: Isa, precision: Precision) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(level) if !level.quick_bf16() => 1,
        _ => numbers(isa, precision),
    }
}

/// The most numbers in a word that `isa` multiplies and `precision` allows: what is read from memory is fastest so.
pub(crate) fn numbers(isa: Isa, precision: Precision) -> usize {
    match (precision, isa) {
        #[cfg(target_arch = "x86_64")]
        (Precision::Bf16, Isa::Avx512(level)) if Pair::of(level).is_some() => 2,
        _ => 1,
    }
}

/// Runs the body of `kernel` that was compiled for `isa` and words of `numbers`, which come from [`numbers`] or
/// [`quick_numbers`].
#[inline]
pub(crate) fn dispatch_words<K: WordsKernel>(isa: Isa, numbers: usize, kernel: K) {
    struct Singles<K>(K);

    impl<K: WordsKernel> Kernel for Singles<K> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            self.0.run(s, Single);
        }
    }

    #[cfg(target_arch = "x86_64")]
    if let (2, Isa::Avx512(level)) = (numbers, isa)
        && let Some(pair) = Pair::of(level)
    {
        return avx512::run_pairs(level, pair, kernel);
    }
    assert_eq!(numbers, 1, "words that {isa} does not have");
    dispatch(isa, Singles(kernel));
}
