//! Whether all weights are numbers.

use seq2seq_core::{DType, HostTensor};

/// The first element that is NaN or infinite, and its value.
///
/// Looks at the exponent bits in place: nothing is converted or copied.
pub(crate) fn first_not_finite(tensor: &HostTensor) -> Option<(usize, f32)> {
    let bytes = tensor.bytes();
    let at = match tensor.dtype() {
        DType::F32 => first(bytes, |b: [u8; 4]| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000),
        DType::F16 => first(bytes, |b: [u8; 2]| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
        DType::BF16 => first(bytes, |b: [u8; 2]| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
        DType::I64 | DType::I32 | DType::I8 | DType::U8 => None,
    }?;
    let mut value = [0.0];
    tensor.read_f32(at, &mut value);
    Some((at, value[0]))
}

/// The first element for which `bad` holds. Whole blocks are tested without a branch, so that the loop vectorises.
fn first<const N: usize>(bytes: &[u8], bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const BLOCK: usize = 1024;
    let elements = bytes.as_chunks::<N>().0;
    elements
        .chunks(BLOCK)
        .position(|block| block.iter().fold(false, |any, &b| any | bad(b)))
        .and_then(|block| {
            let start = block * BLOCK;
            elements[start..].iter().position(|&b| bad(b)).map(|at| start + at)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use std::sync::Arc;

    #[test]
    fn finds_the_first_in_every_type() {
        for (at, bad) in [(0, f32::NAN), (1023, f32::INFINITY), (2500, f32::NEG_INFINITY)] {
            let mut v = vec![f32::from(f16::MAX); 3000];
            v[at] = bad;
            v[2999] = bad;
            let halves =
                |f: &dyn Fn(f32) -> [u8; 2]| v.iter().flat_map(|&x| f(x)).collect::<Vec<_>>();
            let tensors = [
                HostTensor::from_f32(vec![3000], &v).unwrap(),
                shared(DType::F16, halves(&|x| f16::from_f32(x).to_le_bytes())),
                shared(DType::BF16, halves(&|x| bf16::from_f32(x).to_le_bytes())),
            ];
            for t in tensors {
                let (found, value) = first_not_finite(&t).unwrap();
                assert_eq!((found, value.is_nan()), (at, bad.is_nan()), "{t:?}");
            }
        }
    }

    #[test]
    fn large_and_tiny_numbers_are_numbers() {
        let t = HostTensor::from_f32(vec![3], &[f32::MAX, -f32::MIN_POSITIVE, 0.0]).unwrap();
        assert_eq!(first_not_finite(&t), None);
    }

    fn shared(dtype: DType, bytes: Vec<u8>) -> HostTensor {
        let n = bytes.len();
        HostTensor::from_shared(dtype, vec![n / 2], Arc::new(bytes), 0..n).unwrap()
    }
}
