//! What is made of the last stack's rows.

use crate::{
    Error, Result,
    checkpoint::{OutputShape, Part, Scope},
    plan::{HeadKind, ModelPlan, NormPlan, PoolRow, Presence},
};
use seq2seq_core::{Activation, Backend, Epilogue, Pool, Ragged, Stage};

/// Pooling, a layer before the output, the output layer: whatever of these the plan has.
pub(crate) struct Head<B: Backend> {
    pool: Option<PoolRow>,
    /// Of the row that is pooled.
    dropout: f32,
    dense: Option<Dense<B>>,
    output: Option<B::Linear>,
}

struct Dense<B: Backend> {
    layer: B::Linear,
    activation: Activation,
    dropout: f32,
    norm: Option<B::Norm>,
}

impl<B: Backend> Head<B> {
    /// `root` is where loading begins: a tied output layer is the last stack's table of tokens.
    pub(crate) fn load(plan: &ModelPlan, root: &Scope<'_, '_, B>) -> Result<Self> {
        let name = if plan.decoder.is_some() { "decoder" } else { "encoder" };
        let stack = plan.last_stack().ok_or_else(|| Error::input("a model needs a stack"))?;
        let scope = root.at("head").at(segment(plan.head.kind));
        let dense = plan
            .head
            .dense
            .filter(|d| d.presence == Presence::Always || scope.holds("dense.weight"))
            .map(|d| {
                let width = d.width.unwrap_or(stack.width);
                let part = Part { name: "dense", outputs: width, bias: true };
                let norm = NormPlan { ..stack.norm };
                Ok::<_, Error>(Dense {
                    layer: scope.linear(stack.width, &[part])?,
                    activation: d.activation,
                    dropout: d.dropout,
                    norm: d.norm.then(|| scope.norm("norm", &norm, width)).transpose()?,
                })
            })
            .transpose()?;
        let tied = root.at(name).at("embed");
        let output = plan.head.output.map(|o| {
            let inputs = plan.head.dense.and_then(|d| d.width).unwrap_or(stack.width);
            let shape = OutputShape { inputs, outputs: o.width, bias: o.bias, scale: o.scale };
            scope.output(shape, o.tied.then_some(&tied))
        });
        let (pool, dropout) = (plan.head.pool, plan.head.dropout);
        Ok(Self { pool, dropout, dense, output: output.transpose()? })
    }

    /// Whether there is anything to be made of the rows.
    pub(crate) fn is_bare(&self) -> bool {
        self.dense.is_none() && self.output.is_none()
    }

    /// Whether one row a sequence results.
    pub(crate) fn pools(&self) -> bool {
        self.pool.is_some()
    }

    /// The layer before the output and the output layer, on each row.
    pub(crate) fn apply(&self, backend: &B, x: &B::Tensor) -> Result<Option<B::Tensor>> {
        let dense = self.dense.as_ref().map(|dense| {
            let epilogue = Epilogue::activation(dense.activation).with_dropout(dense.dropout);
            let y = backend.linear(x, &dense.layer, epilogue)?;
            match &dense.norm {
                Some(norm) => backend.norm(&y, norm),
                None => Ok(y),
            }
        });
        let dense = dense.transpose()?;
        let y = match &self.output {
            Some(output) => {
                Some(backend.linear(dense.as_ref().unwrap_or(x), output, Epilogue::NONE)?)
            }
            None => dense,
        };
        y.iter().try_for_each(|y| backend.observe(Stage::Head, y))?;
        Ok(y)
    }

    /// One row of each sequence; `ids` are the tokens of the input that the rows stand for.
    pub(crate) fn pool(
        &self,
        backend: &B,
        x: &B::Tensor,
        rows: &Ragged,
        ids: &[u32],
    ) -> Result<Option<B::Tensor>> {
        let pooled = match self.pool {
            None => return Ok(None),
            Some(PoolRow::First) => backend.pool(x, rows, Pool::First)?,
            Some(PoolRow::LastOf(id)) => backend.gather_rows(x, &last_of(id, ids, rows)?)?,
        };
        Ok(Some(backend.dropout(pooled, self.dropout)?))
    }
}

/// The row of the last `id` in each sequence.
///
/// transformers refuses batches whose rows differ in how many there are (PARITY trap 24); each row alone has a
/// result there, and that is what it gets here in any batch.
fn last_of(id: u32, ids: &[u32], rows: &Ragged) -> Result<Vec<usize>> {
    let find = |(i, range): (usize, std::ops::Range<usize>)| {
        let at = ids.get(range.clone()).and_then(|ids| ids.iter().rposition(|&t| t == id));
        at.map(|at| range.start + at).ok_or_else(|| {
            Error::Input(format!("sequence {i} has no token {id}, whose row is classified"))
        })
    };
    rows.ranges().enumerate().map(find).collect()
}

/// The name of a task in our paths.
fn segment(kind: HeadKind) -> &'static str {
    match kind {
        HeadKind::Hidden => "hidden",
        HeadKind::Language => "language",
        HeadKind::MaskedLanguage => "masked",
        HeadKind::Classify => "classify",
        HeadKind::Tag => "tag",
        HeadKind::Replaced => "replaced",
        HeadKind::Answer => "answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_is_pooled_whatever_the_others_have() {
        let rows = Ragged::from_lengths([3, 4]);
        assert_eq!(last_of(2, &[2, 5, 2, 2, 6, 2, 7], &rows).unwrap(), [2, 5]);
        let error = last_of(9, &[9, 5, 2, 2, 6, 2, 7], &rows).unwrap_err().to_string();
        assert!(error.contains("sequence 1"), "{error}");
    }
}
