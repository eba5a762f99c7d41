//! Which cores the workers may use.
//!
//! A worker that is woken while the caller spins must not land on the caller's core: the scheduler likes to put it there,
//! where it waits for the spinning caller to be moved away (measured: 408 µs against 46 µs). So the workers may run
//! anywhere but on the core that the caller is on when it wakes them. Among the other cores the scheduler chooses; other
//! processes have a say in that, and pinning each worker to one core would take it away.

use std::sync::Arc;

/// The number of cores that this process may use, hardware threads of one core counted once.
pub(super) fn physical_cores() -> usize {
    let limit = std::thread::available_parallelism().map_or(1, usize::from);
    system::physical_cores().map_or(limit, |cores| cores.clamp(1, limit))
}

/// Where the workers of one pool may run.
pub(super) struct Placement {
    tids: Arc<system::Tids>,
    /// The cores of the process, where there is one for each thread of the pool.
    cores: Option<system::Cores>,
}

impl Placement {
    /// For a pool of `count` threads, the caller included.
    pub(super) fn new(count: usize) -> Self {
        let cores = system::Cores::allowed().filter(|cores| count > 1 && cores.count() >= count);
        Self { tids: Arc::new(system::Tids::new(count - 1)), cores }
    }

    /// What each worker enters itself in.
    pub(super) fn tids(&self) -> Arc<system::Tids> {
        self.tids.clone()
    }

    /// Lets the workers run on every core but that of the calling thread. Cheap where that is the same as last time.
    pub(super) fn keep_off_this_core(&self) {
        if let Some(cores) = &self.cores {
            cores.keep_off(&self.tids);
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::HashSet;
    use std::mem::size_of;
    use std::sync::atomic::{AtomicI32, Ordering::*};

    /// The kernel's ids of the workers; 0 before a worker has entered itself.
    pub(in super::super) struct Tids(Box<[AtomicI32]>);

    impl Tids {
        pub(super) fn new(workers: usize) -> Self {
            Self((0..workers).map(|_| AtomicI32::new(0)).collect())
        }

        /// Enters the calling thread.
        pub(in super::super) fn enter(&self, worker: usize) {
            // SAFETY: gettid has no preconditions. (`libc::gettid` is missing in older C libraries.)
            let tid = unsafe { libc::syscall(libc::SYS_gettid) };
            self.0[worker].store(tid as i32, Release);
        }
    }

    /// The cores that the process may use.
    pub(super) struct Cores {
        set: libc::cpu_set_t,
        /// The core that the workers were last kept off; -1 before the first time.
        avoided: AtomicI32,
    }

    impl Cores {
        pub(super) fn allowed() -> Option<Self> {
            // SAFETY: a cpu_set_t is a plain array of bits, and all zeros is the empty set.
            let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: `set` is writable and as long as stated; 0 is the calling thread.
            let failed =
                unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
            (failed == 0).then_some(Self { set, avoided: AtomicI32::new(-1) })
        }

        pub(super) fn count(&self) -> usize {
            self.iter().count()
        }

        pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
            // SAFETY: CPU_ISSET asks for an index below CPU_SETSIZE.
            (0..libc::CPU_SETSIZE as usize).filter(|&c| unsafe { libc::CPU_ISSET(c, &self.set) })
        }

        pub(super) fn keep_off(&self, tids: &Tids) {
            // SAFETY: sched_getcpu has no preconditions.
            let core = unsafe { libc::sched_getcpu() };
            if !(0..libc::CPU_SETSIZE).contains(&core) || core == self.avoided.load(Relaxed) {
                return;
            }
            let mut set = self.set;
            // SAFETY: the index was just seen to be below CPU_SETSIZE.
            unsafe { libc::CPU_CLR(core as usize, &mut set) };
            let mut all = true;
            for tid in tids.0.iter().map(|tid| tid.load(Acquire)) {
                all &= tid != 0;
                if tid != 0 {
                    // SAFETY: `set` is readable and as long as stated; the thread is a worker of this pool, which its
                    // owner has not dropped. A refusal leaves the worker where it was, which is only slower.
                    unsafe { libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), &set) };
                }
            }
            if all {
                self.avoided.store(core, Relaxed);
            }
        }
    }

    pub(super) fn physical_cores() -> Option<usize> {
        let siblings = |core| {
            let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
            std::fs::read_to_string(path).ok()
        };
        Some(Cores::allowed()?.iter().map(siblings).collect::<Option<HashSet<_>>>()?.len())
    }
}

/// Other systems place threads well, or offer no way to ask.
#[cfg(not(target_os = "linux"))]
mod system {
    pub(in super::super) struct Tids;

    impl Tids {
        pub(super) fn new(_workers: usize) -> Self {
            Self
        }

        pub(in super::super) fn enter(&self, _worker: usize) {}
    }

    pub(super) enum Cores {}

    impl Cores {
        pub(super) fn allowed() -> Option<Self> {
            None
        }

        pub(super) fn count(&self) -> usize {
            match *self {}
        }

        pub(super) fn keep_off(&self, _tids: &Tids) {
            match *self {}
        }
    }

    pub(super) fn physical_cores() -> Option<usize> {
        None
    }
}
