//! Hints that bring memory nearer. None reads memory or faults: an address need not be valid.

/// What a line is fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// To be read soon: into the first cache.
    Reading,
    /// To be read later: into the second cache.
    ReadingLater,
    /// To be written: into the first cache, for this core alone.
    Writing,
}

/// Asks for the cache line at `p`.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8, what: For) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, which neither reads memory nor faults. A machine without the third takes it as no operation.
        unsafe {
            match what {
                For::Reading => _mm_prefetch::<_MM_HINT_T0>(p.cast()),
                For::ReadingLater => _mm_prefetch::<_MM_HINT_T1>(p.cast()),
                For::Writing => _mm_prefetch::<_MM_HINT_ET0>(p.cast()),
            }
        }
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        use std::arch::asm;
        macro_rules! hint {
            ($name:literal) => {
                asm!(concat!("prfm ", $name, ", [{}]"), in(reg) p, options(nostack, readonly, preserves_flags))
            };
        }
        // SAFETY: a hint, which neither reads memory nor faults.
        unsafe {
            match what {
                For::Reading => hint!("pldl1keep"),
                For::ReadingLater => hint!("pldl2keep"),
                For::Writing => hint!("pstl1keep"),
            }
        }
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = (p, what);
}

/// Asks for all lines of `values`.
#[inline(always)]
pub(crate) fn prefetch_run<T>(values: *const T, count: usize, what: For) {
    for line in 0..(count * size_of::<T>()).div_ceil(64) {
        prefetch(values.cast::<u8>().wrapping_add(64 * line), what);
    }
}
