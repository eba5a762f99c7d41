//! Rotary frequencies: default, linear, llama3, YaRN (PARITY trap 38).

use crate::plan::{RotaryPlan, RotaryScaling, YarnAttention};
use seq2seq_core::Rotary;
use std::f64::consts::TAU;

/// One frequency for each pair of columns, and the factor of cosine and sine.
///
/// Powers and ramps are taken in f32 and bounds in f64, as transformers has them.
pub(super) fn rotary(plan: &RotaryPlan) -> Rotary {
    let plain: Vec<f32> = (0..plan.columns / 2)
        .map(|j| (plan.theta as f32).powf((2 * j) as f32 / plan.columns as f32).recip())
        .collect();
    let (inv_freq, scale) = match plan.scaling {
        RotaryScaling::None => (plain, 1.0),
        RotaryScaling::Linear { factor } => {
            (plain.iter().map(|f| f / factor as f32).collect(), 1.0)
        }
        RotaryScaling::Llama3 { factor, low, high, original } => {
            let stretch =
                |f: f32| llama3(f, factor as f32, (low as f32, high as f32), original as f32);
            (plain.into_iter().map(stretch).collect(), 1.0)
        }
        RotaryScaling::Yarn { factor, attention, .. } => {
            let ramp = yarn_ramp(plan);
            let mix = |(j, f): (usize, &f32)| {
                let kept = 1.0 - ramp(j);
                f / factor as f32 * (1.0 - kept) + f * kept
            };
            (plain.iter().enumerate().map(mix).collect(), yarn_attention(attention, factor))
        }
    };
    Rotary { inv_freq: inv_freq.into(), scale: scale as f32 }
}

/// LLaMA 3.1: waves longer than original / low are divided, those shorter than original / high kept.
fn llama3(f: f32, factor: f32, (low, high): (f32, f32), original: f32) -> f32 {
    let wave = TAU as f32 / f;
    if wave > original / low {
        f / factor
    } else if wave < original / high {
        f
    } else {
        let smooth = (original / wave - low) / (high - low);
        (1.0 - smooth) * f / factor + smooth * f
    }
}

/// YaRN (Peng et al. 2023, section 3.2): 0 for columns that turn often, 1 for those that turn rarely.
fn yarn_ramp(plan: &RotaryPlan) -> impl Fn(usize) -> f32 {
    let (mut low, mut high) = (0.0, 0.0);
    if let RotaryScaling::Yarn { fast, slow, original, truncate, .. } = plan.scaling {
        let columns = plan.columns as f64;
        // The column that turns this often over the positions of training.
        let column =
            |turns: f64| columns * (original / (turns * TAU)).ln() / (2.0 * plan.theta.ln());
        (low, high) = (column(fast), column(slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(columns - 1.0));
    }
    if low == high {
        high += 0.001; // no division by zero
    }
    move |j| ((j as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0)
}

fn yarn_attention(attention: YarnAttention, factor: f64) -> f64 {
    let m = |k: f64| if factor <= 1.0 { 1.0 } else { 0.1 * k * factor.ln() + 1.0 };
    match attention {
        YarnAttention::Given(scale) => scale,
        YarnAttention::Ratio(one, all) => m(one) / m(all),
        YarnAttention::Paper => m(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RotaryScaling) -> Vec<f32> {
        rotary(&RotaryPlan { theta: 10_000.0, columns: 8, scaling }).inv_freq.to_vec()
    }

    fn assert_close(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() <= 1e-6 * y.abs(), "{a:?} against {b:?}");
        }
    }

    #[test]
    fn plain_and_linear() {
        assert_close(&frequencies(RotaryScaling::None), &[1.0, 0.1, 0.01, 0.001]);
        assert_close(
            &frequencies(RotaryScaling::Linear { factor: 4.0 }),
            &[0.25, 0.025, 0.0025, 0.00025],
        );
    }

    /// Numbers from transformers 5.23.0's `_compute_llama3_parameters`.
    #[test]
    fn llama3_as_transformers() {
        let scaling = RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 128.0 };
        assert_close(&frequencies(scaling), &[1.0, 0.042_751_18, 0.001_25, 0.000_125]);
    }

    /// Numbers from transformers 5.23.0's `_compute_yarn_parameters`.
    #[test]
    fn yarn_as_transformers() {
        let scaling = |truncate, attention| RotaryScaling::Yarn {
            factor: 4.0,
            attention,
            fast: 32.0,
            slow: 1.0,
            original: 64.0,
            truncate,
        };
        assert_close(
            &frequencies(scaling(true, YarnAttention::Paper)),
            &[1.0, 0.0625, 0.002_5, 0.000_25],
        );
        assert_close(
            &frequencies(scaling(false, YarnAttention::Paper)),
            &[1.0, 0.025_595_25, 0.002_5, 0.000_25],
        );
        let of = |attention| {
            rotary(&RotaryPlan { theta: 10_000.0, columns: 8, scaling: scaling(true, attention) })
                .scale
        };
        assert_close(
            &[
                of(YarnAttention::Paper),
                of(YarnAttention::Given(2.5)),
                of(YarnAttention::Ratio(0.7, 1.3)),
            ],
            &[1.138_629_4, 2.5, 0.929_523_5],
        );
    }
}
