//! Every operation on every backend, side by side: those of inference over the cases that the conformance suite checks, and those
//! of training.
//!
//! `report --device cpu --device tch:cpu --record FILE.jsonl` times them **alternating**: for each case all devices prepare and
//! warm up, and then, round after round, each is timed in turn, so that all see the same minutes of the machine. Before each
//! operation the limits of the processor are measured, which move too. Beside the record it writes its table (`.md`) and its
//! drawing (`.svg`). Devices: cpu, cpu:LEVEL; cuda:N and tch:cpu, tch:cuda:N with the features `cuda` and `tch`; gemm, for products in
//! f32 alone, with the feature `peers`.

mod draw;
mod record;

use clap::Parser;
use record::{Record, Row};
use seq2seq_benches::{
    backends::{BUILT_IN, Opened},
    bench::Bench,
    limits::Limits,
    lstm::Lstm,
    runner::{Runner, rounds},
    shapes,
    training::{self, Size, Training, Visit},
    work::Counted,
};
use seq2seq_core::conformance::{
    additive::AdditiveAttend, attention::Attend, cache::Step, cross::CrossAttend, embed::Embed,
    linear::Linear, norm::Norm, pool::Pooling, recurrent::Recur, sample::Draw, sample_k::DrawK,
    top_k::Choose,
};
use std::{error::Error, path::PathBuf};

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
    #[arg(long)]
    record: PathBuf,
}

/// The conformance suite's cases of one operation.
fn measure<O: Counted + 'static>(
    arguments: &Arguments,
    devices: &[Opened],
    record: &mut Record,
) -> Result<(), Box<dyn Error>> {
    measure_cases::<O>(arguments, devices, record, O::real())
}

/// Some cases of one operation, with their names.
fn measure_cases<O: Bench>(
    arguments: &Arguments,
    devices: &[Opened],
    record: &mut Record,
    cases: Vec<(String, O::Case)>,
) -> Result<(), Box<dyn Error>> {
    if !O::NAME.contains(&arguments.only) {
        return Ok(());
    }
    // Those of a GPU are not measured.
    let limits = match devices.iter().any(Opened::is_processor) && cfg!(target_arch = "x86_64") {
        true => Some(Limits::measure(arguments.threads)?),
        false => None,
    };
    for (name, case) in cases {
        let work = O::work(&case);
        let devices: Vec<&Opened> =
            devices.iter().filter(|device| device.offers::<O>(&case)).collect();
        let mut runners: Vec<Box<dyn Runner>> =
            devices.iter().map(|device| device.prepare::<O>(&case)).collect::<Result<_, _>>()?;
        let times = rounds(&mut runners, arguments.rounds, arguments.milliseconds)?;
        for (device, seconds) in devices.into_iter().zip(times) {
            let limit = limits.as_ref().filter(|_| device.is_processor());
            let limit = limit.map(|limits| work.seconds(limits));
            let row = Row::new((O::NAME, &name), device.name(), seconds, (work, limit));
            println!("{:18} {:36} {:14} {:9.1} us", row.op, row.case, row.device, row.median * 1e6);
            record.rows.push(row);
        }
    }
    record.limits.extend(limits.map(|limits| (O::NAME, limits)));
    Ok(())
}

/// Measures the operations of training.
struct Trainings<'a> {
    arguments: &'a Arguments,
    devices: &'a [Opened],
    record: &'a mut Record,
}

impl Visit for Trainings<'_> {
    type Error = Box<dyn Error>;

    fn visit<O: Training>(&mut self) -> Result<(), Box<dyn Error>> {
        measure_cases::<O>(self.arguments, self.devices, self.record, O::cases(&Size::BASE))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    if arguments.record.exists() {
        return Err(
            format!("{} exists; a record is not written over", arguments.record.display()).into()
        );
    }
    if arguments.devices.is_empty() {
        arguments.devices = BUILT_IN.iter().map(|&name| name.into()).collect();
    }
    let opened = arguments.devices.iter().map(|name| Opened::open(name, arguments.threads));
    let devices: Vec<Opened> = opened.collect::<Result<_, _>>()?;
    let mut record = Record::new(&devices, arguments.rounds, arguments.note.as_deref());
    measure::<Embed>(&arguments, &devices, &mut record)?;
    measure::<Linear>(&arguments, &devices, &mut record)?;
    // What a processor takes a while for, the benches time there.
    let cases = match devices.iter().any(Opened::is_processor) {
        true => shapes::some_linears_in_fewer_bytes(),
        false => shapes::linears_in_fewer_bytes(),
    };
    measure_cases::<Linear>(&arguments, &devices, &mut record, cases)?;
    if devices.iter().any(Opened::only_multiplies) {
        measure_cases::<Linear>(&arguments, &devices, &mut record, shapes::products())?;
    }
    measure::<Norm>(&arguments, &devices, &mut record)?;
    measure::<Attend>(&arguments, &devices, &mut record)?;
    measure::<Step>(&arguments, &devices, &mut record)?;
    measure::<CrossAttend>(&arguments, &devices, &mut record)?;
    measure::<Recur>(&arguments, &devices, &mut record)?;
    // Seconds a call on a processor.
    if !devices.iter().any(Opened::is_processor) {
        measure::<Lstm>(&arguments, &devices, &mut record)?;
    }
    measure::<AdditiveAttend>(&arguments, &devices, &mut record)?;
    measure::<Pooling>(&arguments, &devices, &mut record)?;
    measure::<Choose>(&arguments, &devices, &mut record)?;
    measure::<Draw>(&arguments, &devices, &mut record)?;
    measure::<DrawK>(&arguments, &devices, &mut record)?;
    let (arguments, devices) = (&arguments, &devices[..]);
    training::each(&mut Trainings { arguments, devices, record: &mut record })?;
    record.write(&arguments.record)?;
    let table = record.table();
    std::fs::write(arguments.record.with_extension("md"), &table)?;
    draw::draw(&arguments.record.with_extension("svg"), &record)?;
    println!("\n{table}");
    Ok(())
}
