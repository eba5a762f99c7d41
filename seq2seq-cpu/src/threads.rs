//! One pool: the caller and its workers run a job together and meet at its end.
//!
//! A decode step is about a hundred small jobs, so what counts is the time from the end of one to the start of the next.
//! Waiting threads spin for [`SPIN`] first, which makes a meeting cost 0.2 µs where jobs follow each other, and sleep then,
//! so that an idle pool costs nothing.
//!
//! Nobody waits for a sleeper. Waking one takes about 45 µs (on the virtual machine this was measured on), and a busy
//! machine may take milliseconds; a worker that comes when the caller has run out of work finds the job closed. So a job
//! does not divide itself among the workers: each takes what is left, as long as something is.
//!
//! The pool has no queue either. A request that finds it busy with another one runs its job alone, on its own thread:
//! every kernel gives the same bits on any number of threads, so only the time differs.

mod affinity;

use crate::memory::Split;
use affinity::Placement;
use seq2seq_core::{Error, Result};
use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread that waits stays awake. The gaps inside a decode step are shorter.
const SPIN: Duration = Duration::from_micros(200);

/// More threads than any machine has; a larger count is a mistake of the caller.
const MOST: usize = 4096;

/// Work below this many element-wise steps (about a microsecond) is not worth a meeting.
const GRAIN: usize = 8192;

/// In how many pieces a thread would take its part of a job if all were equally fast.
const SHARES: usize = 8;

type Job<'a> = dyn Fn() + Sync + 'a;
type Panic = Box<dyn Any + Send>;

/// A pool of threads; dropping it ends them.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    placement: Placement,
}

/// Keeps what different threads write on different cache lines (two, as processors fetch them in pairs).
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

struct Shared {
    /// Held by the request whose job runs.
    busy: Line<AtomicBool>,
    state: Line<AtomicU64>,
    job: UnsafeCell<Option<*const Job<'static>>>,
    stop: AtomicBool,
    /// Which workers sleep.
    asleep: Box<[Line<AtomicBool>]>,
    /// Whether the caller sleeps, and who it is.
    caller_asleep: AtomicBool,
    caller: Mutex<Option<Thread>>,
    /// What the first worker to fail panicked with.
    panic: Mutex<Option<Panic>>,
}

/// `Shared::state`, low to high: the workers that are at the job, whether more may join, how many jobs there have been.
mod state {
    pub(super) const WORKERS: u64 = 0xffff;
    pub(super) const OPEN: u64 = 1 << 16;
    pub(super) const JOB: u64 = 1 << 17;
}

// SAFETY: `job` is the only field that is not. It is written by the holder of `busy` while the state is closed and without
// workers, and read by workers that have joined while it was open and have not left. All accesses of the state are SeqCst.
unsafe impl Sync for Shared {}
// SAFETY: see Sync; the pointer in `job` is to a Sync closure.
unsafe impl Send for Shared {}

impl Threads {
    /// A pool in which `count` threads work: the caller and `count - 1` workers. Without a count, one for each physical
    /// core that this process may use.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a count of 0 or beyond any machine; [`Error::Unsupported`] where the system gives no more
    /// threads.
    pub(crate) fn new(count: Option<usize>) -> Result<Self> {
        let count = count.unwrap_or_else(affinity::physical_cores);
        if count == 0 || count > MOST {
            return Err(Error::invalid("threads", format!("{count} threads; give 1 to {MOST}")));
        }
        let shared = Arc::new(Shared {
            busy: Line::default(),
            state: Line::default(),
            job: UnsafeCell::new(None),
            stop: AtomicBool::new(false),
            asleep: (1..count).map(|_| Line::default()).collect(),
            caller_asleep: AtomicBool::new(false),
            caller: Mutex::new(None),
            panic: Mutex::new(None),
        });
        // Dropped on an early return, which ends the workers there are.
        let mut pool = Self { shared, handles: Vec::new(), placement: Placement::new(count) };
        for worker in 1..count {
            let (shared, tids) = (pool.shared.clone(), pool.placement.tids());
            let body = move || {
                tids.enter(worker - 1);
                shared.work(worker);
            };
            let spawned = thread::Builder::new().name(format!("seq2seq-{worker}")).spawn(body);
            let handle = spawned.map_err(|e| Error::Unsupported {
                what: format!("a pool of {count} threads"),
                hint: format!("the system gave {worker}: {e}"),
            })?;
            pool.handles.push(handle);
        }
        Ok(pool)
    }

    /// The number of threads that work, the caller included.
    pub(crate) fn count(&self) -> usize {
        self.handles.len() + 1
    }

    /// Calls `f` on this thread, and at the same time on every worker that comes before this call has ended; returns when
    /// all calls have. `f` takes its share as it goes: the caller's call must leave nothing undone that no other has begun.
    ///
    /// Only this thread calls it where the pool is busy with another request (or with an outer call). A panic in any
    /// call is raised here after all have ended.
    fn run(&self, f: &Job<'_>) {
        let shared = &*self.shared;
        if self.handles.is_empty() || shared.busy.0.swap(true, Acquire) {
            return f();
        }
        // SAFETY: only the lifetime changes. Workers use the pointer while they are counted in the state, and this
        // function neither returns nor unwinds before the state is closed and without workers.
        let job = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(f) };
        // SAFETY: this thread holds `busy`, and the last holder left the state closed and without workers.
        unsafe { *shared.job.get() = Some(job) };
        shared.state.0.fetch_add(state::JOB | state::OPEN, SeqCst);
        self.wake();

