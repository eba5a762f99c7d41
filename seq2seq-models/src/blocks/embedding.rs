//! From token ids to rows.

use super::sinusoid;
use crate::{
    Result,
    checkpoint::{Part, Scope},
    plan::{Position, StackPlan},
};
use seq2seq_core::{Backend, DecoderOps, Epilogue, Lookup, Ragged};

/// The ids of N rows.
pub(crate) enum Ids<'a, B: DecoderOps> {
    /// As the host knows them.
    Known(&'a [u32]),
    /// As they were chosen, which the host need not know.
    Chosen(&'a B::Chosen),
}

impl<B: DecoderOps> Clone for Ids<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: DecoderOps> Copy for Ids<'_, B> {}

/// Packed sequences.
pub(crate) struct Tokens<'a, B: DecoderOps> {
    /// N ids.
    pub(crate) ids: Ids<'a, B>,
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

impl<B: DecoderOps> Embedding<B> {
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
        tokens: &Tokens<'_, B>,
        scratch: &mut Scratch,
    ) -> Result<B::Tensor> {
        let Scratch { positions: position_ids, zeros } = scratch;
        let waited;
        let ids = match tokens.ids {
            Ids::Chosen(chosen) if self.positions.as_ref().is_some_and(Positions::by_ids) => {
                waited = backend.chosen(chosen)?;
                Ids::Known(waited.next_ids())
            }
            ids => ids,
        };
        let known = match ids {
            Ids::Known(known) => known,
            Ids::Chosen(_) => &[],
        };
        if let Some(positions) = &self.positions {
            positions.ids(tokens, known, position_ids);
        }
        let type_ids = tokens.types.unwrap_or_else(|| {
            zeros.clear();
            zeros.resize(tokens.rows.rows(), 0);
            zeros
        });
        let types = self.types.as_ref().map(|table| Lookup { table, ids: type_ids, scale: 1.0 });
        let positions = self.positions.as_ref().map(|p| Lookup {
            table: &p.table,
            ids: position_ids,
            scale: 1.0,
        });
        // Tokens, segments, positions: the order in which BERT adds them (PARITY trap 31).
        let mut lookups = [Lookup { table: &self.tokens, ids: known, scale: self.scale }; 3];
        let mut count = 1;
        for lookup in types.into_iter().chain(positions) {
            lookups[count] = lookup;
            count += 1;
        }
        let x = match ids {
            Ids::Known(_) => backend.embed(&lookups[..count]),
            Ids::Chosen(chosen) => {
                backend.embed_chosen((&self.tokens, self.scale), chosen, &lookups[1..count])
            }
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
    /// Whether they depend on the ids.
    fn by_ids(&self) -> bool {
        self.padding.is_some()
    }

    /// The row of the table for each token, of which `known` are the ids where they matter.
    fn ids<D: DecoderOps>(&self, tokens: &Tokens<'_, D>, known: &[u32], out: &mut Vec<u32>) {
        out.clear();
        for (i, range) in tokens.rows.ranges().enumerate() {
            let start = tokens.starts.get(i).copied().unwrap_or(0);
            let first = (self.offset + start) as u32;
            match self.padding {
                None => out.extend((first..).take(range.len())),
                // Padding tokens inside a text stay at their own row and are not counted (PARITY trap 32).
                Some(padding) => {
                    let mut next = first;
                    out.extend(known[range].iter().map(|&id| match id == padding {
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
