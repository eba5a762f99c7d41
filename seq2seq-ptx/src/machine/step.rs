//! What an instruction sees: the registers of its lanes, the memory of its block, the world outside.

use super::warp::{Bases, Warp};
use super::{Env, Lanes, WARP, World};
use crate::program::{Predicate, Source, Target};

/// One instruction of one split.
pub(crate) struct Step<'a> {
    /// Lanes that execute it.
    pub(crate) mask: u32,
    pub(crate) bases: Bases,
    pub(crate) warp: &'a mut Warp,
    pub(crate) env: &'a mut Env,
    pub(crate) world: &'a mut World,
    /// Constants of the function.
    pub(crate) constants: &'a [Lanes],
    /// Line of the text.
    pub(crate) line: u32,
    /// The result of the barrier that it waited for.
    pub(crate) passed: Option<u32>,
}

impl Step<'_> {
    /// The lanes' values.
    pub(crate) fn get(&self, source: Source) -> Lanes {
        match source.index() {
            Ok(register) => self.warp.registers[self.bases.registers + register],
            Err(constant) => self.constants[constant],
        }
    }

    /// Writes the values of the lanes that execute.
    pub(crate) fn set(&mut self, target: Target, values: &Lanes) {
        self.warp.products.note(self.bases.registers + target.0 as usize);
        self.put(target, values);
    }

    /// The same for what `wgmma` itself writes.
    pub(crate) fn put(&mut self, target: Target, values: &Lanes) {
        let register = &mut self.warp.registers[self.bases.registers + target.0 as usize];
        if self.mask == u32::MAX {
            *register = *values;
        } else {
            for lane in 0..WARP {
                if self.mask >> lane & 1 == 1 {
                    register[lane] = values[lane];
                }
            }
        }
    }

    /// The lanes for which a predicate holds.
    pub(crate) fn holds(&self, predicate: Predicate) -> u32 {
        let bits = self.warp.predicates[self.bases.predicates + predicate.index as usize];
        if predicate.negated { !bits } else { bits }
    }

    /// Writes a predicate of the lanes that execute.
    pub(crate) fn set_predicate(&mut self, index: u32, bits: u32) {
        let old = &mut self.warp.predicates[self.bases.predicates + index as usize];
        *old = (*old & !self.mask) | (bits & self.mask);
    }

    /// `target = f(a)` for each lane.
    pub(crate) fn map1(&mut self, target: Target, a: Source, f: impl Fn(u64) -> u64) {
        let values = self.get(a).map(f);
        self.set(target, &values);
    }

    /// `target = f(a, b)` for each lane.
    pub(crate) fn map2(
        &mut self,
        target: Target,
        [a, b]: [Source; 2],
        f: impl Fn(u64, u64) -> u64,
    ) {
        let (a, b) = (self.get(a), self.get(b));
        let values = std::array::from_fn(|lane| f(a[lane], b[lane]));
        self.set(target, &values);
    }

    /// `target = f(a, b, c)` for each lane.
    pub(crate) fn map3(
        &mut self,
        target: Target,
        [a, b, c]: [Source; 3],
        f: impl Fn(u64, u64, u64) -> u64,
    ) {
        let (a, b, c) = (self.get(a), self.get(b), self.get(c));
        let values = std::array::from_fn(|lane| f(a[lane], b[lane], c[lane]));
        self.set(target, &values);
    }

    /// The lanes for which `f(a, b)` holds.
    pub(crate) fn compare(&self, [a, b]: [Source; 2], f: impl Fn(u64, u64) -> bool) -> u32 {
        let (a, b) = (self.get(a), self.get(b));
        (0..WARP).fold(0, |bits, lane| bits | u32::from(f(a[lane], b[lane])) << lane)
    }
}
