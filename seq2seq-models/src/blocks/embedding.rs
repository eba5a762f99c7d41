//! From token ids to rows.

use super::sinusoid;
use crate::{
    Result,
    checkpoint::{Part, Scope},
    plan::{Position, StackPlan},
};
use seq2seq_core::{Backend, Epilogue, Lookup, Ragged};

/// The ids of packed sequences.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens<'a> {
    /// N ids.
    pub(crate) ids: &'a [u32],
    /// N segment ids; zeros where absent.
    pub(crate) types: Option<&'a [u32]>,
    /// How they divide into sequences.
    pub(crate) rows: &'a Ragged,
    /// The position of the first token of each sequence; 0 where the list is empty.
    pub(crate) starts: &'a [usize],
}

/// Tokens, segments and positions, added, normalised and widened.
pub(crate) struct Embedding<B: Backend> {
    tokens: B::Embedding,
    scale: f32,
    types: Option<B::Embedding>,
    positions: Option<Positions<B>>,
    norm: Option<B::Norm>,
    /// Behind the norm, in training.
    dropout: f32,
    /// From the tables' width to the stack's.
    project: Option<B::Linear>,
}

struct Positions<B: Backend> {
    table: B::Embedding,
    offset: usize,
    padding: Option<u32>,
}

/// Position and segment ids of one call, kept from call to call so that a step allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    positions: Vec<u32>,
    zeros: Vec<u32>,
}

impl<B: Backend> Embedding<B> {
    pub(crate) fn load(plan: &StackPlan, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let e = &plan.embedding;
        let width = e.width.unwrap_or(plan.width);
        let tokens = scope.embedding("tokens", e.vocab, width)?;
        let positions = match &e.position {
            Position::Learned { rows, offset, padding } => {
                let table = scope.embedding("positions", *rows, width)?;
                Some(Positions { table, offset: *offset, padding: *padding })
            }
            Position::Sinusoidal { rows, layout, offset, padding } => {
                let table = sinusoid::table(*rows, *offset, width, *layout)?;
                let table = scope.backend().embedding(&table)?;
                Some(Positions { table, offset: *offset, padding: *padding })
            }
            Position::None | Position::Rotary(_) => None,
        };
        let project = Part { name: "project", outputs: plan.width, bias: true };
        Ok(Self {
            tokens,
            scale: e.scale,
            types: (e.types > 0).then(|| scope.embedding("types", e.types, width)).transpose()?,
            positions,
            norm: e.norm.then(|| scope.norm("norm", &plan.norm, width)).transpose()?,
            dropout: plan.dropout.embedding,
            project: e.width.map(|inputs| scope.linear(inputs, &[project])).transpose()?,
        })
    }

    /// N ids to `[N, M]`. Whoever calls has seen to it that there are positions for all.
    pub(crate) fn forward(
        &self,
        backend: &B,
        tokens: &Tokens<'_>,
        scratch: &mut Scratch,
    ) -> Result<B::Tensor> {
        let Scratch { positions: position_ids, zeros } = scratch;
        if let Some(positions) = &self.positions {
            positions.ids(tokens, position_ids);
        }
        let type_ids = tokens.types.unwrap_or_else(|| {
            zeros.clear();
            zeros.resize(tokens.ids.len(), 0);
            zeros
        });
        let token = Lookup { table: &self.tokens, ids: tokens.ids, scale: self.scale };
        let types = self.types.as_ref().map(|table| Lookup { table, ids: type_ids, scale: 1.0 });
        let positions = self.positions.as_ref().map(|p| Lookup {
            table: &p.table,
            ids: position_ids,
            scale: 1.0,
        });
        // Tokens, segments, positions: the order in which BERT adds them (PARITY trap 31).
        let x = match (types, positions) {
            (None, None) => backend.embed(&[token]),
            (Some(types), None) => backend.embed(&[token, types]),
            (None, Some(positions)) => backend.embed(&[token, positions]),
            (Some(types), Some(positions)) => backend.embed(&[token, types, positions]),
        }?;
        let x = match &self.norm {
            Some(norm) => backend.norm(&x, norm)?,
            None => x,
        };
        let x = backend.dropout(x, self.dropout)?;
        match &self.project {
            Some(project) => Ok(backend.linear(&x, project, Epilogue::NONE)?),
            None => Ok(x),
        }
    }
}

impl<B: Backend> Positions<B> {
    /// The row of the table for each token.
    fn ids(&self, tokens: &Tokens<'_>, out: &mut Vec<u32>) {
        out.clear();
        for (i, range) in tokens.rows.ranges().enumerate() {
            let start = tokens.starts.get(i).copied().unwrap_or(0);
            let first = (self.offset + start) as u32;
            match self.padding {
                None => out.extend((first..).take(range.len())),
                // Padding tokens inside a text stay at their own row and are not counted (PARITY trap 32).
                Some(padding) => {
                    let mut next = first;
                    out.extend(tokens.ids[range].iter().map(|&id| match id == padding {
                        true => self.offset as u32 - 1,
                        false => {
                            next += 1;
                            next - 1
                        }
                    }));
                }
            }
        }
    }
}
