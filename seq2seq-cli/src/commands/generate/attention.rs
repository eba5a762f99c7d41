//! `--attention`: whom the tokens of each result attended to, how they were chosen, and which hypotheses were lost, as
//! one page.

mod page;

use super::{
    losses::{Losses, LostHypothesis},
    prompts::Piece,
};
use crate::{
    failure::{Failure, Result},
    output::Output,
};
use seq2seq_models::{Choice, Generated, Tokenizer, generate::Plan, trace::Traced};
use serde::Serialize;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// The likeliest ids that are shown of each step.
const LIKELIEST: usize = 5;
/// The most weights of a page: browsers have trouble with more.
const MOST_WEIGHTS: usize = 20_000_000;
/// Weights are whole numbers of this part of 1, which is finer than a screen can show.
const SCALE: f32 = 10_000.0;

/// What a page shows.
#[derive(Debug, Serialize)]
struct Data {
    model: String,
    kind: Kind,
    scale: f32,
    tokens: BTreeMap<u32, Token>,
    results: Vec<Shown>,
}

/// Whose attention it is.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Of the output to the source.
    Cross,
    /// Of the output to the prompt and to itself.
    #[serde(rename = "self")]
    Itself,
}

/// A token on the page.
#[derive(Debug, Serialize)]
struct Token {
    text: String,
    special: bool,
}

/// What came of one input.
#[derive(Debug, Serialize)]
struct Shown {
    row: usize,
    sequences: Vec<Sequence>,
    lost: Vec<LostHypothesis>,
}

/// One output.
#[derive(Debug, Serialize)]
struct Sequence {
    text: Option<String>,
    score: f32,
    /// The ids that may be attended to.
    columns: Vec<u32>,
    /// How many of them were given.
    given: usize,
    steps: Vec<Step>,
    heads: usize,
    /// `[layer]`, each `[step][head][column]` flattened, in parts of `Data::scale`.
    weights: Vec<Vec<u16>>,
}

/// How one id was chosen.
#[derive(Debug, Serialize)]
struct Step {
    id: u32,
    log_prob: f32,
    likeliest: Vec<(u32, f32)>,
}

/// Collects what a page shows.
pub(super) struct Attention<'a> {
    traced: &'a Traced,
    tokenizer: Option<&'a Tokenizer>,
    kind: Kind,
    results: RefCell<Vec<Shown>>,
}

impl<'a> Attention<'a> {
    pub(super) fn new(traced: &'a Traced, tokenizer: Option<&'a Tokenizer>) -> Self {
        let kind = match traced.model().plan().has_encoder() {
            true => Kind::Cross,
            false => Kind::Itself,
        };
        Self { traced, tokenizer, kind, results: RefCell::default() }
    }

