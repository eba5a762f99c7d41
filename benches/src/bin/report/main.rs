//! Every operation on every backend, side by side: those of inference over the cases that the conformance suite checks, and those
//! of training.
//!
//! `report --device cpu --device tch:cpu --record FILE.jsonl` times them **alternating**: for each case all devices prepare and
//! warm up, and then, round after round, each is timed in turn, so that all see the same minutes of the machine. Before each
//! operation the limits of the processor are measured, which move too. Beside the record it writes its table (`.md`) and its
//! drawing (`.svg`). Devices: cpu, cpu:LEVEL; cuda:N and tch:cpu, tch:cuda:N with the features `cuda` and `tch`; gemm, for products in
//! f32 alone, with the feature `peers`.
//!
//! `--targets` times what the CUDA backend has targets for instead, each case also in steps that are replayed; on a processor in a
//! small way. With `--list` it says what these cases are and times nothing. A case that fails is a line with its error; the others
//! are timed all the same, and the program's status is 1.

mod draw;
mod listed;
mod record;

use clap::Parser;
use record::{Record, Row};
use seq2seq_benches::{
    backends::{BUILT_IN, Opened},
    bench::Bench,
    limits::Limits,
    lstm::Lstm,
    runner::{Rounds, Runner, Times, time},
    shapes,
    targets::{AttentionCase, Back, Forward, Halves, HalvesCase, Product, lstms},
    training::{self, Size, Training, Visit},
    work::Counted,
};
use seq2seq_core::conformance::{
    additive::AdditiveAttend, attention::Attend, cache::Step, cross::CrossAttend, embed::Embed,
    linear::Linear, norm::Norm, pool::Pooling, recurrent::Recur, sample::Draw, sample_k::DrawK,
    top_k::Choose, windows::Seen,
};
use std::{error::Error, path::PathBuf, process::ExitCode};

/// Times every operation on every backend, side by side.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What computes; the first is compared with each of the others. Without it one device of each backend that is built in.
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<String>,
    /// Only operations whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// What the CUDA backend has targets for, in place of every operation.
    #[arg(long)]
    targets: bool,
    /// Prints the cases of the targets as JSON lines, and times nothing.
    #[arg(long, requires = "targets")]
    list: bool,
    /// Rounds, in each of which every device is timed.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Milliseconds that a device is timed in a round.
    #[arg(long, default_value_t = 30)]
    milliseconds: u64,
    /// Threads on the processor.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// What else there is to say of the machine, for the record.
    #[arg(long)]
    note: Option<String>,
    /// A new file of JSON lines.
    #[arg(long, required_unless_present = "list")]
    record: Option<PathBuf>,
}

/// What is timed, where, and what came of it.
struct Report {
    arguments: Arguments,
    devices: Vec<Opened>,
    record: Record,
}

