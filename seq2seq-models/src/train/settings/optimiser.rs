//! How weights change.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How weights change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserSettings {
    /// `adamw`, `sgd`, `adafactor` or `muon`.
    pub kind: OptimiserKind,
    /// The largest learning rate. Where absent, 1e-4 for a model that is trained further and 3e-3 for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Decoupled weight decay (SGD: the L2 penalty) of matrices.
    pub decay: f64,
    /// β₁ and β₂ of AdamW.
    pub betas: [f64; 2],
    /// ε of AdamW.
    pub eps: f64,
    /// Of SGD and Muon; 0.9 and 0.95 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Whether Adafactor's rate is relative to the root mean square of the parameter.
    pub scale_parameter: bool,
    /// The largest norm of all gradients as one vector, of the mean loss; 0 for any.
    pub clip: f64,
    /// Batches that one step is taken on.
    pub accumulate: usize,
    /// Label smoothing.
    pub smoothing: f32,
    /// Whether it is fairseq's definition in place of PyTorch's and transformers'.
    pub fairseq_smoothing: bool,
}

/// Which optimiser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum OptimiserKind {
    #[default]
    AdamW,
    Sgd,
    Adafactor,
    Muon,
}

/// Parameters for which something else holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// Names of tensors in the checkpoint; `*` stands for any run of characters.
    pub names: Vec<String>,
    /// Multiplies the learning rate.
    #[serde(default = "one")]
    pub rate: f64,
    /// In place of the optimiser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// In place of the optimiser's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<OptimiserKind>,
    /// Whether they stay as they are.
    #[serde(default)]
    pub frozen: bool,
}

fn one() -> f64 {
    1.0
}

impl Default for OptimiserSettings {
    fn default() -> Self {
        Self {
            kind: OptimiserKind::AdamW,
            rate: None,
            decay: 0.01,
            betas: [0.9, 0.999],
            eps: 1e-8,
            momentum: None,
            scale_parameter: false,
            clip: 1.0,
            accumulate: 1,
            smoothing: 0.0,
            fairseq_smoothing: false,
        }
    }
}

impl OptimiserSettings {
    pub(super) fn check(&self, path: &str) -> Result<()> {
        let momentum = self.momentum.unwrap_or(0.0);
        for (name, value, below_1) in [
            ("rate", self.rate.unwrap_or(0.0), false),
            ("decay", self.decay, false),
            ("betas", self.betas[0], true),
            ("betas", self.betas[1], true),
            ("eps", self.eps, false),
            ("momentum", momentum, true),
            ("clip", self.clip, false),
        ] {
            if !(value >= 0.0 && value.is_finite() && (!below_1 || value < 1.0)) {
                let limit = if below_1 { " and below 1" } else { "" };
                return Err(Error::Input(format!(
                    "'{path}.{name}' is {value}; it must be at least 0{limit}"
                )));
            }
        }
        Ok(())
    }
}

impl GroupSettings {
    pub(super) fn check(&self, path: &str) -> Result<()> {
        if self.names.is_empty() {
            return Err(Error::Input(format!("'{path}.names' is empty; name some tensors")));
        }
        for (name, value) in [("rate", self.rate), ("decay", self.decay.unwrap_or(0.0))] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::Input(format!(
                    "'{path}.{name}' is {value}; it must be at least 0"
                )));
            }
        }
        Ok(())
    }
}
