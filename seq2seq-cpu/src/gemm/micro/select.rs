//! Which kernel a level of instructions runs for a format.

use super::*;
use crate::isa::Isa;
use seq2seq_core::Format;

impl MicroKernel {
    /// The fastest kernel that `isa` has for `format`.
    pub(in crate::gemm) fn select(isa: Isa, format: Format) -> &'static Self {
        match isa {
            Isa::Scalar => match format {
                Format::F32 => &f32f32_scalar_4x8::KERNEL,
                Format::Bf16 => &f32bf16_scalar_4x8::KERNEL,
                Format::F16 => &f32f16_scalar_4x8::KERNEL,
                Format::Int8 => &i8i8_scalar_4x8::KERNEL,
                Format::Int4 => &i8i4_scalar_4x8::KERNEL,
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(proof) => match format {
                Format::F32 => &f32f32_avx2_6x16::KERNEL,
                Format::Bf16 => &f32bf16_avx2_6x16::KERNEL,
                Format::F16 => &f32f16_avx2_6x16::KERNEL,
                Format::Int8 if proof.vnni() => &u8i8_avx2_6x16::KERNEL,
                Format::Int8 => &i16i8_avx2_6x16::KERNEL,
                Format::Int4 if proof.vnni() => &u8i4_avx2_3x16::KERNEL,
                Format::Int4 => &i16i4_avx2_4x16::KERNEL,
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(proof) => match format {
                Format::F32 => &f32f32_avx512_12x32::KERNEL,
                Format::Bf16 if proof.quick_bf16() => &bf16bf16_avx512_12x32::KERNEL,
                Format::Bf16 => &f32bf16_avx512_12x32::KERNEL,
                Format::F16 => &f32f16_avx512_12x32::KERNEL,
                Format::Int8 => &u8i8_avx512_12x32::KERNEL,
                Format::Int4 if proof.vbmi() && proof.quick_stores() => {
                    &u8i4_avx512vbmi_12x32::KERNEL
                }
                Format::Int4 => &u8i4_avx512_6x32::KERNEL,
            },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(proof) => match format {
                Format::F32 => &f32f32_neon_6x16::KERNEL,
                Format::Bf16 => &f32bf16_neon_6x16::KERNEL,
                Format::F16 => &f32f16_neon_6x16::KERNEL,
                Format::Int8 if proof.dot() => &i8i8_neondot_6x16::KERNEL,
                Format::Int8 => &i8i8_neon_6x16::KERNEL,
                Format::Int4 if proof.dot() => &i8i4_neondot_4x16::KERNEL,
                Format::Int4 => &i8i4_neon_4x16::KERNEL,
            },
        }
    }
}
