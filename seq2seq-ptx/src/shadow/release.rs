//! Releases and acquires through memory locations.

use super::Clocks;
use super::clock::Snapshot;
use std::collections::HashMap;

/// What strong operations on each location published, by address.
#[derive(Debug, Default)]
pub(crate) struct Releases(HashMap<u64, Vec<Snapshot>>);

/// A strong operation on a location, as its thread does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strong {
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    /// `.acquire` or `.acq_rel`
    pub(crate) acquire: bool,
    /// `.release` or `.acq_rel`
    pub(crate) release: bool,
    /// Scope of the device or wider.
    pub(crate) device: bool,
}

impl Releases {
    /// Orders what lies around a strong operation.
    pub(crate) fn access(&mut self, clocks: &mut Clocks, thread: usize, at: u64, op: Strong) {
        let block = clocks.block;
        if op.reads
            && let Some(list) = self.0.get(&at)
        {
            let visible = |s: &&Snapshot| s.block == block || (s.device && op.device);
            let found: Vec<Snapshot> = list.iter().filter(visible).cloned().collect();
            let t = &mut clocks.threads[thread];
            if op.acquire {
                found.iter().for_each(|s| t.learn(block, s));
            } else {
                t.found.extend(found);
            }
        }
        if !op.writes {
            return;
        }
        if !op.reads {
            self.0.remove(&at);
        }
        if op.release {
            let snapshot = clocks.publish(thread, op.device);
            let list = self.0.entry(at).or_default();
            // Who has just acquired all of it passes it on with its own.
            if op.reads && op.acquire && op.device && list.iter().all(|s| s.device) {
                list.clear();
            }
            list.push(snapshot);
        } else {
            let fenced = &clocks.threads[thread].fenced;
            let published = fenced[1].as_ref().filter(|_| op.device).or(fenced[0].as_ref());
            if let Some(snapshot) = published {
                self.0.entry(at).or_default().push(snapshot.clone());
            }
        }
    }
}

/// A fence: publishes what the thread did for its next strong write, and takes in what its strong reads found.
pub(crate) fn fence(clocks: &mut Clocks, thread: usize, device: bool) {
    let block = clocks.block;
    let t = &mut clocks.threads[thread];
    let found = std::mem::take(&mut t.found);
    let (known, kept): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|s| s.block == block || device);
    known.iter().for_each(|s| t.learn(block, s));
    t.found = kept;
    let snapshot = clocks.publish(thread, device);
    let t = &mut clocks.threads[thread];
    if device {
        t.fenced[1] = Some(snapshot.clone());
    }
    t.fenced[0] = Some(snapshot);
}
