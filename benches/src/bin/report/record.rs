//! What was measured, as JSON lines and as a table.

use serde_json::json;
use std::{fmt::Write as _, fs, io, path::Path};

/// One case on one device.
pub(crate) struct Row {
    pub(crate) op: &'static str,
    pub(crate) case: String,
    pub(crate) device: String,
    /// Seconds of a call, the median over the rounds.
    pub(crate) median: f64,
    /// Of each round.
    seconds: Vec<f64>,
}

impl Row {
    pub(crate) fn new(op: &'static str, case: &str, device: &str, seconds: Vec<f64>) -> Self {
        let median = median(&seconds);
        Self { op, case: case.into(), device: device.into(), median, seconds }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The rows of one case, a device each, in turn.
pub(crate) fn cases(rows: &[Row], devices: usize) -> impl Iterator<Item = &[Row]> {
    rows.chunks(devices.max(1))
}

/// How often the second fits into the first: the median over the rounds of the quotients, each from one round.
pub(crate) fn ratio(other: &Row, first: &Row) -> f64 {
    let quotients: Vec<f64> =
        other.seconds.iter().zip(&first.seconds).map(|(o, f)| o / f).collect();
    median(&quotients)
}

/// Writes a new record.
pub(crate) fn write(
    path: &Path,
    devices: &[String],
    rounds: usize,
    rows: &[Row],
) -> io::Result<()> {
    let head =
        json!({ "devices": devices, "rounds": rounds, "version": env!("CARGO_PKG_VERSION") });
    let mut text = format!("{head}\n");
    for row in rows {
        let Row { op, case, device, median, seconds } = row;
        let line = json!({ "op": op, "case": case, "device": device, "median": median, "seconds": seconds });
        let _ = writeln!(text, "{line}");
    }
    fs::write(path, text)
}

/// Times, and how the first device compares with each other one.
pub(crate) fn table(machine: &[String], devices: &[&str], rows: &[Row]) -> String {
    let mut text = format!("{}. Microseconds a call, medians", machine.join("; "));
    text += "; × is how often the first fits into the other, the median of the rounds' quotients.\n\n| operation | case |";
    for device in devices {
        let _ = write!(text, " {device} |");
    }
    for other in devices.iter().skip(1) {
        let _ = write!(text, " × {other} |");
    }
    text += "\n|---|---|";
    text += &"---:|".repeat(2 * devices.len() - 1);
    text.push('\n');
    for case in cases(rows, devices.len()) {
        let _ = write!(text, "| {} | {} |", case[0].op, case[0].case);
        for row in case {
            let _ = write!(text, " {:.1} |", row.median * 1e6);
        }
        for other in &case[1..] {
            let _ = write!(text, " {:.2} |", ratio(other, &case[0]));
        }
        text.push('\n');
    }
    text
}
