//! What the machine can do: multiplications a second in each number format, and bytes a second read from memory.
//!
//! `limits [--json] [--threads N]` takes about a second, so that it can be run between the runs of a comparison.
//! A format is printed only where the machine has instructions for it: FMA (f32), AVX512-BF16, and for int8 AVX512-VNNI,
//! AVX-VNNI or the `vpmaddwd` of AVX2. SEQ2SEQ_CPU_ISA=avx2 leaves AVX-512 unused, as it does in the engine.

use seq2seq_benches::limits;
use std::process::ExitCode;

fn main() -> ExitCode {
    match report(std::env::args().skip(1)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn report(mut arguments: impl Iterator<Item = String>) -> Result<String, String> {
    let mut threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut json = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--threads" => {
                let given = arguments.next().unwrap_or_default();
                threads = given.parse().ok().filter(|&n| n > 0).ok_or_else(|| {
                    format!("limits: --threads takes a number from 1, not '{given}'")
                })?;
            }
            other => {
                return Err(format!(
                    "limits: unknown argument '{other}'; limits [--json] [--threads N]"
                ));
            }
        }
    }
    let rows = limits::measure(threads)?;
    if json {
        let fields: Vec<String> =
            rows.iter().map(|(name, rate)| format!("\"{name}\": {rate:.4e}")).collect();
        return Ok(format!("{{{}}}", fields.join(", ")));
    }
    let lines = rows.iter().map(|(name, rate)| match *name {
        "bandwidth" => format!("memory {:.1} GB/s", rate / 1e9),
        "large_pages" => format!("memory in large pages {:.1} GB/s", rate / 1e9),
        format => format!("{format} {:.0} G operations/s", rate / 1e9),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
