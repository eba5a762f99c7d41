//! What was measured, as JSON lines and as a table.

use seq2seq_benches::{backends::Opened, limits::Limits, runner::Times, work::Work};
use serde_json::{Map, Value, json};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// One case on one device.
pub(crate) struct Row {
    pub(crate) op: &'static str,
    pub(crate) case: String,
    pub(crate) device: String,
    /// Seconds of a call, the median over the rounds.
    pub(crate) median: f64,
    times: Times,
    work: Work,
    /// The seconds that no kernel can beat, where the limits of the device are known.
    limit: Option<f64>,
}

impl Row {
    pub(crate) fn new(
        (op, case): (&'static str, &str),
        device: &str,
        times: Times,
        (work, limit): (Work, Option<f64>),
    ) -> Self {
        let median = median(&times.seconds);
        Self { op, case: case.into(), device: device.into(), median, times, work, limit }
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
            "seconds": self.times.seconds,
            "asking": median(&self.times.asking),
            "replayed": (!self.times.replayed.is_empty()).then(|| median(&self.times.replayed)),
            "not_replayed": self.times.not_replayed,
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
        other.times.seconds.iter().zip(&first.times.seconds).map(|(o, f)| o / f).collect();
    median(&quotients)
}

/// Everything that was measured. Each line is written as soon as it is known, so that whoever ends the program early loses nothing.
pub(crate) struct Record {
    file: File,
    /// By their names.
    pub(crate) devices: Vec<String>,
    /// What each runs on.
    described: Vec<String>,
    note: Option<String>,
    /// What was measured before each operation.
    limits: Vec<(&'static str, Limits)>,
    /// Case by case, in the order of the devices.
    pub(crate) rows: Vec<Row>,
    /// Cases that came to nothing.
    pub(crate) failures: usize,
}

impl Record {
    /// Begins a new file with a line that says what it is.
    pub(crate) fn create(
        path: &Path,
        devices: &[Opened],
        rounds: usize,
        note: Option<&str>,
    ) -> io::Result<Self> {
        let mut record = Self {
            file: File::create_new(path)?,
            devices: devices.iter().map(|device| device.name().to_owned()).collect(),
            described: devices.iter().map(Opened::describe).collect(),
            note: note.map(str::to_owned),
            limits: Vec::new(),
            rows: Vec::new(),
            failures: 0,
        };
        record.line(&json!({
            "devices": record.described,
            "machine": machine(),
            "note": record.note,
            "rounds": rounds,
            "version": env!("CARGO_PKG_VERSION"),
        }))?;
        Ok(record)
    }

    fn line(&mut self, line: &Value) -> io::Result<()> {
        writeln!(self.file, "{line}")
    }

    /// What the machine can do at most, in operations and bytes a second, before an operation is timed.
    pub(crate) fn limits(&mut self, op: &'static str, limits: Limits) -> io::Result<()> {
        let rates = limits.rates().iter().map(|(name, rate)| ((*name).into(), json!(rate)));
        self.line(&json!({ "before": op, "limits": rates.collect::<Map<_, _>>() }))?;
        self.limits.push((op, limits));
        Ok(())
    }

    /// A case on all devices; times in seconds.
    pub(crate) fn case(&mut self, rows: Vec<Row>) -> io::Result<()> {
        for row in &rows {
            self.line(&row.json())?;
        }
        self.rows.extend(rows);
        Ok(())
    }

    /// Why a case has no times.
    pub(crate) fn failure(&mut self, op: &str, case: &str, error: &str) -> io::Result<()> {
        self.failures += 1;
        self.line(&json!({ "op": op, "case": case, "error": error }))
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
            "large_pages" => format!("in large pages {} GB/s", span(i)),
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
