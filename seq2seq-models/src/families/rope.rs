//! Rotary frequencies in configurations (PARITY trap 38).

use super::Unplanned;
use crate::plan::{RotaryPlan, RotaryScaling, YarnAttention};
use serde::Deserialize;

/// `rope_parameters` of transformers 5, or `rope_scaling` of those before, whose base stood beside it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Rope {
    rope_type: Option<String>,
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
}

impl Rope {
    /// The plan for heads of `columns`; `theta` and `max_positions` are those beside the parameters.
    pub(super) fn plan(
        &self,
        columns: usize,
        theta: Option<f64>,
        max_positions: usize,
    ) -> Result<RotaryPlan, Unplanned> {
        let original = self.original_max_position_embeddings.unwrap_or(max_positions as f64);
        let kind = self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default");
        let scaling = match kind {
            "default" => RotaryScaling::None,
            "linear" => RotaryScaling::Linear { factor: need(self.factor, "factor")? },
            "llama3" => RotaryScaling::Llama3 {
                factor: need(self.factor, "factor")?,
                low: need(self.low_freq_factor, "low_freq_factor")?,
                high: need(self.high_freq_factor, "high_freq_factor")?,
                original,
            },
            "yarn" => self.yarn(original, max_positions),
            other => {
                return Err(Unplanned::Unknown {
                    what: "rope_type",
                    found: other.into(),
                    known: "default, linear, llama3, yarn".into(),
                });
            }
        };
        let theta = self.rope_theta.or(theta).unwrap_or(10_000.0);
        Ok(RotaryPlan { theta, columns, scaling })
    }

    fn yarn(&self, original: f64, max_positions: usize) -> RotaryScaling {
        let mscale = set(self.mscale).zip(set(self.mscale_all_dim));
        RotaryScaling::Yarn {
            factor: self.factor.unwrap_or(max_positions as f64 / original),
            attention: match (self.attention_factor, mscale) {
                (Some(given), _) => YarnAttention::Given(given),
                (None, Some((one, all))) => YarnAttention::Ratio(one, all),
                (None, None) => YarnAttention::Paper,
            },
            fast: set(self.beta_fast).unwrap_or(32.0),
            slow: set(self.beta_slow).unwrap_or(1.0),
            original,
            truncate: self.truncate.unwrap_or(true),
        }
    }
}

fn need(value: Option<f64>, key: &str) -> Result<f64, Unplanned> {
    value.ok_or_else(|| Unplanned::Invalid(format!("rope_parameters: '{key}' is missing")))
}

/// Python's `or`: a zero counts as absent.
fn set(value: Option<f64>) -> Option<f64> {
    value.filter(|v| *v != 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(rope: serde_json::Value, theta: Option<f64>) -> RotaryPlan {
        let rope: Rope = serde_json::from_value(rope).unwrap();
        rope.plan(8, theta, 64).ok().unwrap()
    }

    #[test]
    fn both_spellings_say_the_same() {
        let new = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0});
        let old = json!({"type": "linear", "factor": 2.0});
        assert_eq!(plan(new, None), plan(old, Some(500.0)));
        assert_eq!(plan(json!({}), None).theta, 10_000.0);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let complaint = |rope: serde_json::Value| {
            let rope: Rope = serde_json::from_value(rope).unwrap();
            match rope.plan(8, None, 64) {
                Err(Unplanned::Invalid(reason)) => reason,
                Err(Unplanned::Unknown { found, .. }) => found,
                Ok(_) => panic!(),
            }
        };
        assert!(complaint(json!({"rope_type": "llama3", "factor": 8})).contains("low_freq_factor"));
        assert_eq!(complaint(json!({"rope_type": "longrope"})), "longrope");
    }
}
