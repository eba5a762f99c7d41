//! A trace as text.

use super::{Given, Lost, Scored, Step, Token, Trace, Written};
use seq2seq_models::trace::StageReport;
use std::fmt::Write;

/// The whole trace. Writing into a string cannot fail.
pub(super) fn text(trace: &Trace) -> String {
    let mut out = String::new();
    let Trace { family, format, device, parameters, input, seconds, .. } = trace;
    let _ = writeln!(out, "model   {family}, {parameters} parameters, {format}, {device}");
    if let Some(text) = &input.text {
        let _ = writeln!(out, "input   {}", printable(text));
    }
    let _ = writeln!(out, "tokens  {}", tokens(&input.tokens));
    if let Some(decoder) = &input.decoder_tokens {
        let _ = writeln!(out, "decoder {}", tokens(decoder));
    }
    stages(&mut out, &trace.stages, *seconds);
    let written = trace.written.as_deref().unwrap_or_default();
    written.iter().for_each(|w| sequence(&mut out, w));
    lost(&mut out, trace.lost.as_deref().unwrap_or_default());
    let outputs = trace.outputs.as_deref().unwrap_or_default();
    outputs.iter().for_each(|o| given(&mut out, o));
    out
}

fn stages(out: &mut String, stages: &[StageReport], seconds: f64) {
    let widest = stages.iter().map(|s| s.name.len()).max().unwrap_or(0).max("stage".len());
    let _ = writeln!(
        out,
        "\n{:widest$}  {:>5}  {:>12}  {:>9} {:>9} {:>9} {:>9}  {:>9}",
        "stage", "calls", "rows x width", "norm", "mean", "min", "max", "ms"
    );
    for s in stages {
        let shape = format!("{} x {}", s.rows, s.width);
        let _ = write!(out, "{:widest$}  {:>5}  {shape:>12}  ", s.name, s.calls);
        let _ = match s.values {
            Some(v) => write!(out, "{:>9.3} {:>9.4} {:>9.3} {:>9.3}", v.norm, v.mean, v.min, v.max),
            None => write!(out, "{:39}", ""),
        };
        let _ = writeln!(out, "  {:>9.3}", s.seconds * 1e3);
    }
    let sum: f64 = stages.iter().map(|s| s.seconds).sum();
    let (sum, all) = (sum * 1e3, seconds * 1e3);
    let _ = writeln!(out, "{sum:.3} ms in stages, {all:.3} ms with looking at them");
}

fn sequence(out: &mut String, written: &Written) {
    let score = written.score;
    let text = written.text.as_deref().map(printable).unwrap_or_default();
    let _ = writeln!(out, "\noutput  {text}\nscore   {score:.6}\n");
    let widest = written.steps.iter().map(|s| name(&s.chosen.token).chars().count()).max();
    let widest = widest.unwrap_or(0).max("token".len());
    let _ = writeln!(out, "step  {:widest$}  {:>9}  {:>6}  runners-up", "token", "log p", "p");
    for (i, Step { chosen, likeliest }) in written.steps.iter().enumerate() {
        let others: Vec<String> = likeliest
            .iter()
            .filter(|l| l.token.id != chosen.token.id)
            .map(|l| format!("{} {}", name(&l.token), probability(l)))
            .collect();
        let _ = writeln!(
            out,
            "{:>4}  {:widest$}  {:>9.4}  {:>6}  {}",
            i + 1,
            name(&chosen.token),
            chosen.log_prob,
            probability(chosen),
            others.join(", ")
        );
    }
}

fn lost(out: &mut String, lost: &[Lost]) {
    if lost.is_empty() {
        return;
    }
    let _ =
        writeln!(out, "\n{} beams lost\n\nstep  {:>9}  {:10}  text", lost.len(), "score", "reason");
    for Lost { hypothesis, text } in lost {
        let ids = || hypothesis.ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let text = text.as_deref().map_or_else(ids, printable);
        let (step, score, reason) = (hypothesis.step, hypothesis.score, hypothesis.reason);
        let _ = writeln!(out, "{step:>4}  {score:>9.4}  {reason:10}  {text}");
    }
}

fn given(out: &mut String, given: &Given) {
    let Given { name, rows, width, largest } = given;
    let largest: Vec<String> = largest.iter().map(|(i, v)| format!("{i}: {v:.4}")).collect();
    let _ = writeln!(
        out,
        "\n{name}  {rows} x {width}; largest of the first row  {}",
        largest.join(", ")
    );
}

fn probability(scored: &Scored) -> String {
    format!("{:.4}", scored.log_prob.exp())
}

fn tokens(tokens: &[Token]) -> String {
    let one = |t: &Token| match t.token {
        Some(_) => format!("{}({})", name(t), t.id),
        None => t.id.to_string(),
    };
    tokens.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A token such that its spaces are seen.
fn name(token: &Token) -> String {
    match &token.token {
        Some(text) => printable(&text.replace(' ', "·")),
        None => token.id.to_string(),
    }
}

/// Text that leaves a terminal as it was.
fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(printable("a\u{1b}[31m\n\u{e9}"), "a\\u{1b}[31m\\n\u{e9}");
        let token = Token { id: 7, token: Some(" the\t".into()) };
        assert_eq!(name(&token), "·the\\t");
        assert_eq!(tokens(&[token, Token { id: 8, token: None }]), "·the\\t(7) 8");
    }
}
