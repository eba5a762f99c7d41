//! One recurrent layer.

use crate::{
    Result,
    checkpoint::{Part, Scope},
};
use seq2seq_core::{Cell, Epilogue, Ragged, SeqBackend};

/// The product with the input, and the recurrence behind it.
pub(super) struct Layer<B: SeqBackend> {
    input: B::Linear,
    recurrent: B::Recurrent,
}

/// The sizes of a layer.
#[derive(Clone, Copy)]
pub(super) struct LayerShape {
    pub(super) cell: Cell,
    pub(super) inputs: usize,
    pub(super) width: usize,
    /// Whether the sequence is read backwards too.
    pub(super) bidirectional: bool,
}

impl<B: SeqBackend> Layer<B> {
    pub(super) fn load(shape: LayerShape, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let LayerShape { cell, inputs, width, bidirectional } = shape;
        let directions = if bidirectional { 2 } else { 1 };
        let part =
            |name, bias| Part { name, outputs: cell.gates() * width, bias: scope.holds(bias) };
        let input = [
            part("forward.input", "forward.input.bias"),
            part("reverse.input", "reverse.input.bias"),
        ];
        let hidden = [
            part("forward.hidden", "forward.hidden.bias"),
            part("reverse.hidden", "reverse.hidden.bias"),
        ];
        Ok(Self {
            input: scope.linear(inputs, &input[..directions])?,
            recurrent: scope.recurrent(cell, width, &hidden[..directions])?,
        })
    }

    /// `[N, inputs]` from `state` on; gives the rows and the state that the sequences end with.
    pub(super) fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        rows: &Ragged,
        state: Option<&B::Tensor>,
    ) -> Result<(B::Tensor, B::Tensor)> {
        let gates = backend.linear(x, &self.input, Epilogue::NONE)?;
        Ok(backend.recur(&gates, rows, &self.recurrent, state)?)
    }
}
