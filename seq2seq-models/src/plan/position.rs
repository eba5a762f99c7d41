//! How a row learns where it stands.

/// How a row learns where it stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// By nothing; the attention may know distances ([`AttentionPlan::relative_bias`](super::AttentionPlan::relative_bias)).
    None,
    /// A table in the checkpoint.
    Learned {
        /// Rows of the table.
        rows: usize,
        /// The row of position 0 (PARITY trap 12).
        offset: usize,
        /// Where set: this token stands at row `offset - 1` and is not counted (PARITY trap 32).
        padding: Option<u32>,
    },
    /// A table of sines and cosines (Vaswani et al. 2017).
    Sinusoidal {
        /// Positions that the model was made for.
        rows: usize,
        /// Which column holds what.
        layout: SinusoidLayout,
        /// The row of position 0; those before it are zeros (PARITY trap 18).
        offset: usize,
        /// Where set: this token stands at row `offset - 1` and is not counted.
        padding: Option<u32>,
    },
    /// Queries and keys are rotated.
    Rotary(RotaryPlan),
}

/// The columns of a sinusoid table: all sines, then all cosines (PARITY trap 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinusoidLayout {
    /// Column j of either has the frequency 10000^(-2j/M). An odd width has one sine more than cosines.
    Halves,
    /// Column j of either has the frequency 10000^(-j/(M/2 - 1)), as in tensor2tensor. An odd width ends with a zero.
    Tensor2Tensor,
}

/// Rotary position embedding (Su et al. 2021): which frequencies.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryPlan {
    /// The base of the powers.
    pub theta: f64,
    /// Columns of a head that are rotated.
    pub columns: usize,
    /// How the frequencies are stretched for long texts.
    pub scaling: RotaryScaling,
}

/// How rotary frequencies are stretched (PARITY trap 38).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RotaryScaling {
    /// Not at all.
    None,
    /// Every frequency divided.
    Linear {
        /// By this.
        factor: f64,
    },
    /// Long waves divided, short ones kept, a ramp between (LLaMA 3.1).
    Llama3 {
        /// Divides long waves.
        factor: f64,
        /// Waves longer than `original / low` are long.
        low: f64,
        /// Waves shorter than `original / high` are short.
        high: f64,
        /// Positions in training.
        original: f64,
    },
    /// YaRN (Peng et al. 2023).
    Yarn {
        /// Divides long waves.
        factor: f64,
        /// What cosine and sine are multiplied by.
        attention: YarnAttention,
        /// Turns above which a wave is short.
        fast: f64,
        /// Turns below which a wave is long.
        slow: f64,
        /// Positions in training.
        original: f64,
        /// Whether the ramp begins and ends on whole columns.
        truncate: bool,
    },
}

/// What YaRN multiplies cosine and sine by; m(s, k) = 0.1 k ln s + 1 where s > 1, else 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum YarnAttention {
    /// This number.
    Given(f64),
    /// m(factor, these) in proportion: the first over the second.
    Ratio(f64, f64),
    /// m(factor, 1), as the paper has it.
    Paper,
}