        let own = catch_unwind(AssertUnwindSafe(f));
        shared.state.0.fetch_and(!state::OPEN, SeqCst);
        let alone = || shared.state.0.load(SeqCst) & state::WORKERS == 0;
        wait_until(alone, &shared.caller_asleep, || {
            *lock(&shared.caller) = Some(thread::current());
        });
        let others = lock(&shared.panic).take();
        shared.busy.0.store(false, Release);
        if let Some(panic) = own.err().or(others) {
            resume_unwind(panic);
        }
    }

    /// Calls `f` once for each index below `count`, on whichever thread is free first, with something that each thread
    /// makes once. An index takes about `cost` element-wise steps; where all together are few, they run in turn on this thread.
    ///
    /// Neighbours go to one thread, a [`SHARES`]th of its part at a time: what they read and write follows each other in
    /// memory.
    fn each<T>(
        &self,
        count: usize,
        cost: usize,
        make: impl Fn() -> T + Sync,
        f: impl Fn(&mut T, usize) + Sync,
    ) {
        if count <= 1 || count.saturating_mul(cost) < GRAIN {
            let mut own = make();
            return (0..count).for_each(|i| f(&mut own, i));
        }
        let next = Line(AtomicUsize::new(0));
        let share = (count / (self.count() * SHARES)).max(1);
        self.run(&|| {
            let mut own = make();
            loop {
                match next.0.fetch_add(share, Relaxed) {
                    first if first < count => {
                        (first..count.min(first + share)).for_each(|i| f(&mut own, i));
                    }
                    _ => break,
                }
            }
        });
    }

    /// Calls `f` once for each part of `split`, on whichever thread is free first. A part takes about `cost` element-wise
    /// steps.
    pub(crate) fn each_part<S: Split>(
        &self,
        split: S,
        cost: usize,
        f: impl Fn(usize, S::Part) + Sync,
    ) {
        self.each_part_with(split, cost, || (), |(), i, part| f(i, part));
    }

    /// As [`each_part`](Self::each_part), with something that each thread makes once, for all of its parts.
    pub(crate) fn each_part_with<S: Split, T>(
        &self,
        split: S,
        cost: usize,
        make: impl Fn() -> T + Sync,
        f: impl Fn(&mut T, usize, S::Part) + Sync,
    ) {
        self.each(split.count(), cost, make, |own, i| {
            // SAFETY: `each` gives every index below the count once, and `split` is ours to the end.
            f(own, i, unsafe { split.part(i) });
        });
    }

    /// Wakes the workers that sleep.
    fn wake(&self) {
        let sleeping = |flag: &Line<AtomicBool>| flag.0.load(SeqCst);
        if self.shared.asleep.iter().any(sleeping) {
            self.placement.keep_off_this_core();
            for (handle, flag) in self.handles.iter().zip(&self.shared.asleep) {
                if sleeping(flag) {
                    handle.thread().unpark();
                }
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for handle in self.handles.drain(..) {
            handle.thread().unpark();
            // A worker catches the panics of its jobs; there is nothing else to hear.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// The life of a worker.
    fn work(&self, worker: usize) {
        let mut done = 0;
        while self.join(&mut done, worker) {
            // SAFETY: this worker has joined, so the caller waits for it, and the closure lives.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(job))
            {
                lock(&self.panic).get_or_insert(panic);
            }
            let before = self.state.0.fetch_sub(1, SeqCst);
            let last = before & state::WORKERS == 1 && before & state::OPEN == 0;
            if last
                && self.caller_asleep.load(SeqCst)
                && let Some(caller) = &*lock(&self.caller)
            {
                caller.unpark();
            }
        }
    }

    /// Waits for a job other than `done` and joins it; false where the pool ends.
    fn join(&self, done: &mut u64, worker: usize) -> bool {
        loop {
            let open = |now: u64| now & state::OPEN != 0 && now / state::JOB != *done;
            let stop = || self.stop.load(SeqCst);
            let ready = || open(self.state.0.load(SeqCst)) || stop();
            wait_until(ready, &self.asleep[worker - 1].0, || ());
            if stop() {
                return false;
            }
            let now = self.state.0.load(SeqCst);
            let join = || self.state.0.compare_exchange(now, now + 1, SeqCst, SeqCst);
            if open(now) && join().is_ok() {
                *done = now / state::JOB;
                return true;
            }
        }
    }
}

/// Spins until `ready`, or sleeps after a while: announced in `asleep`, after `prepare`.
///
/// Whoever makes `ready` true must look at `asleep` afterwards. Both sides are SeqCst: either this thread sees the
/// change before it parks, or the other sees the flag and unparks it.
fn wait_until(ready: impl Fn() -> bool, asleep: &AtomicBool, prepare: impl Fn()) {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if ready() {
                return;
            }
            spin_loop();
        }
        if start.elapsed() > SPIN {
            break;
        }
    }
    prepare();
    asleep.store(true, SeqCst);
    while !ready() {
        thread::park();
    }
    asleep.store(false, SeqCst);
}

/// No code panics while it holds one of the locks here, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
