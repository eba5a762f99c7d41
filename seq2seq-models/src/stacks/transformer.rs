//! A whole model: an encoder, a decoder or both, and a head.

use super::{
    head::Head,
    input::{self, Packed},
    session::{Parts, Session, Source, no_scores},
    stack::{Context, Stack},
};
use crate::{
    Error, Forward, ForwardOutput, Result,
    blocks::{Cross, Scratch},
    checkpoint::Loader,
    plan::{HeadKind, ModelPlan, PoolRow},
};
use seq2seq_core::{Ragged, Rows, SeqBackend};

/// The weights of a model on a backend.
pub(crate) struct Transformer<B: SeqBackend> {
    backend: B,
    plan: ModelPlan,
    encoder: Option<Stack<B>>,
    decoder: Option<Stack<B>>,
    head: Head<B>,
}

/// Rows of a stack and the input that they stand for.
struct Hidden<B: SeqBackend> {
    x: B::Tensor,
    input: Packed,
}

impl<B: SeqBackend> Transformer<B> {
    pub(crate) fn load(plan: &ModelPlan, loader: &Loader<'_, B>) -> Result<Self> {
        let root = loader.root();
        let stack = |plan: &Option<_>, name: &str| {
            plan.as_ref().map(|plan| Stack::load(plan, &root.at(name))).transpose()
        };
        // First, as it is the largest matrix by far, and a matrix lies in memory twice while it is packed.
        let head = Head::load(plan, &root)?;
        Ok(Self {
            backend: loader.backend.clone(),
            encoder: stack(&plan.encoder, "encoder")?,
            decoder: stack(&plan.decoder, "decoder")?,
            head,
            plan: plan.clone(),
        })
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    pub(crate) fn plan(&self) -> &ModelPlan {
        &self.plan
    }

    /// Every row of every sequence through the whole model, without a cache.
    pub(crate) fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.compute(request, false)
    }

    /// As `forward`, with the rows of the last stack whatever head there is.
    pub(crate) fn forward_with_hidden(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.compute(request, self.plan.head.kind != HeadKind::Hidden)
    }

    /// `with_hidden` adds the rows of the last stack to what its head gives.
    fn compute(&self, request: &Forward, with_hidden: bool) -> Result<Vec<ForwardOutput>> {
        let results = |x: &B::Tensor, rows: &Ragged, source: &Packed| {
            let mut results = self.results(x, rows, source)?;
            if with_hidden {
                results.push(self.output("last_hidden_state", x, rows, true)?);
            }
            Ok::<_, Error>(results)
        };
        let (last, encoded) = self.stacks(request)?;
        let Some(encoded) = encoded else {
            return results(&last.x, &last.input.rows, &last.input);
        };
        let mut results = results(&last.x, &last.input.rows, &encoded.input)?;
        results.push(self.output(
            "encoder_last_hidden_state",
            &encoded.x,
            &encoded.input.rows,
            true,
        )?);
        Ok(results)
    }

    /// What the head makes of a request, on the device: `[N, V]`, a row for each position of the last stack, or
    /// `[B, classes]`. It is what a loss is taken of.
    pub(crate) fn scores(&self, request: &Forward) -> Result<B::Tensor> {
        let (last, encoded) = self.stacks(request)?;
        let source = encoded.as_ref().map_or(&last.input, |encoded| &encoded.input);
        self.check_pooling(&last.input.rows, source)?;
        let scores = match self.head.pools() {
            true => self.pooled(&last.x, &last.input.rows, source)?,
            false => self.head.apply(&self.backend, &last.x)?,
        };
        scores.ok_or_else(no_scores)
    }

    /// The rows of the last stack, and of the encoder beneath a decoder.
    fn stacks(&self, request: &Forward) -> Result<(Hidden<B>, Option<Hidden<B>>)> {
        let refuse_given = |name: &str, given: bool, lacks: &str| match given {
            true => Err(Error::Input(format!("{name}: this model has no {lacks}; leave them out"))),
            false => Ok(()),
        };
        let for_decoder = request.decoder_input_ids.is_some();
        match (&self.encoder, &self.decoder) {
            (Some(encoder), Some(decoder)) => {
                let encoded = self.run(encoder, request)?;
                Ok((self.decode(decoder, &encoded, request)?, Some(encoded)))
            }
            (Some(encoder), None) => {
                refuse_given("decoder_input_ids", for_decoder, "decoder")?;
                Ok((self.run(encoder, request)?, None))
            }
            (None, Some(decoder)) => {
                refuse_given("decoder_input_ids", for_decoder, "encoder")?;
                refuse_given("token_type_ids", request.token_type_ids.is_some(), "encoder")?;
                Ok((self.run(decoder, request)?, None))
            }
            (None, None) => Err(Error::Input("this model has no stacks".into())),
        }
    }

    /// A stack over `input_ids`.
    fn run(&self, stack: &Stack<B>, request: &Forward) -> Result<Hidden<B>> {
        let mut input = Packed::new("input_ids", &request.input_ids, stack.plan())?;
        if let Some(types) = &request.token_type_ids {
            input = input.with_types(types, stack.plan())?;
        }
        let x = stack.forward(
            &self.backend,
            &input.tokens(),
            Context::default(),
            &mut Scratch::default(),
        )?;
        Ok(Hidden { x, input })
    }

