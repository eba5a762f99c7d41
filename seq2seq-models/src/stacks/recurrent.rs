//! Recurrent encoder-decoders: an encoder of LSTM or GRU layers, a decoder of as many, attention or none between them.

mod attention;
mod decoder;
mod encoder;
mod fed;
mod latent;
mod layer;
mod session;
mod state;
mod steps;

use super::input::Packed;
use crate::{
    Error, Forward, ForwardOutput, Result,
    blocks::Ids,
    checkpoint::{Loader, OutputShape, Presence},
    plan::{HeadPlan, RecurrentPlan},
};
use decoder::Decoder;
use encoder::Encoder;
use latent::Latent;
pub(crate) use latent::LatentScores;
use seq2seq_core::{Epilogue, Ragged, Rows, SeqBackend, Stage};
use session::Session;
use state::State;

/// The weights of a model on a backend.
pub(crate) struct RecurrentModel<B: SeqBackend> {
    backend: B,
    plan: RecurrentPlan,
    encoder: Encoder<B>,
    /// Between encoder and decoder of a variational autoencoder.
    latent: Option<Latent<B>>,
    decoder: Decoder<B>,
    /// Scores for the next token.
    output: B::Linear,
}

/// What comes of sources and targets.
struct Pass<B: SeqBackend> {
    memory: B::Tensor,
    source_rows: Ragged,
    /// What the scores are made of, in these rows.
    x: B::Tensor,
    rows: Ragged,
    logits: B::Tensor,
}

/// The sources, read: a row each position, and what each layer ended with.
struct Read<B: SeqBackend> {
    x: B::Tensor,
    rows: Ragged,
    ends: Vec<B::Tensor>,
}

/// The sources, read, and the decoder before its first step.
struct Encoded<B: SeqBackend> {
    x: B::Tensor,
    rows: Ragged,
    state: State<B>,
}

impl<B: SeqBackend> RecurrentModel<B> {
    pub(crate) fn load(
        plan: &RecurrentPlan,
        head: &HeadPlan,
        loader: &Loader<'_, B>,
    ) -> Result<Self> {
        let root = loader.root();
        let head = head.output.ok_or_else(|| Error::input("a recurrent model writes"))?;
        let (encoder, decoder) = (root.at("encoder"), root.at("decoder"));
        let language = root.at("head").at("language");
        // A parameter where the file has one, not a buffer.
        let bias = if language.holds("out.bias") { Presence::Always } else { Presence::Never };
        let shape =
            OutputShape { inputs: plan.width, outputs: head.width, bias, scale: head.scale };
        let tied = decoder.at("embed");
        Ok(Self {
            backend: loader.backend.clone(),
            encoder: Encoder::load(plan, &encoder)?,
            latent: Latent::load(plan, &encoder.at("latent"))?,
            decoder: Decoder::load(plan, &decoder)?,
            output: language.output(shape, head.tied.then_some(&tied))?,
            plan: plan.clone(),
        })
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// Every row of every sequence through the whole model.
    pub(crate) fn forward(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.compute(request, false)
    }

    /// As `forward`, with what the scores are made of.
    pub(crate) fn forward_with_hidden(&self, request: &Forward) -> Result<Vec<ForwardOutput>> {
        self.compute(request, true)
    }

    /// The scores of the next token on the device, `[N, V]`: a row for each position of `decoder_input_ids`. It is what a
    /// loss is taken of.
    pub(crate) fn scores(&self, request: &Forward) -> Result<B::Tensor> {
        Ok(self.pass(request)?.logits)
    }

    fn compute(&self, request: &Forward, with_hidden: bool) -> Result<Vec<ForwardOutput>> {
        let Pass { memory, source_rows, x, rows, logits } = self.pass(request)?;
        let mut results = vec![self.rows_of("logits", &logits, &rows)?];
        if with_hidden {
            results.push(self.rows_of("last_hidden_state", &x, &rows)?);
        }
        results.push(self.rows_of("encoder_last_hidden_state", &memory, &source_rows)?);
        Ok(results)
    }

    /// The whole model over sources and targets.
    fn pass(&self, request: &Forward) -> Result<Pass<B>> {
        let (Encoded { x: memory, rows: source_rows, mut state }, target) = self.begin(request)?;
        let (x, logits) = self.decode(&target, &mut state)?;
        Ok(Pass { memory, source_rows, x, rows: target.rows, logits })
    }

    /// The targets from a state on: what their scores are made of, and these.
    fn decode(&self, target: &Packed, state: &mut State<B>) -> Result<(B::Tensor, B::Tensor)> {
        let b = &self.backend;
        let x = self.decoder.forward(b, Ids::Known(&target.ids), &target.rows, state, None)?;
        let logits = b.linear(&x, &self.output, Epilogue::NONE)?;
        b.observe(Stage::Head, &logits)?;
        Ok((x, logits))
    }

    /// The sources, read, and what the decoder is to read.
    fn begin(&self, request: &Forward) -> Result<(Encoded<B>, Packed)> {
        let target = self.target(request)?;
        Ok((self.encode(&request.input_ids)?, target))
    }

    /// What the decoder is to read.
    fn target(&self, request: &Forward) -> Result<Packed> {
        if request.token_type_ids.is_some() {
            let reason = "token_type_ids: this model tells no segments apart; leave them out";
            return Err(Error::input(reason));
        }
        let ids = request.decoder_input_ids.as_ref().ok_or_else(|| {
            Error::input("decoder_input_ids are missing; this model's decoder needs them")
        })?;
        let (found, expected) = (ids.len(), request.input_ids.len());
        if found != expected {
            return Err(Error::Input(format!(
                "decoder_input_ids: {found} sequences for {expected} of input_ids"
            )));
        }
        Packed::unbounded("decoder_input_ids", ids, self.plan.target_vocab)
    }

    fn rows_of(&self, name: &'static str, x: &B::Tensor, rows: &Ragged) -> Result<ForwardOutput> {
        Ok(ForwardOutput {
            name,
            rows: rows.lengths().collect(),
            per_position: true,
            width: x.width(),
            values: self.backend.download(x)?,
        })
    }

    /// Reads the sources.
    fn encode(&self, sources: &[Vec<u32>]) -> Result<Encoded<B>> {
        let b = &self.backend;
        let Read { x, rows, ends } = self.read(sources)?;
        let state = match &self.latent {
            None => self.decoder.begin(b, &x, &rows, ends)?,
            Some(latent) => {
                let z = latent.means(b, &latent.posteriors(b, &ends)?)?;
                self.decoder.begin_at(b, &z)?
            }
        };
        Ok(Encoded { x, rows, state })
    }

    /// The sources, through the encoder.
    fn read(&self, sources: &[Vec<u32>]) -> Result<Read<B>> {
        let Packed { ids, rows, .. } =
            Packed::unbounded("input_ids", sources, self.plan.source_vocab)?;
        let (x, ends) = self.encoder.forward(&self.backend, &ids, &rows)?;
        Ok(Read { x, rows, ends })
    }

    /// Begins a decoding.
    pub(crate) fn session(&self, sources: &[Vec<u32>]) -> Result<Session<'_, B>> {
        Ok(Session::new(self, self.encode(sources)?.state))
    }
}
