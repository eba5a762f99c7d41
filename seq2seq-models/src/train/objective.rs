//! From rows to what a model computes on and is held to.

use super::{
    Batch,
    data::{self, RowKind, UNTAGGED},
    denoise::{MaskedLm, Noise, NoiseTokens, SpanCorruption, corrupt},
    random::{Draws, Purpose},
    settings::ObjectiveSettings,
    vae::{VaeSettings, drop_words, evaluation_noise, training_noise},
};
use crate::{
    Error, Result, Tokenizer,
    generate::ConfigLayers,
    plan::{DecoderInput, HeadKind, ModelPlan},
    stacks::no_latent,
};

/// What a model learns from a batch of rows.
#[derive(Debug)]
pub(super) struct Objective {
    kind: Kind,
    shape: Shape,
    seed: u64,
}

/// What is made of a row.
#[derive(Debug)]
enum Kind {
    /// Nothing: the target, or the text, is to be written.
    Write,
    Denoise(Vec<Noise>, Box<NoiseTokens>),
    Spans(SpanCorruption, Box<NoiseTokens>),
    MaskedLm(MaskedLm, Box<NoiseTokens>),
    Classify,
    Tag,
    Vae(Vae),
    /// Whether the model tells segments apart.
    Answer {
        segments: bool,
    },
}

/// A variational autoencoder, with what stands for words that are dropped.
#[derive(Debug)]
struct Vae {
    settings: VaeSettings,
    size: usize,
    unknown: Option<u32>,
}

/// How the model reads and what is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// The source by an encoder, the target behind what decoders begin with.
    EncoderDecoder(Begin),
    /// Source and target by a decoder, one behind the other.
    Decoder,
    Encoder,
}

/// What a decoder reads before its first target.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Begin {
    Id(u32),
    /// The last id of its own target (mBART).
    Wrapped,
}

/// A row, ready.
struct Pair {
    source: Vec<u32>,
    target: Vec<u32>,
}

impl Objective {
    /// Fails where rows of this kind, or a model of this kind, have no use for the objective.
    pub(crate) fn new(
        settings: &ObjectiveSettings,
        plan: &ModelPlan,
        decoding: &ConfigLayers,
        tokenizer: &Tokenizer,
        rows: RowKind,
        seed: u64,
    ) -> Result<Self> {
        let tokens = || Box::new(NoiseTokens::of(tokenizer));
        let kind = match settings {
            ObjectiveSettings::Write {} => Kind::Write,
            ObjectiveSettings::Denoise { noise } => Kind::Denoise(noise.clone(), tokens()),
            ObjectiveSettings::Spans(spans) => Kind::Spans(*spans, tokens()),
            ObjectiveSettings::MaskedLm(masked) => Kind::MaskedLm(*masked, tokens()),
            ObjectiveSettings::Classify {} => Kind::Classify,
            ObjectiveSettings::Tag {} => Kind::Tag,
            ObjectiveSettings::Vae(settings) => Kind::Vae(Vae::new(*settings, plan, tokenizer)?),
            ObjectiveSettings::Answer {} => {
                let segments = plan.encoder.as_ref().map_or(0, |e| e.embedding.types) > 1;
                Kind::Answer { segments }
            }
        };
        let shape = shape(plan, decoding)?;
        kind.check(plan, rows, shape)?;
        Ok(Self { kind, shape, seed })
    }

    /// Whether what the model writes can be compared with the targets of rows.
    pub(crate) fn writes_targets(&self) -> bool {
        matches!(self.kind, Kind::Write | Kind::Vae(_))
    }

    /// What a model learns from a batch of rows in this pass. It is what [`batch`](Self::batch) gives, but that some words are
    /// not to be read.
    pub(crate) fn learned(&self, rows: &data::Batch, pass: u64) -> Result<Batch> {
        let mut batch = self.batch(rows)?;
        if let Kind::Vae(Vae { settings, unknown: Some(unknown), .. }) = &self.kind {
            drop_words(&mut batch.input, *unknown, settings.word_dropout, self.seed, pass);
        }
        Ok(batch)
    }

    /// The noise of a pass of a training, where points are drawn.
    pub(crate) fn noise(&self, rows: &data::Batch, pass: u64) -> Option<Vec<f32>> {
        let size = self.latent()?;
        Some(training_noise(self.seed, pass, rows.rows.len(), size))
    }

    /// The noise of an evaluation.
    pub(crate) fn evaluation_noise(&self, rows: &data::Batch) -> Option<Vec<f32>> {
        Some(evaluation_noise(self.seed, &rows.rows, self.latent()?))
    }