    /// `plan` with all that is to be shown.
    pub(super) fn asked_of<'p>(&self, plan: Plan<'p>) -> Plan<'p> {
        let plan = plan.with_choices(LIKELIEST);
        match self.kind {
            Kind::Cross => plan.with_weights(),
            Kind::Itself => plan,
        }
    }

    /// Takes in the results of a batch, whose decoders were given `histories`.
    pub(super) fn add(
        &self,
        pieces: &[&Piece],
        histories: &[Vec<u32>],
        generated: &[Vec<Generated>],
        losses: &Losses,
    ) -> Result<()> {
        for (i, (piece, sequences)) in pieces.iter().zip(generated).enumerate() {
            let sequence = |g| self.sequence(&piece.prompt.input_ids, &histories[i], g);
            // What is returned of a decoder-only model is new.
            let given = if matches!(self.kind, Kind::Cross) { histories[i].len() } else { 0 };
            let shown = Shown {
                row: piece.row,
                sequences: sequences.iter().map(sequence).collect::<Result<_>>()?,
                lost: losses.of(i, given),
            };
            self.results.borrow_mut().push(shown);
        }
        let results = self.results.borrow();
        let sequences = results.iter().flat_map(|shown| &shown.sequences);
        let weights: usize = sequences.flat_map(|s| &s.weights).map(Vec::len).sum();
        if weights > MOST_WEIGHTS {
            return Err(Failure::input(format!(
                "--attention: {weights} weights are more than a page can show ({MOST_WEIGHTS}); give fewer or shorter texts"
            )));
        }
        Ok(())
    }

    fn sequence(&self, source: &[u32], history: &[u32], generated: &Generated) -> Result<Sequence> {
        let choices = generated.choices.as_deref().unwrap_or_default();
        let new = &generated.ids[generated.ids.len() - choices.len()..];
        let (columns, given, layers) = match self.kind {
            Kind::Cross => {
                let steps = generated.weights.as_deref().unwrap_or_default();
                (source.to_vec(), source.len(), by_layer(steps))
            }
            Kind::Itself => {
                // The last id is attended to by none.
                let all = [history, &new[..new.len().saturating_sub(1)]].concat();
                let layers = self.traced.self_attention(&all, history.len().saturating_sub(1))?;
                (all, history.len(), layers)
            }
        };
        let row = columns.len() * new.len();
        Ok(Sequence {
            text: self.tokenizer.map(|t| t.decode(&generated.ids, true)).transpose()?,
            score: generated.score,
            heads: layers.first().map_or(0, |layer| layer.len() / row.max(1)),
            weights: layers
                .iter()
                .map(|layer| layer.iter().map(|&w| rounded(w)).collect())
                .collect(),
            columns,
            given,
            steps: new.iter().zip(choices).map(step).collect(),
        })
    }

    /// Writes the page.
    pub(super) fn write(self, mut output: Output) -> Result<()> {
        let mut results = self.results.take();
        results.sort_by_key(|shown| shown.row);
        let ids: BTreeSet<u32> = results.iter().flat_map(ids).collect();
        let token = |id: u32| match self.tokenizer {
            Some(tokenizer) => Token {
                text: String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned(),
                special: tokenizer.is_special(id),
            },
            None => Token { text: id.to_string(), special: false },
        };
        let model = self.traced.model();
        let root = model.files().root();
        let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy();
        let data = Data {
            model: format!("{name} ({}, {})", model.family(), model.format()),
            kind: self.kind,
            scale: SCALE,
            tokens: ids.into_iter().map(|id| (id, token(id))).collect(),
            results,
        };
        output.text(&page::fill(&data)?)?;
        output.finish()
    }
}

/// Weights of `[step][layer]` by layer.
fn by_layer(steps: &[Vec<Vec<f32>>]) -> Vec<Vec<f32>> {
    let layers = steps.first().map_or(0, Vec::len);
    (0..layers).map(|layer| steps.iter().flat_map(|step| &step[layer]).copied().collect()).collect()
}

fn rounded(weight: f32) -> u16 {
    (weight * SCALE).round() as u16
}

fn step((&id, choice): (&u32, &Choice)) -> Step {
    let Choice { log_prob, likeliest } = choice;
    // What the rules ban is no runner-up.
    let likeliest = likeliest.iter().copied().filter(|(_, l)| l.is_finite()).collect();
    Step { id, log_prob: *log_prob, likeliest }
}

/// Every id that is shown.
fn ids(shown: &Shown) -> impl Iterator<Item = u32> {
    let of_step = |s: &Step| s.likeliest.iter().map(|l| l.0).chain([s.id]).collect::<Vec<_>>();
    let sequences = shown.sequences.iter().flat_map(move |s| {
        s.columns.iter().copied().chain(s.steps.iter().flat_map(of_step)).collect::<Vec<_>>()
    });
    sequences.chain(shown.lost.iter().flat_map(|l| l.ids.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_laid_out_by_layer() {
        let steps = [vec![vec![0.25, 0.75], vec![1.0, 0.0]], vec![vec![0.5, 0.5], vec![0.1, 0.9]]];
        assert_eq!(by_layer(&steps), [[0.25, 0.75, 0.5, 0.5], [1.0, 0.0, 0.1, 0.9]]);
        assert!(by_layer(&[]).is_empty());
        assert_eq!([0.0, 0.12344, 0.5, 1.0].map(rounded), [0, 1234, 5000, 10_000]);
    }

    #[test]
    fn every_id_that_is_shown_is_named() {
        let shown = Shown {
            row: 0,
            sequences: vec![Sequence {
                text: None,
                score: 0.0,
                columns: vec![1, 2],
                given: 2,
                steps: vec![Step { id: 3, log_prob: -1.0, likeliest: vec![(4, -0.5)] }],
                heads: 0,
                weights: vec![],
            }],
            lost: vec![LostHypothesis { step: 1, reason: "outrun", score: 0.0, ids: vec![5] }],
        };
        assert_eq!(ids(&shown).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3, 4, 5]));
        let banned = Choice { log_prob: -1.0, likeliest: vec![(4, -0.5), (6, f32::NEG_INFINITY)] };
        assert_eq!(step((&3, &banned)).likeliest, [(4, -0.5)]);
    }
}
