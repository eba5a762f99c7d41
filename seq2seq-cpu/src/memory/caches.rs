//! How large a core's second cache is, which the plans of products follow.

use std::sync::OnceLock;

/// Where nothing tells: what most processors of servers have at least.
const USUAL: usize = 1 << 20;

/// Bytes of the second cache.
pub(crate) fn second_cache() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| detect().unwrap_or(USUAL))
}

/// Leaf 8000_0006 tells it on AMD and Intel alike, in KiB in the upper half of `ecx` (AMD64 manual, volume 3, appendix E.4).
#[cfg(target_arch = "x86_64")]
fn detect() -> Option<usize> {
    use std::arch::x86_64::__cpuid;
    const LEAF: u32 = 0x8000_0006;
    let kib = (__cpuid(0x8000_0000).eax >= LEAF).then(|| __cpuid(LEAF).ecx >> 16)?;
    (kib > 0).then_some((kib as usize) << 10)
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_cache_has_a_size_that_one_may_have() {
        assert!((128 << 10..=64 << 20).contains(&second_cache()));
    }
}