    fn latent(&self) -> Option<usize> {
        match &self.kind {
            Kind::Vae(vae) => Some(vae.size),
            _ => None,
        }
    }

    /// What the model computes on for a batch of rows.
    pub(crate) fn batch(&self, rows: &data::Batch) -> Result<Batch> {
        let pairs = self.pairs(rows)?;
        match (&self.kind, self.shape) {
            (Kind::MaskedLm(masked, tokens), _) => self.masked(rows, &pairs, masked, tokens),
            (Kind::Classify, _) => Ok(classify(pairs)),
            (Kind::Tag, _) => Ok(tag(pairs)),
            (Kind::Answer { segments }, _) => Ok(answer(pairs, segments.then_some(&rows.segments))),
            (_, Shape::EncoderDecoder(begin)) => Ok(encoder_decoder(pairs, begin)),
            (_, Shape::Decoder | Shape::Encoder) => decoder(&pairs),
        }
    }

    /// The rows, corrupted where they are to be.
    fn pairs(&self, rows: &data::Batch) -> Result<Vec<Pair>> {
        let sequences = |s: &data::Sequences| -> Vec<Vec<u32>> {
            s.ragged.ranges().map(|range| s.ids[range].to_vec()).collect()
        };
        let plain = sequences(&rows.source).into_iter().zip(sequences(&rows.target));
        let pair = |((source, target), &row): ((Vec<u32>, Vec<u32>), &usize)| {
            let mut draws = self.draws(rows.epoch, row);
            let denoised = match &self.kind {
                Kind::Denoise(noise, tokens) => corrupt(&target, noise, tokens, &mut draws)?,
                Kind::Spans(spans, tokens) => spans.apply(&target, tokens, &mut draws)?,
                _ => return Ok(Pair { source, target }),
            };
            Ok(Pair { source: denoised.source, target: denoised.target })
        };
        plain.zip(&rows.rows).map(pair).collect()
    }

    fn draws(&self, epoch: u64, row: usize) -> Draws {
        Draws::new(self.seed, Purpose::Corruption, epoch, row as u64)
    }

    fn masked(
        &self,
        rows: &data::Batch,
        pairs: &[Pair],
        masked: &MaskedLm,
        tokens: &NoiseTokens,
    ) -> Result<Batch> {
        let mut batch = Batch::default();
        for (pair, &row) in pairs.iter().zip(&rows.rows) {
            let row = masked.apply(&pair.target, tokens, &mut self.draws(rows.epoch, row))?;
            let mut targets = vec![None; row.ids.len()];
            row.positions.iter().zip(row.labels).for_each(|(&at, id)| targets[at] = Some(id));
            batch.input.input_ids.push(row.ids);
            batch.targets.extend(targets);
        }
        Ok(batch)
    }
}

impl Vae {
    fn new(settings: VaeSettings, plan: &ModelPlan, tokenizer: &Tokenizer) -> Result<Self> {
        let size = plan.recurrent.as_ref().and_then(|r| r.latent).ok_or_else(no_latent)?;
        let unknown = (settings.word_dropout > 0.0).then(|| {
            let mask = || tokenizer.mask_token().and_then(|token| tokenizer.token_to_id(token));
            tokenizer.unk_id().or_else(mask).ok_or_else(|| {
                Error::input(
                    "'data.objective.word_dropout': the tokenizer has no unknown token and no mask to stand for words",
                )
            })
        });
        Ok(Self { settings, size, unknown: unknown.transpose()? })
    }
}

