//! Storage of activations, weights and caches.
//!
//! [`Buffer`] is a run of plain values on cache-line boundaries. Dropping one leaves its memory in a list of the thread, from
//! which the next one of about that size is served: a decode step, which makes the same buffers over and over, allocates
//! nothing. The lists are thread-local, so there is no lock, and bounded (`recycle.rs`).

mod block;
mod caches;
mod prefetch;
mod readers;
mod recycle;
mod region;
mod split;
mod tensor;

#[cfg(test)]
mod tests;

use block::{Block, Pages};
use bytemuck::Pod;
use seq2seq_core::{Error, Result};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::{fmt, slice};

pub(crate) use caches::second_cache;
pub(crate) use prefetch::{For, prefetch, prefetch_run};
pub(crate) use readers::Readers;
pub(crate) use recycle::keep_steps;
pub(crate) use split::{Chunks, Columns, Runs, Split, Tile, Tiles, VectorTile, Vectors};
pub use tensor::Tensor;

/// Room for what may come is provided at once, in large pages, up to this size. The keys and values of eight sentences
/// lie in more small pages than the processor remembers the places of, which slows a decode step.
const GENEROUS: usize = 64 << 20;

/// `len` plain values, the first on a boundary of 64 bytes.
pub(crate) struct Buffer<T: Pod> {
    /// None where there are no bytes to hold.
    block: Option<Block>,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// Values of which nothing is known but that they are values: zeros, or what an earlier owner left.
    pub(crate) fn scratch(len: usize) -> Self {
        Self::make(len, |bytes| recycle::take(bytes).or_else(|| Block::new(bytes, Pages::Large)))
            .unwrap_or_else(|| Self::out_of_memory(len))
    }

    /// The first `len` values, of which nothing is known; they are another block's where this one has not that many.
    ///
    /// A block that is given back at once is waited for: moving it reads in one piece what was just written in several, which
    /// the processor does behind all stores before it. So loops over small pieces of work keep one.
    pub(crate) fn at_least(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Self::scratch(len);
        }
        &mut self[..len]
    }

    /// Zeros for as long as a model lives, beside those that this thread asked for before: see `region.rs`.
    pub(crate) fn lasting(len: usize) -> Self {
        Self::make(len, Block::lasting).unwrap_or_else(|| Self::out_of_memory(len))
    }

    /// Zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        if let Some(mut recycled) = Self::make(len, recycle::take) {
            recycled.fill(T::zeroed());
            return recycled;
        }
        Self::make(len, |bytes| Block::new(bytes, Pages::Large))
            .unwrap_or_else(|| Self::out_of_memory(len))
    }

    /// Zeros, of which the system provides a page when it is first written: room for what may come and may not.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the system has not that much memory.
    pub(crate) fn sparse(len: usize) -> Result<Self> {
        Self::make(len, |bytes| Block::new(bytes, Pages::Small)).ok_or_else(|| Error::Unsupported {
            what: format!("memory for {len} values of {} bytes", size_of::<T>()),
            hint: "the system has no more".into(),
        })
    }

    /// Values of which nothing is known, not all of which may come to be used: [`scratch`](Self::scratch) where that is
    /// not much, and [`sparse`](Self::sparse) beyond.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the system has not that much memory.
    pub(crate) fn room(len: usize) -> Result<Self> {
        match size_of::<T>().checked_mul(len) {
            Some(bytes) if bytes <= GENEROUS => Ok(Self::scratch(len)),
            _ => Self::sparse(len),
        }
    }

    fn make(len: usize, block: impl FnOnce(usize) -> Option<Block>) -> Option<Self> {
        const { assert!(align_of::<T>() <= block::ALIGN) };
        let block = match size_of::<T>().checked_mul(len)? {
            0 => None,
            bytes => Some(block(bytes)?),
        };
        Some(Self { block, len, values: PhantomData })
    }

    fn out_of_memory(len: usize) -> ! {
        block::out_of_memory(size_of::<T>().saturating_mul(len))
    }

    fn start(&self) -> *mut T {
        self.block.as_ref().map_or(std::ptr::dangling_mut(), |block| block.start().cast())
    }
}

impl<T: Pod> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            recycle::give(block);
        }
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the block holds at least `len` values' bytes, aligned for T; blocks are born zeroed, so all bytes are
        // initialised, and any bytes are values of a Pod type. The block is owned, so `&self` covers the lifetime.
        unsafe { slice::from_raw_parts(self.start(), self.len) }
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; `&mut self` makes the borrow unique.
        unsafe { slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl<T: Pod> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} x {})", self.len, std::any::type_name::<T>())
    }
}
