//! What the processor's name tells and its list of instructions does not: which of them are slow.

use std::arch::x86_64::{__cpuid, CpuidResult};

/// A processor as `cpuid` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Processor {
    vendor: [u8; 12],
    family: u32,
    model: u32,
}

impl Processor {
    /// The one that this runs on.
    pub(super) fn detect() -> Self {
        Self::of(__cpuid(0), __cpuid(1).eax)
    }

    /// From leaf 0 and the signature in `eax` of leaf 1. Parts that extend family and model count where the base has all bits
    /// set, the model's in family 6 as well (Intel SDM, volume 2A, CPUID).
    fn of(leaf: CpuidResult, signature: u32) -> Self {
        let bits = |from: u32, count: u32| signature >> from & ((1 << count) - 1);
        let (family, model) = (bits(8, 4), bits(4, 4));
        let mut vendor = [0; 12];
        for (to, part) in vendor.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
            to.copy_from_slice(&part.to_le_bytes());
        }
        Self {
            vendor,
            family: if family == 15 { family + bits(20, 8) } else { family },
            model: if matches!(family, 6 | 15) { model | bits(16, 4) << 4 } else { model },
        }
    }

    /// Whether its `vdpbf16ps`, two products a lane, is faster than `vfmadd231ps`, one a lane, on weights that two instructions
    /// of integers have widened.
    ///
    /// Intel's processors since Sapphire Rapids begin one of 512 bits in two cycles, where they begin two fused multiply-adds in
    /// each: 163 and 337 GFLOP/s on two cores of Emerald Rapids. What is quick there is AMX. Cooper Lake (model 85), which
    /// brought the instruction and has no AMX, is faster by it than in f32 as Intel tells, and AMD's are as measured (448 and 228 on
    /// two cores of Zen 4).
    pub(super) fn has_quick_bf16(self) -> bool {
        &self.vendor != b"GenuineIntel" || (self.family, self.model) == (6, 85)
    }

    /// Whether it stores 64 bytes in a cycle. Zen 4 (family 25) was measured to take two, and one for 32 bytes.
    pub(super) fn has_quick_stores(self) -> bool {
        &self.vendor != b"AuthenticAMD" || self.family != 25
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(vendor: &[u8; 12], signature: u32) -> Processor {
        let part = |i| u32::from_le_bytes(vendor[i..i + 4].try_into().unwrap());
        let leaf = CpuidResult { eax: 0, ebx: part(0), edx: part(4), ecx: part(8) };
        Processor::of(leaf, signature)
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let emerald_rapids = processor(b"GenuineIntel", 0x000c_06f2);
        assert_eq!((emerald_rapids.family, emerald_rapids.model), (6, 207));
        let zen4 = processor(b"AuthenticAMD", 0x00a1_0f11);
        assert_eq!((zen4.family, zen4.model), (25, 17));
        assert_eq!(&zen4.vendor, b"AuthenticAMD");
    }

    #[test]
    fn zen_4_stores_by_halves() {
        let quick = |vendor, signature| processor(vendor, signature).has_quick_stores();
        assert!(!quick(b"AuthenticAMD", 0x00a1_0f11));
        // Zen 5, Emerald Rapids.
        assert!(quick(b"AuthenticAMD", 0x00b0_0f21) && quick(b"GenuineIntel", 0x000c_06f2));
    }

    #[test]
    fn amx_is_why_bf16_is_slow_elsewhere() {
        let quick = |vendor, signature| processor(vendor, signature).has_quick_bf16();
        // Cooper Lake; Zen 4 and 5.
        assert!(quick(b"GenuineIntel", 0x0005_065b));
        assert!(quick(b"AuthenticAMD", 0x00a1_0f11) && quick(b"AuthenticAMD", 0x00b0_0f21));
        // Sapphire, Emerald and Granite Rapids.
        for signature in [0x0008_06f8, 0x000c_06f2, 0x000a_06d1] {
            assert!(!quick(b"GenuineIntel", signature), "{signature:x}");
        }
    }
}
