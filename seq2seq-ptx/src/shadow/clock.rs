//! Which access happened before which: vector clocks, one of each thread.
//!
//! A thread's clock grows when it publishes what it did: at a barrier, a fence, a release. `seen[t]` is the latest clock of
//! thread t whose accesses are known to lie before what this thread does now. After a barrier all its threads share one
//! vector, so that a barrier of n threads costs n, not n².

use std::collections::BTreeMap;
use std::rc::Rc;

/// Clocks of the threads of a block.
pub(crate) type Seen = Rc<[u32]>;

/// What is known of other blocks, by block.
pub(crate) type Foreign = Rc<BTreeMap<u32, Seen>>;

/// What one thread knows.
#[derive(Debug, Clone)]
pub(crate) struct ThreadClock {
    /// Its own clock, from 1.
    pub(crate) now: u32,
    /// Clocks of the own block's threads.
    pub(crate) seen: Seen,
    /// Clocks of other blocks' threads, learnt through acquires.
    pub(crate) foreign: Option<Foreign>,
    /// What its last fence published: for the block, and for the device.
    pub(crate) fenced: [Option<Snapshot>; 2],
    /// What strong reads found, to be known after the next fence.
    pub(crate) found: Vec<Snapshot>,
}

/// What a thread knew when it published.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) block: u32,
    pub(crate) seen: Seen,
    pub(crate) foreign: Option<Foreign>,
    /// Whether it holds for other blocks too.
    pub(crate) device: bool,
}

/// What a thread brings to a barrier.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) thread: u32,
    clock: u32,
    seen: Seen,
    foreign: Option<Foreign>,
}

impl Arrived {
    /// The thread's clock as it was.
    pub(crate) fn clock(&self) -> ThreadClock {
        ThreadClock {
            now: self.clock,
            seen: Rc::clone(&self.seen),
            foreign: self.foreign.clone(),
            fenced: [None, None],
            found: Vec::new(),
        }
    }
}

impl ThreadClock {
    /// Whether a thread's accesses up to `clock` are known to lie before.
    pub(crate) fn knows(&self, own_block: u32, block: u32, thread: u32, clock: u32) -> bool {
        let seen = if block == own_block {
            Some(&self.seen)
        } else {
            self.foreign.as_ref().and_then(|f| f.get(&block))
        };
        seen.is_some_and(|s| s[thread as usize] >= clock)
    }

    /// Adds what another thread published.
    pub(crate) fn learn(&mut self, own_block: u32, from: &Snapshot) {
        if from.block == own_block {
            self.seen = later(&self.seen, &from.seen);
        } else {
            let foreign = self.foreign.get_or_insert_default();
            merge(Rc::make_mut(foreign), from.block, &from.seen);
        }
        if let Some(more) = &from.foreign {
            for (block, seen) in more.iter() {
                if *block == own_block {
                    self.seen = later(&self.seen, seen);
                } else {
                    merge(Rc::make_mut(self.foreign.get_or_insert_default()), *block, seen);
                }
            }
        }
    }
}

/// The clocks of all threads of a block.
#[derive(Debug)]
pub(crate) struct Clocks {
    pub(crate) block: u32,
    pub(crate) threads: Vec<ThreadClock>,
}

impl Clocks {
    pub(crate) fn new(block: u32, threads: usize) -> Self {
        let clock = ThreadClock {
            now: 1,
            seen: vec![0; threads].into(),
            foreign: None,
            fenced: [None, None],
            found: Vec::new(),
        };
        Self { block, threads: vec![clock; threads] }
    }

    /// What a thread knows, itself included; its later accesses get a later clock.
    pub(crate) fn publish(&mut self, thread: usize, device: bool) -> Snapshot {
        let t = &mut self.threads[thread];
        let mut seen = t.seen.to_vec();
        seen[thread] = t.now;
        t.now += 1;
        Snapshot { block: self.block, seen: seen.into(), foreign: t.foreign.clone(), device }
    }

    /// A thread comes to a barrier: what it did so far is what the barrier will pass on.
    pub(crate) fn arrive(&mut self, thread: u32) -> Arrived {
        let t = &mut self.threads[thread as usize];
        t.now += 1;
        Arrived { thread, clock: t.now - 1, seen: Rc::clone(&t.seen), foreign: t.foreign.clone() }
    }

    /// What threads had done when they arrived, all together.
    pub(crate) fn join(&self, from: &[Arrived]) -> Snapshot {
        let mut joined: Vec<u32> = vec![0; self.threads.len()];
        let mut last: Option<&Seen> = None;
        let mut foreign: Option<Foreign> = None;
        for a in from {
            if last.is_none_or(|l| !Rc::ptr_eq(l, &a.seen)) {
                joined.iter_mut().zip(a.seen.iter()).for_each(|(j, s)| *j = (*j).max(*s));
                last = Some(&a.seen);
            }
            if let Some(f) = &a.foreign {
                match &mut foreign {
                    None => foreign = Some(Rc::clone(f)),
                    Some(all) if Rc::ptr_eq(all, f) => {}
                    Some(all) => {
                        let all = Rc::make_mut(all);
                        f.iter().for_each(|(block, seen)| merge(all, *block, seen));
                    }
                }
            }
        }
        for a in from {
            let known = &mut joined[a.thread as usize];
            *known = (*known).max(a.clock);
        }
        Snapshot { block: self.block, seen: joined.into(), foreign, device: false }
    }

    /// A barrier completes: what `from` had done lies before all that `to`, who have arrived too, will do.
    pub(crate) fn barrier(&mut self, from: &[Arrived], to: &[u32]) {
        let joined = self.join(from);
        for t in to {
            let t = &mut self.threads[*t as usize];
            t.seen = Rc::clone(&joined.seen);
            t.foreign = joined.foreign.clone();
        }
    }
}

/// Takes the later of each two clocks.
fn later(a: &Seen, b: &Seen) -> Seen {
    if Rc::ptr_eq(a, b) {
        return Rc::clone(a);
    }
    a.iter().zip(b.iter()).map(|(a, b)| *a.max(b)).collect()
}

fn merge(all: &mut BTreeMap<u32, Seen>, block: u32, seen: &Seen) {
    all.entry(block).and_modify(|s| *s = later(s, seen)).or_insert_with(|| Rc::clone(seen));
}
