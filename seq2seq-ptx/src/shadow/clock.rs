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

    /// A barrier: what `from` did lies before all that `to` will do.
    pub(crate) fn barrier(&mut self, from: &[u32], to: &[u32]) {
        let mut joined: Vec<u32> = vec![0; self.threads.len()];
        let mut last: Option<Seen> = None;
        let mut foreign: Option<Foreign> = None;
        for t in from {
            let t = &self.threads[*t as usize];
            if last.as_ref().is_none_or(|l| !Rc::ptr_eq(l, &t.seen)) {
                joined.iter_mut().zip(t.seen.iter()).for_each(|(j, s)| *j = (*j).max(*s));
                last = Some(Rc::clone(&t.seen));
            }
            if let Some(f) = &t.foreign {
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
        for t in from {
            joined[*t as usize] = self.threads[*t as usize].now;
            self.threads[*t as usize].now += 1;
        }
        let joined: Seen = joined.into();
        for t in to {
            let own = from.contains(t) || from.len() == self.threads.len();
            let t = &mut self.threads[*t as usize];
            t.seen = if own { Rc::clone(&joined) } else { later(&t.seen, &joined) };
            match (&foreign, own) {
                (None, _) => {}
                (Some(all), true) => t.foreign = Some(Rc::clone(all)),
                (Some(all), false) => {
                    let known = Rc::make_mut(t.foreign.get_or_insert_default());
                    all.iter().for_each(|(block, seen)| merge(known, *block, seen));
                }
            }
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
