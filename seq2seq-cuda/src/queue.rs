//! What is asked of the device, in order; and steps, which are asked for as a whole.
//!
//! Between the beginning and the end of a step ([`Queue::begin`], [`Queue::end`]) what its thread asks for is listed rather than
//! done. Where the list is that of a step before, to the byte, it is done as a graph ([`graphs`]): the host asks once, and the
//! device goes from kernel to kernel by itself. **Only equal work is replayed**: nothing has to be said about which steps are alike,
//! and a graph cannot be wrong about lengths or addresses.
//!
//! Four things keep a list in order with what is not listed:
//!
//! - Memory that is freed in a step is given to nobody else before the list has been asked for ([`Queue::hold`]): other threads ask
//!   in between.
//! - Uploads do not wait for the list, so they go to memory that nothing in it uses: never to what was freed in the step.
//! - A download needs what is in the list, which is asked for first ([`Queue::submit`]).
//! - What is listed is shared with no other thread, which would ask for its work before ([`Queue::listed`]): plans of attention are
//!   asked for before they are kept, and rows that are laid out in a step are not kept.

mod graphs;

use crate::driver::{Arg, Driver, FunctionId, Piece, Result, Shape, Work};
use crate::memory::{Block, Blocks};
use graphs::Graphs;
use std::any::Any;
use std::collections::{HashMap, hash_map::Entry};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;

/// In front of a driver.
pub(crate) struct Queue {
    driver: Arc<dyn Driver>,
    /// The steps that threads have begun.
    steps: Mutex<HashMap<ThreadId, Step>>,
    /// None where steps are not replayed; then nothing is listed.
    graphs: Option<Mutex<Graphs>>,
}

/// A step in the making.
#[derive(Default)]
struct Step {
    work: Work,
    /// What was freed in it.
    freed: Blocks,
    /// What the list uses and others may drop.
    kept: Vec<Arc<dyn Any + Send + Sync>>,
    /// Pieces that it has listed, those that were asked for since among them.
    listed: usize,
}

/// The content of both locks is sound whatever happened while it was held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn thread() -> ThreadId {
    std::thread::current().id()
}

impl Queue {
    pub(crate) fn new(driver: Arc<dyn Driver>, graphs: bool) -> Self {
        let graphs = graphs.then(Mutex::default);
        Self { driver, steps: Mutex::default(), graphs }
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// What `with` makes of the step that this thread has begun; none where there is none.
    fn in_step<T>(&self, with: impl FnOnce(&mut Step) -> T) -> Option<T> {
        self.graphs.as_ref()?;
        lock(&self.steps).get_mut(&thread()).map(with)
    }

    /// A piece of work: to the end of the list in a step, at once elsewhere.
    ///
    /// # Safety
    /// That of [`Driver::launch`], where it is a launch. Memory that is freed through the pool counts as allocated until the step
    /// that frees it is over.
    unsafe fn ask(&self, piece: Piece<'_>) -> Result<()> {
        let list = |step: &mut Step| {
            step.work.push(piece);
            step.listed += 1;
        };
        if self.in_step(list).is_some() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { piece.ask(&*self.driver) }
    }

    /// Runs a kernel.
    ///
    /// # Safety
    /// That of [`Driver::launch`]. Memory that is freed through the pool counts as allocated until the step that frees it is
    /// over.
    pub(crate) unsafe fn launch(
        &self,
        function: FunctionId,
        shape: Shape,
        args: &[Arg],
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.ask(Piece::Launch { function, shape, args }) }
    }

    /// Copies within the device.
    pub(crate) fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<()> {
        // SAFETY: not a launch; the driver checks the ranges.
        unsafe { self.ask(Piece::Copy { from, to, bytes }) }
    }

    /// Sets bytes.
    pub(crate) fn fill(&self, to: u64, value: u8, bytes: u64) -> Result<()> {
        // SAFETY: as above.
        unsafe { self.ask(Piece::Fill { to, value, bytes }) }
    }

    /// Begins a step of this thread. False where it has begun one, or where steps are not replayed.
    pub(crate) fn begin(&self) -> bool {
        if self.graphs.is_none() {
            return false;
        }
        match lock(&self.steps).entry(thread()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Step::default());
                true
            }
        }
    }

    /// Holds a freed block back until the step is over; false where this thread is in none.
    pub(crate) fn hold(&self, block: Block) -> bool {
        self.in_step(|step| step.freed.add(block)).is_some()
    }

    /// A block of exactly so many bytes that was freed in the step.
    pub(crate) fn reuse(&self, bytes: u64) -> Option<Block> {
        self.in_step(|step| step.freed.take(bytes)).flatten()
    }

    /// Sees to it that `value`, which the list uses, is dropped only behind it.
    pub(crate) fn keep<T: Any + Send + Sync>(&self, value: &Arc<T>) {
        self.in_step(|step| step.kept.push(Arc::clone(value) as _));
    }

    /// How many pieces the step of this thread has listed since it began; none where there is no step. What it has listed is not for
    /// other threads: what they ask for comes before it.
    pub(crate) fn listed(&self) -> Option<usize> {
        self.in_step(|step| step.listed)
    }

    /// Asks for what the step has listed so far, and gives the memory that may now go to others.
    pub(crate) fn submit(&self) -> (Blocks, Result<()>) {
        let so_far = |step: &mut Step| {
            let listed = step.listed;
            std::mem::replace(step, Step { listed, ..Step::default() })
        };
        match self.in_step(so_far) {
            Some(step) => self.ask_for(step),
            None => (Blocks::default(), Ok(())),
        }
    }

    /// The same, and the step is over.
    pub(crate) fn end(&self) -> (Blocks, Result<()>) {
        let step = lock(&self.steps).remove(&thread());
        step.map_or_else(|| (Blocks::default(), Ok(())), |step| self.ask_for(step))
    }

    fn ask_for(&self, step: Step) -> (Blocks, Result<()>) {
        let Step { work, freed, kept, .. } = step;
        let asked = match &self.graphs {
            Some(graphs) if !work.is_empty() => {
                // SAFETY: whoever listed a launch has promised that its arguments are right; its memory was allocated then, and
                // what was freed since is in `freed` and `kept`.
                unsafe { lock(graphs).run(&*self.driver, work) }
            }
            _ => Ok(()),
        };
        drop(kept);
        (freed, asked)
    }

    /// Gives all graphs back.
    pub(crate) fn forget(&self) {
        if let Some(graphs) = &self.graphs {
            lock(graphs).clear(&*self.driver);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.forget();
    }
}