impl Kind {
    fn check(&self, plan: &ModelPlan, rows: RowKind, shape: Shape) -> Result<()> {
        let head = plan.head.kind;
        let (name, kind, heads): (_, _, &[HeadKind]) = match self {
            Self::Write => ("write", None, &[HeadKind::Language]),
            Self::Denoise(..) => ("denoise", Some(RowKind::Text), &[HeadKind::Language]),
            Self::Spans(..) => ("spans", Some(RowKind::Text), &[HeadKind::Language]),
            Self::MaskedLm(..) => ("masked_lm", Some(RowKind::Text), &[HeadKind::MaskedLanguage]),
            Self::Classify => ("classify", Some(RowKind::Pair), &[HeadKind::Classify]),
            Self::Tag => ("tag", Some(RowKind::Tagged), &[HeadKind::Tag]),
            Self::Vae(_) => ("vae", None, &[HeadKind::Language]),
            Self::Answer { .. } => ("answer", Some(RowKind::Question), &[HeadKind::Answer]),
        };
        let latent = plan.recurrent.as_ref().is_some_and(|r| r.latent.is_some());
        if latent && !matches!(self, Self::Vae(_)) {
            return Err(Error::Input(format!(
                "the objective '{name}' is not for a model with a latent, which learns by 'vae'"
            )));
        }
        if !heads.contains(&head) {
            return Err(Error::Input(format!(
                "the objective '{name}' is not for this {} model, whose head is {head:?}",
                plan.family
            )));
        }
        let encodes = matches!(shape, Shape::EncoderDecoder(_));
        if matches!(self, Self::Denoise(..) | Self::Spans(..)) && !encodes {
            return Err(Error::Input(format!(
                "the objective '{name}' needs an encoder and a decoder, which this {} model has not",
                plan.family
            )));
        }
        let kind = match self {
            Self::Write if encodes => Some(RowKind::Pair),
            _ => kind,
        };
        match kind {
            Some(kind) if kind != rows => Err(Error::Input(format!(
                "the objective '{name}' learns from {kind} here; these rows are {rows}"
            ))),
            None if rows == RowKind::Tagged => Err(Error::Input(format!(
                "the objective '{name}' does not learn from tagged tokens; 'tag' does"
            ))),
            None if rows == RowKind::Question => Err(Error::Input(format!(
                "the objective '{name}' does not learn from questions with their answers; 'answer' does"
            ))),
            _ => Ok(()),
        }
    }
}

fn shape(plan: &ModelPlan, decoding: &ConfigLayers) -> Result<Shape> {
    if !plan.is_encoder_decoder() {
        return Ok(if plan.decoder.is_some() { Shape::Decoder } else { Shape::Encoder });
    }
    Ok(Shape::EncoderDecoder(match plan.decoder_input {
        DecoderInput::Shifted(start) => Begin::Id(start),
        DecoderInput::Wrapped => Begin::Wrapped,
        DecoderInput::Given => {
            let config = decoding.config();
            let start = config.decoder_start_token_id.or(config.bos_token_id);
            Begin::Id(start.ok_or_else(|| {
                Error::Input(
                    "neither config.json nor generation_config.json has a decoder_start_token_id; give it there"
                        .into(),
                )
            })?)
        }
    }))
}

fn encoder_decoder(pairs: Vec<Pair>, begin: Begin) -> Batch {
    let mut batch = Batch::default();
    let mut decoder_ids = Vec::with_capacity(pairs.len());
    for Pair { source, target } in pairs {
        let first = match begin {
            Begin::Id(id) => Some(id),
            Begin::Wrapped => target.last().copied(),
        };
        let kept = target.len().saturating_sub(1);
        decoder_ids.push(first.into_iter().chain(target[..kept].iter().copied()).collect());
        batch.targets.extend(target.into_iter().map(Some));
        batch.input.input_ids.push(source);
    }
    batch.input.decoder_input_ids = Some(decoder_ids);
    batch
}

/// Every token of the target is to follow from what is before it. The first of a text follows from nothing.
fn decoder(pairs: &[Pair]) -> Result<Batch> {
    let mut batch = Batch::default();
    for Pair { source, target } in pairs {
        let ids = [&source[..], &target[..]].concat();
        let Some((_, before)) = ids.split_last().filter(|(_, before)| !before.is_empty()) else {
            return Err(Error::input("a text of one token has nothing to be learned from"));
        };
        let next = (1..ids.len()).map(|at| (at >= source.len()).then_some(ids[at]));
        batch.targets.extend(next);
        batch.input.input_ids.push(before.to_vec());
    }
    Ok(batch)
}

/// The target of a row is its class.
fn classify(pairs: Vec<Pair>) -> Batch {
    let mut batch = Batch::default();
    for Pair { source, target } in pairs {
        batch.input.input_ids.push(source);
        batch.targets.push(target.first().copied());
    }
    batch
}

/// Each id of the source is held to its class, where it has one.
fn tag(pairs: Vec<Pair>) -> Batch {
    let mut batch = Batch::default();
    for Pair { source, target } in pairs {
        batch.input.input_ids.push(source);
        batch
            .targets
            .extend(target.into_iter().map(|class| Some(class).filter(|&c| c != UNTAGGED)));
    }
    batch
}

/// The first and the last token of the answer.
fn answer(pairs: Vec<Pair>, segments: Option<&Vec<u32>>) -> Batch {
    let mut batch = Batch::default();
    let mut segments = segments.map(Vec::as_slice);
    for Pair { source, target } in pairs {
        if let Some((own, rest)) = segments.map(|s| s.split_at(source.len().min(s.len()))) {
            batch.input.token_type_ids.get_or_insert_default().push(own.to_vec());
            segments = Some(rest);
        }
        batch.input.input_ids.push(source);
        batch.targets.extend(target.into_iter().map(Some));
    }
    batch
}
