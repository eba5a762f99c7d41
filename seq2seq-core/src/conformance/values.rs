//! Deterministic values for cases: a case holds a seed and a profile, not the numbers.

use crate::{DType, HostTensor};
use half::{bf16, f16};
use std::sync::Arc;

/// What the values of a tensor look like.
///
/// ```
/// use seq2seq_core::conformance::values::{Profile, values};
///
/// assert!(values(Profile::Integers, 1, 100).iter().all(|v| v.fract() == 0.0 && v.abs() <= 127.0));
/// assert!(values(Profile::Tiny, 1, 100).iter().all(|v| *v != 0.0 && v * v == 0.0));
/// assert!(values(Profile::Huge, 1, 100).iter().any(|v| (v * v).is_infinite()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Normal, deviation 1.
    Normal,
    /// Either sign, magnitudes spread evenly over 10⁻³ to 10³ in the logarithm.
    Wide,
    /// One value all over.
    Equal,
    /// Zeros with a value here and there; whole rows may be zero.
    Sparse,
    /// Normal times 10⁻³⁰: squares underflow.
    Tiny,
    /// Normal times 10³⁰: squares overflow.
    Huge,
    /// Below the smallest normal f32.
    Denormal,
    /// Whole numbers from -127 to 127.
    Integers,
}

/// SplitMix64 (Steele et al. 2014).
///
/// ```
/// use seq2seq_core::conformance::values::Random;
///
/// let mut random = Random::new(7);
/// let dice: Vec<usize> = (0..600).map(|_| 1 + random.below(6)).collect();
/// assert!((1..=6).all(|side| (60..140).contains(&dice.iter().filter(|d| **d == side).count())));
/// // A stream is its seed.
/// let mut again = Random::new(7);
/// assert!(dice.iter().all(|&d| d == 1 + again.below(6)));
/// ```
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A stream for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In 0..n; n above 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// Normal, deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// `n` values for `seed`.
///
/// ```
/// use seq2seq_core::conformance::values::{Profile, values};
///
/// let x = values(Profile::Normal, 42, 1000);
/// let mean = x.iter().sum::<f32>() / 1000.0;
/// assert!(mean.abs() < 0.1);
/// assert_eq!(x[..10], values(Profile::Normal, 42, 10)); // more of them begin with the same
/// ```
pub fn values(profile: Profile, seed: u64, n: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    let constant = random.normal() as f32;
    let mut next = || -> f32 {
        match profile {
            Profile::Normal => random.normal() as f32,
            Profile::Wide => {
                let sign = if random.uniform() < 0.5 { -1.0 } else { 1.0 };
                (sign * 10f64.powf(6.0 * random.uniform() - 3.0)) as f32
            }
            Profile::Equal => constant,
            Profile::Sparse => match random.uniform() < 0.02 {
                true => random.normal() as f32,
                false => 0.0,
            },
            Profile::Tiny => (random.normal() * 1e-30) as f32,
            Profile::Huge => (random.normal() * 1e30) as f32,
            Profile::Denormal => (random.normal() * 1e-40) as f32,
            Profile::Integers => (random.below(255) as f32) - 127.0,
        }
    };
    (0..n).map(|_| next()).collect()
}

/// A host tensor of a float type; values are rounded to it.
///
/// ```
/// use seq2seq_core::{DType, conformance::values::tensor};
///
/// let x = tensor(DType::BF16, vec![1, 2], &[1.0, 1.001]);
/// assert_eq!(x.to_f32(), [1.0, 1.0]);
/// ```
///
/// # Panics
/// When the shape does not hold as many values, or the type is an integer.
pub fn tensor(dtype: DType, shape: Vec<usize>, values: &[f32]) -> HostTensor {
    let bytes: Vec<u8> = match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        other => panic!("{other:?} is no float type"),
    };
    let range = 0..bytes.len();
    HostTensor::from_shared(dtype, shape, Arc::new(bytes), range)
        .expect("as many values as the shape holds")
}
