use super::{DecodeSession, Plan, log::StepLog};
use crate::Result;
use seq2seq_core::{Backend, DecoderOps, LogitRule, Ragged, ScoreOrder};

/// Feeds a session step by step, reusing its buffers.
pub(super) struct Feeder<'s, S: ?Sized> {
    session: &'s mut S,
    ids: Vec<u32>,
    /// One run a hypothesis of the session.
    rows: Ragged,
    weights: bool,
    /// How many of the likeliest ids are kept of each step.
    choices: Option<usize>,
    log: StepLog,
}

impl<'s, S: ?Sized> Feeder<'s, S> {
    pub(super) fn new<B: Backend>(session: &'s mut S, plan: &Plan<'_>) -> Result<Self>
    where
        S: DecodeSession<B>,
    {
        if plan.weights {
            session.record_weights()?;
        }
        Ok(Self {
            session,
            ids: Vec::new(),
            rows: Ragged::from_lengths([]),
            weights: plan.weights,
            choices: plan.choices,
            log: StepLog::default(),
        })
    }

    /// The first step: the whole history of each row. Gives `[rows, V]`.
    pub(super) fn prefill<B: Backend>(&mut self, plan: &Plan<'_>) -> Result<B::Tensor>
    where
        S: DecodeSession<B>,
    {
        self.ids = plan.histories().flatten().copied().collect();
        self.rows = Ragged::from_lengths(plan.histories().map(<[u32]>::len));
        self.feed()
    }

    /// A further step: one id for each hypothesis. Gives `[hypotheses, V]`.
    pub(super) fn step<B: Backend>(&mut self, ids: impl Iterator<Item = u32>) -> Result<B::Tensor>
    where
        S: DecodeSession<B>,
    {
        self.ids.clear();
        self.ids.extend(ids);
        self.rows.set_lengths(std::iter::repeat_n(1, self.ids.len()));
        self.feed()
    }

    /// The same with what has been chosen for the hypotheses, which need not be known. None where the session does
    /// without, and where something is kept of each step.
    pub(super) fn step_chosen<B: DecoderOps>(
        &mut self,
        chosen: &B::Chosen,
    ) -> Result<Option<B::Tensor>>
    where
        S: DecodeSession<B>,
    {
        if self.keeps_steps() {
            return Ok(None);
        }
        self.rows.set_lengths(std::iter::repeat_n(1, self.hypotheses()));
        self.session.step_chosen(chosen, &self.rows)
    }

    /// Whether something is kept of each step.
    pub(super) fn keeps_steps(&self) -> bool {
        self.weights || self.choices.is_some()
    }

    /// How many hypotheses the session holds.
    pub(super) fn hypotheses(&self) -> usize {
        self.rows.sequences()
    }

    /// Hypothesis i becomes a continuation of hypothesis `parents[i]`.
    pub(super) fn reorder<B: Backend>(&mut self, parents: &[usize]) -> Result<()>
    where
        S: DecodeSession<B>,
    {
        let all_stay = parents.len() == self.hypotheses()
            && parents.iter().enumerate().all(|(i, &parent)| i == parent);
        if all_stay {
            return Ok(());
        }
        self.session.reorder(parents)?;
        self.rows.set_lengths(std::iter::repeat_n(1, parents.len()));
        Ok(())
    }

    /// Keeps the likeliest ids of each row of `logits`, where they are asked for.
    pub(super) fn keep_likeliest<B: DecoderOps>(
        &mut self,
        backend: &B,
        logits: &B::Tensor,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<()> {
        if let Some(k) = self.choices {
            self.log.keep_likeliest(backend.top_k(logits, k, order, rules)?);
        }
        Ok(())
    }

    /// What has been kept of all steps.
    pub(super) fn log(&self) -> &StepLog {
        &self.log
    }

    fn feed<B: Backend>(&mut self) -> Result<B::Tensor>
    where
        S: DecodeSession<B>,
    {
        let logits = self.session.step(&self.ids, &self.rows)?;
        if self.weights {
            self.log.keep_weights(self.session.take_weights());
        }
        Ok(logits)
    }
}