impl Report {
    /// The conformance suite's cases of one operation.
    fn measure<O: Counted + 'static>(&mut self) -> Result<(), Box<dyn Error>> {
        self.measure_cases::<O>(O::real())
    }

    /// Some cases of one operation, with their names.
    fn measure_cases<O: Bench>(
        &mut self,
        cases: Vec<(String, O::Case)>,
    ) -> Result<(), Box<dyn Error>> {
        if !O::NAME.contains(&self.arguments.only) {
            return Ok(());
        }
        // Those of a GPU are not measured.
        let limits = match self.has_processor() && cfg!(target_arch = "x86_64") {
            true => Some(Limits::measure(self.arguments.threads)?),
            false => None,
        };
        if let Some(limits) = &limits {
            self.record.limits(O::NAME, limits.clone())?;
        }
        for (name, case) in cases {
            match self.times::<O>(&case) {
                Ok(times) => {
                    self.record.case(self.rows::<O>(&name, &case, limits.as_ref(), times))?
                }
                Err(error) => {
                    eprintln!("{:18} {name:36} {error}", O::NAME);
                    self.record.failure(O::NAME, &name, &error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// The devices that have what a case asks for.
    fn taking_part<'a, O: Bench>(&'a self, case: &'a O::Case) -> impl Iterator<Item = &'a Opened> {
        self.devices.iter().filter(|device| device.offers::<O>(case))
    }

    /// A case on all devices that take part.
    fn times<O: Bench>(&self, case: &O::Case) -> seq2seq_core::Result<Vec<Times>> {
        let runners = self.taking_part::<O>(case).map(|device| device.prepare::<O>(case));
        let mut runners: Vec<Box<dyn Runner>> = runners.collect::<Result<_, _>>()?;
        let Arguments { rounds: count, milliseconds, targets: replay, .. } = self.arguments;
        time(&mut runners, Rounds { count, milliseconds, replay })
    }

    fn rows<O: Bench>(
        &self,
        name: &str,
        case: &O::Case,
        limits: Option<&Limits>,
        times: Vec<Times>,
    ) -> Vec<Row> {
        let work = O::work(case);
        let row = |(device, times): (&Opened, Times)| {
            let limit = limits.filter(|_| device.is_processor());
            let limit = limit.map(|limits| work.seconds(limits));
            let row = Row::new((O::NAME, name), device.name(), times, (work, limit));
            println!("{:18} {:36} {:14} {:9.1} us", row.op, row.case, row.device, row.median * 1e6);
            row
        };
        self.taking_part::<O>(case).zip(times).map(row).collect()
    }

    fn has_processor(&self) -> bool {
        self.devices.iter().any(Opened::is_processor)
    }

    /// What the CUDA backend has targets for.
    fn targets(&mut self) -> Result<(), Box<dyn Error>> {
        let size = listed::size(self.has_processor());
        self.measure_cases::<Product>(Product::cases(&size))?;
        self.measure_cases::<Halves>(HalvesCase::all(&size))?;
        self.measure_cases::<Forward>(AttentionCase::all(&size))?;
        self.measure_cases::<Back>(AttentionCase::all(&size))?;
        self.measure_cases::<Lstm>(lstms(&size))
    }

    /// Every operation.
    fn operations(&mut self) -> Result<(), Box<dyn Error>> {
        self.measure::<Embed>()?;
        self.measure::<Linear>()?;
        // What a processor takes a while for, the benches time there.
        self.measure_cases::<Linear>(match self.has_processor() {
            true => shapes::some_linears_in_fewer_bytes(),
            false => shapes::linears_in_fewer_bytes(),
        })?;
        if self.devices.iter().any(Opened::only_multiplies) {
            self.measure_cases::<Linear>(shapes::products())?;
        }
        self.measure::<Norm>()?;
        self.measure::<Attend>()?;
        self.measure::<Step>()?;
        self.measure::<CrossAttend>()?;
        self.measure::<Recur>()?;
        // Seconds a call on a processor.
        if !self.has_processor() {
            self.measure::<Lstm>()?;
        }
        self.measure::<AdditiveAttend>()?;
        self.measure::<Pooling>()?;
        self.measure::<Seen>()?;
        self.measure::<Choose>()?;
        self.measure::<Draw>()?;
        self.measure::<DrawK>()?;
        training::each(self)
    }
}

/// Those of training.
impl Visit for Report {
    type Error = Box<dyn Error>;

    fn visit<O: Training>(&mut self) -> Result<(), Box<dyn Error>> {
        self.measure_cases::<O>(O::cases(&Size::BASE))
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    if arguments.devices.is_empty() {
        arguments.devices = BUILT_IN.iter().map(|&name| name.into()).collect();
    }
    let Some(path) = arguments.record.clone().filter(|_| !arguments.list) else {
        let processor = arguments.devices.iter().any(|name| name.contains("cpu"));
        listed::cases(processor).for_each(|case| println!("{case}"));
        return Ok(ExitCode::SUCCESS);
    };
    if path.exists() {
        return Err(format!("{} exists; a record is not written over", path.display()).into());
    }
    let opened = arguments.devices.iter().map(|name| Opened::open(name, arguments.threads));
    let devices: Vec<Opened> = opened.collect::<Result<_, _>>()?;
    let record = Record::create(&path, &devices, arguments.rounds, arguments.note.as_deref())?;
    let mut report = Report { arguments, devices, record };
    match report.arguments.targets {
        true => report.targets()?,
        false => report.operations()?,
    }
    let record = &report.record;
    let table = record.table();
    std::fs::write(path.with_extension("md"), &table)?;
    draw::draw(&path.with_extension("svg"), record)?;
    println!("\n{table}");
    Ok(if record.failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