    /// The decoder over all of `decoder_input_ids` at once.
    fn decode(
        &self,
        decoder: &Stack<B>,
        encoded: &Hidden<B>,
        request: &Forward,
    ) -> Result<Hidden<B>> {
        let shifted;
        let ids = match &request.decoder_input_ids {
            Some(ids) => ids,
            None => {
                shifted = input::decoder_ids(&request.input_ids, self.plan.decoder_input)?;
                &shifted
            }
        };
        if ids.len() != request.input_ids.len() {
            let (found, expected) = (ids.len(), request.input_ids.len());
            return Err(Error::Input(format!(
                "decoder_input_ids: {found} sequences for {expected} of input_ids"
            )));
        }
        let input = Packed::new("decoder_input_ids", ids, decoder.plan())?;
        let memories = decoder.memories(&self.backend, &encoded.x, &encoded.input.rows)?;
        let sources: Vec<usize> = (0..ids.len()).collect();
        let cross = Cross { memories: &memories, sources: &sources, weights: None };
        let context = Context { cache: None, cross: Some(cross) };
        let x =
            decoder.forward(&self.backend, &input.tokens(), context, &mut Scratch::default())?;
        Ok(Hidden { x, input })
    }

    /// What the head makes of the last stack's rows; `source` is the input of the model.
    fn results(&self, x: &B::Tensor, rows: &Ragged, source: &Packed) -> Result<Vec<ForwardOutput>> {
        let b = &self.backend;
        self.check_pooling(rows, source)?;
        if self.plan.head.kind == HeadKind::Hidden {
            let mut results = vec![self.output("last_hidden_state", x, rows, true)?];
            if let Some(pooled) = self.pooled(x, rows, source)? {
                results.push(self.output("pooler_output", &pooled, rows, false)?);
            }
            return Ok(results);
        }
        let (scores, per_position) = match self.head.pools() {
            true => (self.pooled(x, rows, source)?, false),
            false => (self.head.apply(b, x)?, true),
        };
        let logits = self.output("logits", &scores.ok_or_else(no_scores)?, rows, per_position)?;
        match self.plan.head.kind {
            HeadKind::Answer => {
                Ok(vec![column(&logits, 0, "start_logits"), column(&logits, 1, "end_logits")])
            }
            _ => Ok(vec![logits]),
        }
    }

    /// Fails where rows are chosen by positions of an input that they do not stand for.
    fn check_pooling(&self, rows: &Ragged, source: &Packed) -> Result<()> {
        match self.plan.head.pool {
            Some(PoolRow::LastOf(_)) if *rows != source.rows => Err(Error::Input(
                "decoder_input_ids must be as long as input_ids for this model, which pools by position".into(),
            )),
            _ => Ok(()),
        }
    }

    /// The head on one row of each sequence; `None` where it has nothing to do.
    fn pooled(&self, x: &B::Tensor, rows: &Ragged, source: &Packed) -> Result<Option<B::Tensor>> {
        match self.head.pool(&self.backend, x, rows, &source.ids)? {
            Some(pooled) if !self.head.is_bare() => self.head.apply(&self.backend, &pooled),
            _ => Ok(None),
        }
    }

    fn output(
        &self,
        name: &'static str,
        x: &B::Tensor,
        rows: &Ragged,
        per_position: bool,
    ) -> Result<ForwardOutput> {
        Ok(ForwardOutput {
            name,
            rows: match per_position {
                true => rows.lengths().collect(),
                false => vec![1; rows.sequences()],
            },
            per_position,
            width: x.width(),
            values: self.backend.download(x)?,
        })
    }

    /// Begins a decoding: encodes `sources` where there is an encoder, and makes room for `beams` hypotheses of each
    /// of up to `capacity` positions.
    pub(crate) fn session(
        &self,
        sources: &[Vec<u32>],
        beams: usize,
        capacity: usize,
    ) -> Result<Session<'_, B>> {
        let decoder =
            self.decoder.as_ref().filter(|_| self.plan.generates()).ok_or_else(no_scores)?;
        let source = match &self.encoder {
            None => None,
            Some(encoder) => {
                let request = Forward { input_ids: sources.to_vec(), ..Forward::default() };
                let Hidden { x, input } = self.run(encoder, &request)?;
                let memories = decoder.memories(&self.backend, &x, &input.rows)?;
                Some(Source { memories, rows: input.rows, of: (0..sources.len()).collect() })
            }
        };
        let parts = Parts { backend: &self.backend, decoder, head: &self.head };
        Session::new(parts, source, sources.len(), beams, capacity)
    }
}

/// One column of a result as a result of its own.
fn column(of: &ForwardOutput, column: usize, name: &'static str) -> ForwardOutput {
    let values = of.values.iter().skip(column).step_by(of.width.max(1)).copied().collect();
    ForwardOutput { name, width: 1, values, rows: of.rows.clone(), per_position: of.per_position }
}
