//! Memory of the device: a pool, and what is allocated from it.
//!
//! Freed blocks are kept by size class, so that a step that asks for what the last one asked for allocates nothing, and is given
//! the same addresses ([`blocks`]). A block may be given out again as soon as it is dropped: everything runs in one order
//! ([`driver`](crate::driver)), but for what a step lists and does later, which holds its blocks back
//! ([`queue`](crate::queue)). Values come and go by way of page-locked memory ([`staging`]).

mod blocks;
mod readers;
mod staging;
mod tensor;
mod together;

use crate::driver::{Arg, Driver, DriverError, MemoryInfo, Result};
use crate::queue::Queue;
pub(crate) use blocks::{Block, Blocks};
use bytemuck::Pod;
pub(crate) use readers::Readers;
use seq2seq_core::Error;
use staging::{Reading, Staging};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};
pub use tensor::Tensor;
pub(crate) use together::{Table, Together};

/// Where buffers come from and go back to.
pub(crate) struct Pool {
    queue: Queue,
    /// Whether freed blocks are kept. Where they are not, each block is as long as was asked for, so that a driver that
    /// watches accesses sees those past its end, and reads of what was not written since.
    keep: bool,
    free: Mutex<Blocks>,
    staging: Staging,
}

/// The bytes of the block that `bytes` are given: a multiple of 512, at most a quarter more than asked for, but for the
/// smallest; few enough classes that lengths near each other share one.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(GRAIN);
    bytes.next_multiple_of(step)
}

/// The bytes of `len` values of `size` bytes; none where they are more than any memory has, and cannot be rounded.
fn bytes_of(len: usize, size: usize) -> Option<u64> {
    (len as u64).checked_mul(size as u64).filter(|&bytes| bytes <= i64::MAX as u64)
}

/// Blocks are multiples of it, but for those of tables.
const GRAIN: u64 = 512;

/// Which memory will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// What the step that is listed has freed, too: the work that uses it is listed behind the work that did.
    Listed,
    /// Nothing that the step uses: an upload does not wait for it.
    AtOnce,
}

impl Pool {
    pub(crate) fn new(driver: Arc<dyn Driver>, keep: bool, graphs: bool) -> Arc<Self> {
        let staging = Staging::new(Arc::clone(&driver));
        let queue = Queue::new(driver, graphs);
        Arc::new(Self { queue, keep, free: Mutex::default(), staging })
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    fn driver(&self) -> &dyn Driver {
        &**self.queue.driver()
    }

    /// Blocks stay blocks whatever happened while they were held.
    fn free(&self) -> MutexGuard<'_, Blocks> {
        self.free.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A block of `bytes`, rounded by `class` where blocks are kept.
    fn take(&self, bytes: u64, class: fn(u64) -> u64, of: Use) -> Result<Block> {
        let bytes = if self.keep { class(bytes) } else { bytes };
        if self.keep {
            let listed = if of == Use::Listed { self.queue.reuse(bytes) } else { None };
            if let Some(block) = listed.or_else(|| self.free().take(bytes)) {
                return Ok(block);
            }
        }
        let address = match self.driver().alloc(bytes) {
            // What is kept may be in the way.
            Err(DriverError::OutOfMemory { .. }) => {
                self.submit()?;
                self.release();
                self.driver().alloc(bytes)?
            }
            address => address?,
        };
        Ok(Block { address, bytes })
    }

    fn give_back(&self, block: Block) {
        if !self.queue.hold(block) {
            self.recover(block);
        }
    }

    /// Takes a block that no listed work uses.
    fn recover(&self, block: Block) {
        match self.keep {
            true => self.free().add(block),
            // A device that fails here has failed before, and been told.
            false => drop(self.driver().free(block.address)),
        }
    }

    /// Asks for what the step of this thread has listed.
    pub(crate) fn submit(&self) -> Result<()> {
        self.settle(self.queue.submit())
    }

    /// Ends the step of this thread.
    fn end(&self) -> Result<()> {
        self.settle(self.queue.end())
    }

    /// Takes what a step had freed before it was asked for.
    fn settle(&self, (freed, asked): (Blocks, Result<()>)) -> Result<()> {
        freed.into_blocks().for_each(|block| self.recover(block));
        asked
    }

    /// Does `work`, a step, as a whole: what it asks for is done when it has returned, or needs what it asked for.
    pub(crate) fn step<T, E: From<Error>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if !self.queue.begin() {
            return work();
        }
        let begun = Begun(self);
        let done = work();
        let asked = begun.end();
        // Where both failed, the first says why.
        let done = done?;
        asked.map_err(Error::from)?;
        Ok(done)
    }

