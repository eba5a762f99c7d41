//! Instruction-set levels, as values that prove themselves.
//!
//! A level above [`Isa::Scalar`] holds a proof, a small value that only detection on this machine makes. Code that
//! has one may call functions compiled for its instructions; that is the whole safety argument of the dispatch.

#[cfg(target_arch = "x86_64")]
mod processor;

#[cfg(target_arch = "x86_64")]
use processor::Processor;
use seq2seq_core::{Error, Result};
use std::fmt;

/// The environment variable that forces a level.
pub const ISA_VARIABLE: &str = "SEQ2SEQ_CPU_ISA";

/// A level of vector instructions that this machine has.
///
/// ```
/// use seq2seq_core::Backend;
/// use seq2seq_cpu::{Cpu, CpuOptions, Isa};
///
/// let levels = Isa::available(); // slowest first
/// assert_eq!((levels[0], levels.last()), (Isa::Scalar, Some(&Isa::detect())));
/// let scalar = Isa::from_name("scalar")?;
/// let cpu = Cpu::new(CpuOptions { threads: Some(1), isa: Some(scalar) })?;
/// assert_eq!(cpu.describe(), "cpu (scalar, 1 thread)");
/// // What this machine lacks, or nobody has, is an error that says what there is.
/// let error = Isa::from_name("sse2").map_err(|e| e.to_string());
/// assert!(error.is_err_and(|e| e.contains("this machine has scalar")));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: what the compiler makes of it for the oldest machine of the target.
    Scalar,
    /// 8 lanes: AVX2, FMA and F16C (Haswell 2013, Zen 2017 and later).
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 16 lanes: AVX-512 with VNNI (Cascade Lake 2019, Zen 4 2022 and later).
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// 4 lanes: NEON, which every 64-bit Arm processor has.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// Proof of `avx2`, `fma` and `f16c`.
///
/// ```
/// use seq2seq_cpu::{Cpu, CpuOptions, Isa, isa::Avx2};
///
/// if let Some(avx2) = Avx2::detect() {
///     println!("8-bit dot products: {}", avx2.vnni());
///     // As a machine without them runs, to compare with.
///     let isa = Some(Isa::Avx2(avx2.plain()));
///     let cpu = Cpu::new(CpuOptions { isa, ..CpuOptions::default() })?;
///     assert_eq!(cpu.isa().name(), "avx2");
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx2 {
    vnni: bool,
}

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The proof, where this machine can give it.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then(|| Self { vnni: is_x86_feature_detected!("avxvnni") })
    }

    /// Whether the 8-bit dot product `avxvnni` is there too (Alder Lake 2021, Zen 5 2024).
    pub fn vnni(self) -> bool {
        self.vnni
    }

    /// The same level as a machine without the optional instructions has it.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { vnni: false }
    }
}

/// Proof of `avx512f`, `avx512bw`, `avx512dq`, `avx512vl` and `avx512vnni`, and of all that [`Avx2`] proves.
///
/// A machine with AVX-512 but without VNNI (Skylake-SP) runs as [`Avx2`]: it would have to widen int8 to 16 bits,
/// and it slows its clock for 512-bit multiplications, so the wider registers gain it little.
///
/// ```
/// use seq2seq_cpu::{Cpu, CpuOptions, Isa, isa::{Avx2, Avx512}};
///
/// if let Some(avx512) = Avx512::detect() {
///     println!("bf16 dot products: {}, quick: {}", avx512.bf16(), avx512.quick_bf16());
///     println!("bytes looked up in a vector: {}", avx512.vbmi());
///     println!("a store a cycle: {}", avx512.quick_stores());
///     let isa = Some(Isa::Avx512(avx512.plain()));
///     let cpu = Cpu::new(CpuOptions { isa, ..CpuOptions::default() })?;
///     assert_eq!(cpu.isa().name(), "avx512");
///     assert!(Avx2::detect().is_some());
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx512 {
    bf16: bool,
    quick_bf16: bool,
    vbmi: bool,
    quick_stores: bool,
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The proof, where this machine can give it.
    pub fn detect() -> Option<Self> {
        let has = Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        if !has {
            return None;
        }
        let bf16 = is_x86_feature_detected!("avx512bf16");
        let processor = Processor::detect();
        Some(Self {
            bf16,
            quick_bf16: bf16 && processor.has_quick_bf16(),
            vbmi: is_x86_feature_detected!("avx512vbmi"),
            quick_stores: processor.has_quick_stores(),
        })
    }

    /// Whether the bf16 dot product `avx512bf16` is there too: it is on Zen 4, Cooper Lake and Sapphire Rapids, not
    /// on Cascade Lake and Ice Lake. Attention over a cache takes it wherever it is, as keys and values of bf16 are half as large.
    pub fn bf16(self) -> bool {
        self.bf16
    }

    /// Whether that instruction is faster than fused multiply-adds of bf16 widened to f32: not on Intel's processors since
    /// Sapphire Rapids. Where it is not, layers widen their weights in registers, and encoders attend in f32.
    pub fn quick_bf16(self) -> bool {
        self.quick_bf16
    }

    /// Whether bytes are looked up in all of a vector (`avx512vbmi`), which makes weights of int4's codes: since Ice Lake and Zen 4.
    pub fn vbmi(self) -> bool {
        self.vbmi
    }

    /// Whether a vector is stored in a cycle: not on Zen 4, which takes two. Where it is not, sums of int4 stay in registers, and
    /// tiles are as low as that asks for.
    pub fn quick_stores(self) -> bool {
        self.quick_stores
    }

    /// The same level with all that is there, quick or not: tests run both ways on every machine.
    #[cfg(test)]
    pub(crate) fn eager(self) -> Self {
        Self { quick_bf16: self.bf16, quick_stores: true, ..self }
    }

    /// The same level as a machine without the optional instructions has it.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { bf16: false, quick_bf16: false, vbmi: false, quick_stores: false }
    }
}

