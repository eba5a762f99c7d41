//! What a played GPU has of multiprocessors, and how many blocks fit there together.

use seq2seq_cuda::driver::{DriverError, Result, Shape};

/// Shared memory that the system keeps, of each block.
const SHARED_KEPT: u32 = 1 << 10;

/// What a device has.
pub(super) struct Hardware {
    pub(super) capability: (u32, u32),
    pub(super) multiprocessors: u32,
    /// Whether it launches blocks together.
    pub(super) cooperates: bool,
}

impl Hardware {
    /// Shared memory of a multiprocessor: that of an A100, or of an H100.
    fn shared_of_multiprocessor(&self) -> u32 {
        if self.capability.0 == 8 { 164 << 10 } else { 228 << 10 }
    }

    /// Shared memory that a block may be given.
    pub(super) fn shared(&self) -> u32 {
        self.shared_of_multiprocessor() - SHARED_KEPT
    }

    /// Blocks that are on the device together, by threads and shared memory: registers are not known.
    pub(super) fn residents(&self, threads: u32, shared: u32) -> u32 {
        if !self.cooperates {
            return 0;
        }
        let by_memory = self.shared_of_multiprocessor() / (shared + SHARED_KEPT);
        by_memory.min(2048 / threads).min(32) * self.multiprocessors
    }

    /// The blocks of a cooperative launch are on the device together, or it is refused.
    pub(super) fn check(&self, shape: Shape) -> Result<()> {
        let most = self.residents(shape.block.iter().product(), shape.shared);
        let blocks: u32 = shape.grid.iter().product();
        if !shape.cooperative || blocks <= most {
            return Ok(());
        }
        let reason = format!("{blocks} blocks together, and the device has room for {most}");
        Err(DriverError::failed("launch", reason))
    }
}
