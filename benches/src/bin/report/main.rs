//! Every operation on every backend, side by side, over the cases that the conformance suite checks.
//!
//! `report --device cpu --device tch:cpu --record FILE.jsonl` times them **alternating**: for each case all devices prepare and
//! warm up, and then, round after round, each is timed in turn, so that all see the same minutes of the machine. Beside the record
//! it writes its table (`.md`) and its drawing (`.svg`). Devices: cpu; cuda:N and tch:cpu, tch:cuda:N with the features `cuda` and
//! `tch`.

mod backends;
mod draw;
mod record;
mod runner;

use backends::Opened;
use clap::Parser;
use record::Row;
use runner::{Runner, rounds};
use seq2seq_core::conformance::{
    Timed, additive::AdditiveAttend, attention::Attend, cache::Step, cross::CrossAttend,
    embed::Embed, linear::Linear, norm::Norm, pool::Pooling, recurrent::Recur, sample::Draw,
    sample_k::DrawK, top_k::Choose,
};
use std::{error::Error, path::PathBuf};

/// Times every operation on every backend, side by side.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What computes; the first is compared with each of the others.
    #[arg(long = "device", value_name = "DEVICE", default_values_t = ["cpu".to_owned()])]
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
    /// A new file of JSON lines.
    #[arg(long)]
    record: PathBuf,
}

/// All cases of one operation.
fn measure<O: Timed + 'static>(
    arguments: &Arguments,
    devices: &[Opened],
    rows: &mut Vec<Row>,
) -> Result<(), Box<dyn Error>> {
    if !O::NAME.contains(&arguments.only) {
        return Ok(());
    }
    for (name, case) in O::real() {
        let mut runners: Vec<Box<dyn Runner>> =
            devices.iter().map(|device| device.prepare::<O>(&case)).collect::<Result<_, _>>()?;
        let times = rounds(&mut runners, arguments.rounds, arguments.milliseconds)?;
        for (device, seconds) in devices.iter().zip(times) {
            let row = Row::new(O::NAME, &name, device.name(), seconds);
            println!("{:18} {:36} {:14} {:9.1} us", row.op, row.case, row.device, row.median * 1e6);
            rows.push(row);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if arguments.record.exists() {
        return Err(
            format!("{} exists; a record is not written over", arguments.record.display()).into()
        );
    }
    let opened = arguments.devices.iter().map(|name| Opened::open(name, arguments.threads));
    let devices: Vec<Opened> = opened.collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    measure::<Embed>(&arguments, &devices, &mut rows)?;
    measure::<Linear>(&arguments, &devices, &mut rows)?;
    measure::<Norm>(&arguments, &devices, &mut rows)?;
    measure::<Attend>(&arguments, &devices, &mut rows)?;
    measure::<Step>(&arguments, &devices, &mut rows)?;
    measure::<CrossAttend>(&arguments, &devices, &mut rows)?;
    measure::<Recur>(&arguments, &devices, &mut rows)?;
    measure::<AdditiveAttend>(&arguments, &devices, &mut rows)?;
    measure::<Pooling>(&arguments, &devices, &mut rows)?;
    measure::<Choose>(&arguments, &devices, &mut rows)?;
    measure::<Draw>(&arguments, &devices, &mut rows)?;
    measure::<DrawK>(&arguments, &devices, &mut rows)?;
    let machine: Vec<String> = devices.iter().map(Opened::describe).collect();
    record::write(&arguments.record, &machine, arguments.rounds, &rows)?;
    let names: Vec<&str> = devices.iter().map(Opened::name).collect();
    let table = record::table(&machine, &names, &rows);
    std::fs::write(arguments.record.with_extension("md"), &table)?;
    draw::draw(&arguments.record.with_extension("svg"), &names, &rows)?;
    println!("\n{table}");
    Ok(())
}