    /// Gives everything that is kept back to the driver, and what the driver keeps to the system.
    pub(crate) fn release(&self) {
        self.queue.forget();
        let free = std::mem::take(&mut *self.free());
        for block in free.into_blocks() {
            // As above.
            let _ = self.driver().free(block.address);
        }
        let _ = self.driver().trim();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.release();
    }
}

/// A step that has begun; it ends even where its work panics.
struct Begun<'a>(&'a Pool);

impl Begun<'_> {
    fn end(self) -> Result<()> {
        let asked = self.0.end();
        std::mem::forget(self);
        asked
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        // There is a panic to tell of.
        let _ = self.0.end();
    }
}

/// The length of the block of tables that last for some steps: no tensor has it, so that new tables are given the block of old
/// ones, and the tensors of the steps behind have the addresses of those before.
fn table_class(bytes: u64) -> u64 {
    size_class(bytes) + GRAIN / 4
}

/// The same for tables that grow with each step: their block is as long as a power of two and little more, so that few steps need
/// another.
fn growing_class(bytes: u64) -> u64 {
    bytes.next_power_of_two().max(GRAIN) + GRAIN / 2
}

/// A run of values in the device's memory. Dropping it returns the block to its pool.
pub(crate) struct Buffer<T> {
    pool: Arc<Pool>,
    /// None of a buffer without values.
    block: Option<Block>,
    len: usize,
    values: PhantomData<fn() -> T>,
}

impl<T: Pod> Buffer<T> {
    /// `len` values that are not defined yet.
    pub(crate) fn new(pool: &Arc<Pool>, len: usize) -> Result<Self> {
        Self::of_class(pool, len, size_class, Use::Listed)
    }

    /// The same for a table that grows with each step.
    pub(crate) fn growing(pool: &Arc<Pool>, len: usize) -> Result<Self> {
        Self::of_class(pool, len, growing_class, Use::Listed)
    }

    fn of_class(pool: &Arc<Pool>, len: usize, class: fn(u64) -> u64, of: Use) -> Result<Self> {
        let Some(bytes) = bytes_of(len, size_of::<T>()) else {
            let MemoryInfo { free, total } = pool.driver().memory()?;
            return Err(DriverError::OutOfMemory { needed: u64::MAX, free, total });
        };
        let block = (bytes > 0).then(|| pool.take(bytes, class, of)).transpose()?;
        Ok(Self { pool: Arc::clone(pool), block, len, values: PhantomData })
    }

    /// A copy of values of the host. What is too long to be staged is a weight or as large as one: it lasts, shares its
    /// length with little else, and is given no more than it needs.
    pub(crate) fn upload(pool: &Arc<Pool>, values: &[T]) -> Result<Self> {
        let class = match Staging::takes(size_of_val(values)) {
            true => size_class,
            false => |bytes: u64| bytes.next_multiple_of(GRAIN),
        };
        Self::upload_to(pool, values, class)
    }

    /// The same for tables that last for some steps.
    pub(crate) fn upload_tables(pool: &Arc<Pool>, values: &[T]) -> Result<Self> {
        Self::upload_to(pool, values, table_class)
    }

    /// The same for tables that grow with each step.
    pub(crate) fn upload_growing(pool: &Arc<Pool>, values: &[T]) -> Result<Self> {
        Self::upload_to(pool, values, growing_class)
    }

    fn upload_to(pool: &Arc<Pool>, values: &[T], class: fn(u64) -> u64) -> Result<Self> {
        let buffer = Self::of_class(pool, values.len(), class, Use::AtOnce)?;
        if let Some(block) = &buffer.block {
            pool.staging.write(block.address, bytemuck::cast_slice(values))?;
        }
        Ok(buffer)
    }

    /// `len` values whose bytes are all `byte`.
    pub(crate) fn filled(pool: &Arc<Pool>, len: usize, byte: u8) -> Result<Self> {
        let buffer = Self::new(pool, len)?;
        if let Some(block) = &buffer.block {
            pool.queue.fill(block.address, byte, len as u64 * size_of::<T>() as u64)?;
        }
        Ok(buffer)
    }

