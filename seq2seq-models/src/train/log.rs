//! What happened in a training, as JSON lines.

use super::{Evaluation, LatentEvaluation};
use crate::{Error, Result, new_file};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// The mean over the steps since the line before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The last of the steps, counted from 1.
    pub step: u64,
    /// The mean loss of a target token, smoothed where it is, in nats.
    pub loss: f64,
    /// The share of target tokens that were the likeliest, from 0 to 100.
    pub token_accuracy: f64,
    /// The learning rate of the last step.
    pub rate: f64,
    /// The norm of the gradient of the mean loss in the last step, before clipping.
    pub gradient_norm: f64,
    /// The epoch that the last batch was of, from 0.
    pub epoch: u64,
    /// Target tokens that were learned from.
    pub tokens: u64,
    /// Tokens, of sources too, a second.
    pub tokens_per_second: f64,
    /// Time spent in steps since the training began.
    pub seconds: f64,
    /// What the loss of a variational autoencoder is made of.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub latent: Option<LatentReport>,
}

/// The parts of the loss of a variational autoencoder, means as those of its [`StepReport`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatentReport {
    /// The negative log-likelihood of a target token, smoothed where it is, in nats.
    pub reconstruction: f64,
    /// The divergence of the posterior of a row from the prior, in nats.
    pub kl: f64,
    /// What the divergence was multiplied by in the last step.
    pub kl_weight: f64,
}

/// The file that lines are added to.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log of a training that has taken `step` steps: lines of later steps, which a training that was stopped had
    /// come to, are dropped, and so is what is no line.
    pub(super) fn open(path: &Path, step: u64) -> Result<Self> {
        let failed = |e| Error::write(path, e);
        let kept = match std::fs::read_to_string(path) {
            Ok(text) => text
                .lines()
                .filter(|line| is_up_to(line, step))
                .fold(String::new(), |text, line| text + line + "\n"),
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(path, e)),
        };
        new_file::replace_with(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        Ok(Self { path: path.into(), file })
    }

    pub(super) fn step(&mut self, report: &StepReport) -> Result<()> {
        let mut line = json!(report);
        line["event"] = "train".into();
        self.write(&line)
    }

    pub(super) fn evaluation(&mut self, evaluation: &Evaluation, best: bool) -> Result<()> {
        let mut line = json!({
            "event": "evaluate", "step": evaluation.step, "loss": evaluation.loss,
            "perplexity": evaluation.perplexity, "token_accuracy": evaluation.token_accuracy,
            "best": best,
        });
        if let Some(LatentEvaluation { reconstruction, kl, elbo }) = evaluation.latent {
            for (name, value) in [("reconstruction", reconstruction), ("kl", kl), ("elbo", elbo)] {
                line[name] = json!(value);
            }
        }
        for (name, value) in &evaluation.scores {
            line[name] = json!(value);
        }
        self.write(&line)
    }

    fn write(&mut self, line: &Value) -> Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::write(&self.path, e))
    }
}

fn is_up_to(line: &str, step: u64) -> bool {
    let line: Option<Value> = serde_json::from_str(line).ok();
    line.and_then(|line| line.get("step")?.as_u64()).is_some_and(|s| s <= step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_steps_that_are_taken_again_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let report = |step| StepReport {
            step,
            loss: 1.5,
            token_accuracy: 50.0,
            rate: 1e-3,
            gradient_norm: 0.5,
            epoch: 0,
            tokens: 10,
            tokens_per_second: 1.0,
            seconds: 2.0,
            latent: None,
        };
        let mut log = Log::open(&path, 0).unwrap();
        (1..=3).for_each(|step| log.step(&report(step)).unwrap());
        log.write(&json!("torn")).unwrap();
        drop(log);
        let mut log = Log::open(&path, 2).unwrap();
        log.step(&report(3)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, [1, 2, 3]);
        assert!(text.contains(r#""event":"train""#));
    }
}
