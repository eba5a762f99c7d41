//! Which optimiser a parameter has.

use crate::{
    Error, Result, pattern,
    train::{
        Learner,
        settings::{OptimiserKind, OptimiserSettings, Settings},
    },
};
use seq2seq_core::{
    autodiff::Optimiser,
    train::{Adafactor, AdamW, Muon, Sgd},
};
use std::collections::HashMap;

/// The optimiser of each parameter.
#[derive(Debug)]
pub(super) struct Groups {
    settings: OptimiserSettings,
    rate: f64,
    own: HashMap<String, Own>,
}

/// What holds for a parameter.
#[derive(Debug, Clone, Copy)]
struct Own {
    kind: OptimiserKind,
    rate: f64,
    decay: f64,
}

impl Groups {
    /// Finds what holds for each parameter, and freezes those that stay as they are.
    pub(super) fn new(settings: &Settings, learner: &Learner) -> Result<Self> {
        let optimiser = settings.optimiser.clone();
        let anew = settings.family.is_some();
        let rate = optimiser.rate.unwrap_or(match settings.lora {
            // What adapters begin with changes nothing; at the rate of a model's own weights they would take long.
            Some(_) => 1e-3,
            None if anew => 3e-3,
            None => 1e-4,
        });
        let parameters = learner.parameters();
        for (i, group) in settings.groups.iter().enumerate() {
            for name in &group.names {
                if !parameters.iter().any(|p| pattern::matches(name, &p.name)) {
                    let example = parameters.first().map_or("", |p| &p.name);
                    return Err(Error::Input(format!(
                        "'parameters[{i}].names': '{name}' matches no parameter; they are named like {example}"
                    )));
                }
            }
        }
        let mut own = HashMap::new();
        let mut frozen = Vec::new();
        for parameter in parameters {
            let groups = settings.groups.iter().rev();
            let mut groups = groups
                .filter(|g| g.names.iter().any(|name| pattern::matches(name, &parameter.name)));
            let group = groups.next();
            let kind = group.and_then(|g| g.kind).unwrap_or(optimiser.kind);
            let is_matrix = parameter.shape.len() > 1;
            own.insert(
                parameter.name.clone(),
                Own {
                    // There is nothing to be orthogonal to in a vector.
                    kind: if is_matrix || kind != OptimiserKind::Muon {
                        kind
                    } else {
                        OptimiserKind::AdamW
                    },
                    rate: rate * group.map_or(1.0, |g| g.rate),
                    decay: group.and_then(|g| g.decay).unwrap_or(optimiser.decay),
                },
            );
            // Those under adapters are frozen already.
            if parameter.frozen || group.is_some_and(|g| g.frozen) {
                frozen.push(parameter.name);
            }
        }
        if frozen.len() == own.len() {
            return Err(Error::input("all parameters are frozen; there is nothing to be trained"));
        }
        learner.freeze(|name| frozen.iter().any(|f| f == name));
        Ok(Self { settings: optimiser, rate, own })
    }

    /// The learning rate of parameters without a group.
    pub(super) fn rate(&self, factor: f64) -> f64 {
        self.rate * factor
    }

    /// The optimiser of a parameter at a step, counted from 1.
    pub(super) fn optimiser(
        &self,
        parameter: &str,
        factor: f64,
        step: u32,
        gradient_scale: f32,
    ) -> Optimiser {
        let fallback =
            Own { kind: self.settings.kind, rate: self.rate, decay: self.settings.decay };
        let own = self.own.get(parameter).unwrap_or(&fallback);
        let (rate, decay) = ((own.rate * factor) as f32, own.decay as f32);
        let OptimiserSettings { betas, eps, momentum, scale_parameter, .. } = self.settings;
        match own.kind {
            OptimiserKind::AdamW => Optimiser::AdamW(AdamW {
                rate,
                betas,
                eps: eps as f32,
                decay,
                step,
                gradient_scale,
            }),
            OptimiserKind::Sgd => {
                let momentum = momentum.unwrap_or(0.9) as f32;
                Optimiser::Sgd(Sgd { rate, momentum, decay, gradient_scale })
            }
            OptimiserKind::Adafactor => Optimiser::Adafactor(Adafactor {
                rate,
                decay,
                scale_parameter,
                step,
                gradient_scale,
                ..Adafactor::default()
            }),
            OptimiserKind::Muon => {
                let momentum = momentum.unwrap_or(0.95) as f32;
                Optimiser::Muon(Muon { rate, momentum, decay, gradient_scale, ..Muon::default() })
            }
        }
    }
}
