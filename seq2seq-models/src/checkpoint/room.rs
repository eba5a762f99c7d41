//! What to say when the weights of a model do not fit into a device's memory.
//!
//! A backend knows the allocation that failed. Here it is told for the whole model: what its weights take in the format
//! that was asked for, what was free, and in which other formats they have room.

use super::{Checkpoint, Formats, Loader};
use crate::{
    Error, Result,
    inspect::{blank::Blank, byte_size},
    plan::ModelPlan,
    stacks,
};
use seq2seq_core::{DeviceMemory, Format};

/// The share of the free memory that is left for what a device pads and adds (whole panels, biases, sums of channels) and
/// for the activations of a first request, when a format is said to have room.
const SPARE: u64 = 16;

/// [`Error::NoRoom`] for a model that ran out of memory while it was loaded; `before` is what there was, `there` are the
/// formats of the backend.
///
/// # Errors
/// What else keeps the model from loading, behind the weight that had no room.
pub(crate) fn no_room(
    before: DeviceMemory,
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    formats: &Formats,
    there: &[Format],
) -> Result<Error> {
    let loader = Loader::new(&Blank, checkpoint, plan.family.names(), formats).on_paper();
    stacks::load(plan, &loader)?;
    let taken = loader.finish().0;
    // A converted folder is loaded in its own format alone.
    let others: &[Format] = if checkpoint.stored().is_some() { &[] } else { there };
    let on_device = |bytes: usize| (bytes + taken.repeated_table_bytes) as u64;
    let sizes = others.iter().map(|&format| (format, on_device(taken.bytes(format))));
    let DeviceMemory { free, total } = before;
    let needed = on_device(taken.loaded_bytes());
    let fits = |&(_, bytes): &(Format, u64)| bytes < needed && bytes <= free - free / SPARE;
    let fits = sizes.filter(fits).collect();
    Ok(Error::NoRoom { format: formats.format, needed, free, total, fits })
}

/// What to do, as a part of a sentence.
pub(crate) fn advice(fits: &[(Format, u64)]) -> String {
    let each: Vec<String> = fits.iter().map(|&(f, n)| format!("{f} ({})", byte_size(n))).collect();
    match each.is_empty() {
        true => "they fit in no other format: free memory of the device, or run on another".into(),
        false => format!("they fit in {}", each.join(", ")),
    }
}
