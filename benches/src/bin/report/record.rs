//! What was measured, as JSON lines and as a table.

use seq2seq_benches::{backends::Opened, limits::Limits, work::Work};
use serde_json::{Map, Value, json};
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
    work: Work,
    /// The seconds that no kernel can beat, where the limits of the device are known.
    limit: Option<f64>,
}

impl Row {
    pub(crate) fn new(
        (op, case): (&'static str, &str),
        device: &str,
        seconds: Vec<f64>,
        (work, limit): (Work, Option<f64>),
    ) -> Self {
        let median = median(&seconds);
        Self { op, case: case.into(), device: device.into(), median, seconds, work, limit }
    }

    /// What part of its time the limit is.
    pub(crate) fn share(&self) -> Option<f64> {
        self.limit.map(|limit| limit / self.median)
    }

    fn json(&self) -> Value {
        json!({
            "op": self.op,
            "case": self.case,
            "device": self.device,
            "median": self.median,
            "seconds": self.seconds,
            "operations": self.work.operations,
            "bytes": self.work.bytes,
            "limit": self.limit,
            "share": self.share(),
        })
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How often the second fits into the first: the median over the rounds of the quotients, each from one round.
pub(crate) fn ratio(other: &Row, first: &Row) -> f64 {
    let quotients: Vec<f64> =
        other.seconds.iter().zip(&first.seconds).map(|(o, f)| o / f).collect();
    median(&quotients)
}

/// Everything that was measured.
pub(crate) struct Record {
    /// By their names.
    pub(crate) devices: Vec<String>,
    /// What each runs on.
    described: Vec<String>,
    rounds: usize,
    note: Option<String>,
    /// What was measured before each operation.
    pub(crate) limits: Vec<(&'static str, Limits)>,
    /// Case by case, in the order of the devices.
    pub(crate) rows: Vec<Row>,
}

impl Record {
    pub(crate) fn new(devices: &[Opened], rounds: usize, note: Option<&str>) -> Self {
        Self {
            devices: devices.iter().map(|device| device.name().to_owned()).collect(),
            described: devices.iter().map(Opened::describe).collect(),
            rounds,
            note: note.map(str::to_owned),
            limits: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The rows of each case: one for each device that takes part in it.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &[Row]> {
        self.rows.chunk_by(|a, b| (a.op, &a.case) == (b.op, &b.case))
    }

    /// The rows of one case by the devices, and that of the first device, which the others are compared with.
    pub(crate) fn by_device<'a>(
        &'a self,
        case: &'a [Row],
    ) -> (impl Iterator<Item = Option<&'a Row>>, Option<&'a Row>) {
        let of = |device: &String| case.iter().find(|row| row.device == *device);
        (self.devices.iter().map(of), self.devices.first().and_then(of))
    }

    /// Writes a new file: a line that says what it is, one for the limits of each operation, one for each row. Times in
    /// seconds, limits in operations and bytes a second.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let head = json!({
            "devices": self.described,
            "machine": machine(),
            "note": self.note,
            "rounds": self.rounds,
            "version": env!("CARGO_PKG_VERSION"),
        });
        let mut text = format!("{head}\n");
        for (op, limits) in &self.limits {
            let rates = limits.rates().iter().map(|(name, rate)| ((*name).into(), json!(rate)));
            let _ = writeln!(
                text,
                "{}",
                json!({ "before": op, "limits": rates.collect::<Map<_, _>>() })
            );
        }
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.json());
        }
        fs::write(path, text)
    }

    /// What the limits were, from the lowest to the highest of the measurements.
    fn measured(&self) -> Option<String> {
        let (_, first) = self.limits.first()?;
        let span = |i: usize| {
            let rates = self.limits.iter().map(|(_, limits)| limits.rates()[i].1 / 1e9);
            let (least, most) = rates.fold((f64::MAX, 0f64), |(a, b), r| (a.min(r), b.max(r)));
            format!("{least:.0} to {most:.0}")
        };
        let each = first.rates().iter().enumerate().map(|(i, (name, _))| match *name {
            "bandwidth" => format!("memory {} GB/s", span(i)),
            format => format!("{format} {} G operations/s", span(i)),
        });
        Some(each.collect::<Vec<_>>().join(", "))
    }

    /// Times, what share of the limit each reaches, and how the first device compares with each other one.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}, on {}.", self.described.join("; "), machine());
        if let Some(note) = &self.note {
            let _ = write!(text, " {note}");
        }
        text += "\n\nMicroseconds a call, medians. % is the share of the limit, the longer of operations over peak and bytes over";
        text += " memory bandwidth\n(`benches/src/work.rs`); above 100 where operands stay in the caches between calls. × is how often the";
        text += " time of the first\nfits into the other's, the median of the rounds' quotients.";
        if let Some(measured) = self.measured() {
            let _ = write!(text, " Measured limits: {measured}.");
        }
        text += "\n\n| operation | case |";
        for device in &self.devices {
            let _ = write!(text, " {device}, us | % |");
        }
        for other in self.devices.iter().skip(1) {
            let _ = write!(text, " × {other} |");
        }
        text += "\n|---|---|";
        text += &"---:|".repeat(3 * self.devices.len() - 1);
        text.push('\n');
        for case in self.cases() {
            let _ = write!(text, "| {} | {} |", case[0].op, case[0].case);
            let (rows, first) = self.by_device(case);
            let rows: Vec<Option<&Row>> = rows.collect();
            for row in &rows {
                let median = row.map(|row| format!("{:.1}", row.median * 1e6));
                let share = row.and_then(Row::share).map(|s| format!("{:.0}", 100.0 * s));
                let _ = write!(
                    text,
                    " {} | {} |",
                    median.unwrap_or_default(),
                    share.unwrap_or_default()
                );
            }
            for other in &rows[1..] {
                let ratio = other.zip(first).map(|(other, first)| ratio(other, first));
                let ratio = ratio.map(|ratio| format!("{ratio:.2}"));
                let _ = write!(text, " {} |", ratio.unwrap_or_default());
            }
            text.push('\n');
        }
        text
    }
}

/// The processor, by the name that the system gives it.
fn machine() -> String {
    let name = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        line.split_once(':').map(|(_, name)| name.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
