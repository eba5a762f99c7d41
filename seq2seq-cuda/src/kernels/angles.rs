//! Cosine and sine of rotary positions.

use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rotary;

static ARTIFACT: Artifact = artifact!("angles");
static ANGLES: Kernel = Kernel::new(&ARTIFACT, "angles");

const THREADS: usize = 128;

/// Cosine and sine of each position and pair, both times the scale.
pub(crate) struct Angles {
    rotary: Rotary,
    positions: usize,
    /// `[positions, pairs]`
    table: Buffer<[f32; 2]>,
}

impl Angles {
    /// Of `positions` positions.
    pub(crate) fn new(cuda: &Cuda, rotary: &Rotary, positions: usize) -> Result<Self> {
        let (pairs, count) = (rotary.inv_freq.len(), positions * rotary.inv_freq.len());
        let inv_freq = cuda.upload_values(&rotary.inv_freq)?;
        let mut table = cuda.buffer(count)?;
        let launch = Launch::new(cuda, &ANGLES)
            .grid(count.div_ceil(THREADS), 1, 1)
            .block(THREADS)
            .out(&mut table)
            .arg(&inv_freq)
            .size(pairs)
            .arg(rotary.scale)
            .arg(count as i64);
        // SAFETY: the table has `count` entries, inv_freq `pairs`.
        unsafe { launch.run() }?;
        Ok(Self { rotary: rotary.clone(), positions, table })
    }

    /// Whether these are the angles of `rotary`, for at least so many positions.
    pub(crate) fn suffice(&self, rotary: &Rotary, positions: usize) -> bool {
        self.rotary == *rotary && self.positions >= positions
    }

    /// The angles' address and the number of pairs; null and none where nothing is rotated.
    pub(super) fn of(angles: Option<&Self>) -> (u64, usize) {
        angles.map_or((0, 0), |a| (a.table.address(), a.rotary.inv_freq.len()))
    }
}
