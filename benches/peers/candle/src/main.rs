//! candle as a worker of `run.py`: requests on standard input, answers on standard output, one JSON object a line.
//!
//! The protocol is that of `worker.py`.
mod models;

use anyhow::{Context, Result};
use models::Loaded;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    io::{BufRead, Write},
    path::PathBuf,
    time::Instant,
};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Request {
    Load { folder: PathBuf, format: String, ids: Vec<Vec<u32>>, new: usize, beams: usize },
    Run { warm: usize, runs: usize },
    Unload,
}

fn main() -> Result<()> {
    let mut loaded: Option<Loaded> = None;
    say(&json!({ "version": env!("CANDLE_VERSION") }))?;
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&mut loaded, &line?).unwrap_or_else(|e| json!({ "error": format!("{e:#}") }));
        say(&answer)?;
    }
    Ok(())
}

fn say(answer: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

fn answer(loaded: &mut Option<Loaded>, line: &str) -> Result<Value> {
    match serde_json::from_str(line)? {
        Request::Load { folder, format, ids, new, beams } => {
            *loaded = None;
            if format != "f32" || beams != 1 {
                return Ok(json!({ "skipped": "measured in f32 and without beams only" }));
            }
            *loaded = Loaded::from_folder(&folder, &ids, new)?;
            Ok(match loaded {
                Some(_) => json!({ "loaded": true }),
                None => json!({ "skipped": "this family is not measured" }),
            })
        }
        Request::Run { warm, runs } => {
            let model = loaded.as_mut().context("nothing is loaded")?;
            for _ in 0..warm {
                model.run()?;
            }
            let mut seconds = Vec::with_capacity(runs);
            for _ in 0..runs {
                let start = Instant::now();
                model.run()?;
                seconds.push(start.elapsed().as_secs_f64());
            }
            Ok(json!({ "seconds": seconds }))
        }
        Request::Unload => {
            *loaded = None;
            Ok(json!({ "unloaded": true }))
        }
    }
}
