//! What is seen of a training while it runs.

use super::curves::Curves;
use crate::{
    failure::{Failure, Result},
    interrupt::Asked,
};
use indicatif::{ProgressBar, ProgressStyle};
use seq2seq_models::train::{Evaluation, Observer, Settings, StepReport, trainer::Progress};
use std::{
    io::{IsTerminal, Write, stderr, stdout},
    ops::ControlFlow,
    path::Path,
    time::Instant,
};

/// On a terminal a bar on standard error; elsewhere lines on standard output. And the drawing of the curves.
pub(super) struct Watch {
    bar: ProgressBar,
    settings: Settings,
    began: Instant,
    /// How much was done when it began.
    before: f64,
    failed: Option<Failure>,
    asked: Asked,
}

/// The bar's length where a training goes by time.
const PARTS: u64 = 1000;

impl Watch {
    pub(super) fn new(settings: &Settings, progress: &Progress, asked: Asked) -> Self {
        let length = if settings.minutes.is_some() { PARTS } else { settings.steps };
        let bar = match stderr().is_terminal() {
            true => ProgressBar::new(length),
            false => ProgressBar::hidden(),
        };
        // The template is ours; a wrong one would leave the default style.
        let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            bar,
            before: settings.done(progress.step, progress.seconds),
            settings: settings.clone(),
            began: Instant::now(),
            failed: None,
            asked,
        }
    }

    fn line(&mut self, text: &str) {
        if !self.bar.is_hidden() {
            return self.bar.println(text);
        }
        if let Err(e) = writeln!(stdout(), "{text}") {
            self.failed = Some(Failure::output(Path::new("standard output"), &e));
        }
    }

    fn draw(&self) -> Result<()> {
        let folder = self.settings.output.join("training");
        Curves::read(&folder.join("metrics.jsonl"))?.write_svg(&folder.join("curves.svg"))
    }

    /// Ends the bar, and fails where something could not be shown or drawn.
    pub(super) fn finish(self) -> Result<()> {
        self.bar.finish_and_clear();
        self.failed.map_or(Ok(()), Err)
    }
}

impl Observer for Watch {
    fn stepped(&mut self, report: &StepReport) -> ControlFlow<()> {
        let done = self.settings.done(report.step, report.seconds);
        let since = (done - self.before).max(f64::MIN_POSITIVE);
        let left = self.began.elapsed().as_secs_f64() * (1.0 - done) / since;
        let StepReport { step, loss, tokens_per_second, rate, latent, .. } = report;
        let latent = latent
            .map_or(String::new(), |l| format!("  kl {:.3} of weight {:.3}", l.kl, l.kl_weight));
        let told = format!(
            "step {step}  loss {loss:.4}{latent}  rate {rate:.2e}  {tokens_per_second:.0} tokens/s  {} left",
            duration(left)
        );
        match self.bar.is_hidden() {
            true => self.line(&told),
            false => {
                let parts = self.bar.length().unwrap_or(PARTS) as f64;
                self.bar.set_position((done * parts) as u64);
                self.bar.set_message(told);
            }
        }
        match self.failed {
            None => ControlFlow::Continue(()),
            // Nobody reads any more, or the curves cannot be drawn: there is a checkpoint to go on from.
            Some(_) => ControlFlow::Break(()),
        }
    }

    fn goes_on(&mut self) -> ControlFlow<()> {
        match self.asked.signal() {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation, best: bool) {
        let Evaluation { step, loss, perplexity, token_accuracy, latent, scores, samples } =
            evaluation;
        let latent = latent.map_or(String::new(), |l| {
            format!("  reconstruction {:.4}  kl {:.3}  elbo {:.3}", l.reconstruction, l.kl, l.elbo)
        });
        let scores: String =
            scores.iter().map(|(name, value)| format!("  {name} {value:.2}")).collect();
        let mark = if best { "  (best)" } else { "" };
        self.line(&format!(
            "evaluated at step {step}: loss {loss:.4}  perplexity {perplexity:.3}{latent}  token_accuracy \
             {token_accuracy:.2}{scores}{mark}"
        ));
        if let Some(sample) = samples.get(*step as usize % samples.len().max(1)) {
            self.line(&format!(
                "  {:?} -> {:?}, to be {:?}",
                short(&sample.source),
                short(&sample.written),
                short(&sample.target)
            ));
        }
        if let Err(failure) = self.draw() {
            self.failed = Some(failure);
        }
    }
}

fn short(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.min(1e9).round() as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match hours {
        0 if minutes == 0 => format!("{seconds} s"),
        0 => format!("{minutes} min"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}
