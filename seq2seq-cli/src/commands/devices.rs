//! `devices`: what there is to compute on.

use crate::{cli::DevicesArgs, failure::Result, output::Output};
use seq2seq_models::device;
use serde_json::json;

pub(super) fn run(args: &DevicesArgs) -> Result<()> {
    let mut output = Output::open(None)?;
    let devices = device::devices();
    let width = devices.iter().map(|found| found.name.len()).max().unwrap_or(0);
    for found in devices {
        if args.json {
            let (key, what) = match &found.what {
                Ok(what) => ("is", what),
                Err(why) => ("lacks", why),
            };
            output.json(&json!({ "device": found.name, key: what }))?;
        } else {
            let what = match found.what {
                Ok(what) => what,
                Err(why) => format!("- {why}"),
            };
            output.text(&format!("{:<width$}  {what}\n", found.name))?;
        }
    }
    output.finish()
}