    /// Waits for what was asked for before, and copies to the host.
    pub(crate) fn download(&self) -> Result<Vec<T>> {
        let mut out = vec![T::zeroed(); self.len];
        if let Some(block) = &self.block {
            self.pool.submit()?;
            self.pool.staging.read(block.address, bytemuck::cast_slice_mut(&mut out))?;
        }
        Ok(out)
    }

    /// Asks for a copy to the host, behind what was asked for before. None of values that are not staged: of too many, or of no
    /// values.
    pub(crate) fn land(&self) -> Result<Option<Landing>> {
        let bytes = self.len * size_of::<T>();
        let Some(block) = self.block.as_ref().filter(|_| Staging::takes(bytes)) else {
            return Ok(None);
        };
        self.pool.submit()?;
        let reading = self.pool.staging.begin_read(block.address, bytes)?;
        Ok(Some(Landing { pool: Arc::clone(&self.pool), reading: Some(reading) }))
    }

    /// Copies `count` values of `from`, from `start` on, to `at`. Both ranges must lie inside.
    pub(crate) fn copy_from(
        &mut self,
        at: usize,
        from: &Self,
        start: usize,
        count: usize,
    ) -> Result<()> {
        assert!(at + count <= self.len && start + count <= from.len, "a copy past an end");
        let (Some(to), Some(from)) = (&self.block, &from.block) else { return Ok(()) };
        if count == 0 {
            return Ok(());
        }
        let size = size_of::<T>() as u64;
        let (from, to) = (from.address + start as u64 * size, to.address + at as u64 * size);
        self.pool.queue.copy(from, to, count as u64 * size)
    }

    /// The same block as bytes.
    fn into_bytes(mut self) -> Buffer<u8> {
        let (pool, block) = (Arc::clone(&self.pool), self.block.take());
        Buffer { pool, block, len: self.len * size_of::<T>(), values: PhantomData }
    }

    /// Values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Its address; 0 where it has no values.
    pub(crate) fn address(&self) -> u64 {
        self.block.as_ref().map_or(0, |b| b.address)
    }

    /// The address of value `index`.
    pub(crate) fn at(&self, index: usize) -> u64 {
        self.address() + (index * size_of::<T>()) as u64
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(block) = self.block {
            self.pool.give_back(block);
        }
    }
}

/// A copy to the host that has been asked for. Nobody need wait for it.
pub(crate) struct Landing {
    pool: Arc<Pool>,
    /// There until this is dropped.
    reading: Option<Reading>,
}

impl Landing {
    /// Waits for the copy and for what was asked for before it, not for what was asked for since.
    pub(crate) fn wait<T: Pod>(&self) -> Result<Vec<T>> {
        let Some(reading) = &self.reading else { return Ok(Vec::new()) };
        let mut out = vec![T::zeroed(); reading.bytes() / size_of::<T>()];
        self.pool.staging.finish_read(reading, bytemuck::cast_slice_mut(&mut out))?;
        Ok(out)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.pool.staging.end_read(reading);
        }
    }
}

impl<T: Pod> From<&Buffer<T>> for Arg {
    fn from(buffer: &Buffer<T>) -> Self {
        buffer.address().into()
    }
}

impl<T: Pod> From<&mut Buffer<T>> for Arg {
    fn from(buffer: &mut Buffer<T>) -> Self {
        buffer.address().into()
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, size_class};

    /// The sides of a tensor are below 2³¹.
    #[test]
    fn bytes_beyond_counting_are_none() {
        let square = |side: usize| bytes_of(side * side, 4);
        assert_eq!([1, 1 << 30].map(square), [Some(4), Some(1 << 62)]);
        assert_eq!([(1 << 31) - 1, 1 << 31].map(square), [None; 2]);
        assert_eq!(square(0), Some(0));
        assert_eq!(size_class(i64::MAX as u64), 1 << 63);
    }

    #[test]
    fn classes_are_few_and_near() {
        assert_eq!([1, 512, 513, 4096, 4097].map(size_class), [512, 512, 1024, 4096, 5120]);
        for bytes in 1..200_000 {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(512) && size_class(class) == class);
            assert!(bytes < 4096 || (class - bytes) * 4 <= bytes, "{bytes}: {class}");
        }
        let all: std::collections::BTreeSet<u64> = (1..1 << 20).map(size_class).collect();
        assert!(all.len() <= 8 + 4 * 8, "{}", all.len());
    }
}