/// Proof of `neon`.
///
/// ```
/// use seq2seq_cpu::{Cpu, CpuOptions, Isa, isa::Neon};
///
/// if let Some(neon) = Neon::detect() {
///     println!("8-bit dot products: {}", neon.dot());
///     let isa = Some(Isa::Neon(neon.plain()));
///     let cpu = Cpu::new(CpuOptions { isa, ..CpuOptions::default() })?;
///     assert_eq!(cpu.isa().name(), "neon");
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neon {
    dot: bool,
}

#[cfg(target_arch = "aarch64")]
impl Neon {
    /// The proof, where this machine can give it.
    pub fn detect() -> Option<Self> {
        use std::arch::is_aarch64_feature_detected;
        is_aarch64_feature_detected!("neon")
            .then(|| Self { dot: is_aarch64_feature_detected!("dotprod") })
    }

    /// Whether the 8-bit dot product `dotprod` is there too (Armv8.4; Cortex-A76, Apple M1).
    pub fn dot(self) -> bool {
        self.dot
    }

    /// The same level as a machine without the optional instructions has it.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { dot: false }
    }
}

impl Isa {
    /// Every level of this machine, slowest first. Never empty.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2::detect().map(Self::Avx2));
            levels.extend(Avx512::detect().map(Self::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        levels.extend(Neon::detect().map(Self::Neon));
        levels
    }

    /// The fastest level of this machine.
    pub fn detect() -> Self {
        *Self::available().last().unwrap_or(&Self::Scalar)
    }

    /// The level that [`ISA_VARIABLE`] names, or the fastest where it is unset or empty.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where this machine lacks it, or it is no level at all.
    pub fn from_env() -> Result<Self> {
        match std::env::var_os(ISA_VARIABLE) {
            Some(name) if !name.is_empty() => Self::from_name(&name.to_string_lossy()),
            _ => Ok(Self::detect()),
        }
    }

    /// The level of that [name](Self::name).
    ///
    /// # Errors
    /// [`Error::Unsupported`] where this machine lacks it, or it is no level at all.
    pub fn from_name(name: &str) -> Result<Self> {
        let levels = Self::available();
        levels.iter().copied().find(|level| level.name() == name).ok_or_else(|| {
            let names: Vec<_> = levels.iter().map(|level| level.name()).collect();
            Error::Unsupported {
                what: format!("instruction set '{name}'"),
                hint: format!("this machine has {}", names.join(", ")),
            }
        })
    }

    /// Its name in [`ISA_VARIABLE`] and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_by_its_name() {
        let levels = Isa::available();
        assert_eq!(levels[0], Isa::Scalar);
        assert_eq!(levels.last(), Some(&Isa::detect()));
        for level in levels {
            assert_eq!(Isa::from_name(level.name()), Ok(level));
        }
    }

    #[test]
    fn an_unknown_level_lists_what_there_is() {
        let message = Isa::from_name("avx9000").unwrap_err().to_string();
        assert!(message.contains("'avx9000'"), "{message}");
        assert!(message.ends_with(Isa::detect().name()), "{message}");
    }
}
