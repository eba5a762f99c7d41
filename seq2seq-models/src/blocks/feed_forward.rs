//! The feed-forward half of a block.

use super::Residual;
use crate::{
    Result,
    checkpoint::{Part, Scope},
    plan::{Ffn, StackPlan},
};
use seq2seq_core::{Activation, Backend, Epilogue};

/// Two projections with an activation, or a gate, between them.
pub(super) struct FeedForward<B: Backend> {
    around: Residual<B>,
    /// Both halves of a gate in one layer.
    up: B::Linear,
    activation: Activation,
    down: B::Linear,
    /// Behind the activation and behind `down`, in training.
    dropout: [f32; 2],
}

impl<B: Backend> FeedForward<B> {
    pub(super) fn load(plan: &StackPlan, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let ffn = &plan.feed_forward;
        let part = |name, outputs| Part { name, outputs, bias: ffn.bias };
        let (up, activation) = match ffn.kind {
            Ffn::Plain(act) => (scope.linear(plan.width, &[part("in", ffn.width)])?, act),
            Ffn::Gated(act) => {
                (scope.gated(plan.width, part("gate", ffn.width), part("up", ffn.width))?, act)
            }
        };
        Ok(Self {
            up,
            activation,
            dropout: [plan.dropout.activation, plan.dropout.feed_forward_output],
            down: scope.linear(ffn.width, &[part("out", plan.width)])?,
            around: Residual::load(plan.place, &plan.norm, plan.width, scope)?,
        })
    }

    pub(super) fn forward(&self, backend: &B, x: &B::Tensor) -> Result<B::Tensor> {
        self.around.around(backend, x, |x, residual| {
            let [wide, added] = self.dropout;
            let epilogues = [
                Epilogue::activation(self.activation).with_dropout(wide),
                Epilogue::residual(residual).with_dropout(added),
            ];
            Ok(backend.feed_forward(x, [&self.up, &self.down], epilogues)?)
        })
    }
}
