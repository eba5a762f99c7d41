//! One step of a warp: an instruction of one of its splits.

use super::block::Code;
use super::warp::{Bases, Frame, Split, Wait, Warp};
use super::{Env, Flow, Step, Stepped, World, lanes, trip};
use crate::FaultKind;
use crate::isa::Together;
use crate::program::{Function, Instruction, Source};

/// One step of a warp.
pub(crate) struct Runner<'r, 'm> {
    pub(crate) warp: &'r mut Warp,
    pub(crate) env: &'r mut Env,
    pub(crate) world: &'r mut World,
    pub(crate) code: &'r Code<'m>,
    pub(crate) split: usize,
}

impl<'m> Runner<'_, 'm> {
    /// Runs the split's next instruction, or finds that it has to wait.
    pub(crate) fn step(&mut self) -> Stepped<()> {
        let split = &self.warp.splits[self.split];
        let (mask, pc) = (split.mask, split.pc);
        let code = self.code;
        let Some(instruction) = code.function(split.function).code.get(pc as usize) else {
            self.leave();
            return Ok(());
        };
        let active = mask & self.guard(instruction);
        if active == 0 {
            self.go(pc + 1);
            return Ok(());
        }
        let together = instruction.op.together();
        if active != mask && (instruction.op.moves() || together != Together::No) {
            self.warp.part(self.split, mask & !active, pc + 1);
        }
        let Some(active) = self.gather(together, active)? else { return Ok(()) };
        let flow = self.execute(instruction, active)?;
        self.follow(flow, pc)
    }

    fn guard(&mut self, instruction: &Instruction) -> u32 {
        let Some(guard) = instruction.guard else { return u32::MAX };
        let base = self.warp.splits[self.split].bases.predicates;
        let bits = self.warp.predicates[base + guard.index as usize];
        if guard.negated { !bits } else { bits }
    }

    /// The lanes that can execute an instruction that lanes execute together; none if they wait.
    fn gather(&mut self, together: Together, active: u32) -> Stepped<Option<u32>> {
        let ready = match together {
            Together::No => return Ok(Some(active)),
            Together::Warp => self.all_of_warp(active)?,
            Together::Full => self.all_of_warp(active).and_then(|ready| self.full(ready))?,
            Together::Named(mask) => self.named(mask, active)?,
        };
        let split = &mut self.warp.splits[self.split];
        if ready == 0 {
            split.wait = Wait::Lanes;
            return Ok(None);
        }
        if ready != active {
            // Lanes that wait for others stay here; those that are complete go on.
            let waiting = Split { mask: active & !ready, wait: Wait::Lanes, ..split.clone() };
            split.mask = ready;
            self.warp.splits.push(waiting);
        }
        Ok(Some(ready))
    }

    /// `.aligned`: all lanes of the warp, or none yet.
    fn all_of_warp(&self, active: u32) -> Stepped<u32> {
        let gone = self.warp.exited;
        if gone != 0 {
            let what = format!("lanes {gone:#010x} ended before an instruction for whole warps");
            let lane = active.trailing_zeros() as usize;
            return Err(trip(lane, FaultKind::Divergence(what)));
        }
        Ok(if active == self.warp.lanes { active } else { 0 })
    }

    /// Matrices are spread over all 32 lanes, which the last warp of a block may lack.
    fn full(&self, ready: u32) -> Stepped<u32> {
        if self.warp.lanes == u32::MAX {
            return Ok(ready);
        }
        let what = format!("a matrix instruction in a warp of lanes {:#010x}", self.warp.lanes);
        Err(trip(self.warp.lanes.trailing_zeros() as usize, FaultKind::Divergence(what)))
    }

    /// The lanes whose mask names only lanes that are here or have ended.
    fn named(&self, mask: Source, active: u32) -> Stepped<u32> {
        let bases = self.warp.splits[self.split].bases;
        let masks = match mask.index() {
            Ok(register) => self.warp.registers[bases.registers + register],
            Err(constant) => {
                let function = self.warp.splits[self.split].function;
                self.code.constants[function as usize][constant]
            }
        };
        let mut ready = 0;
        for lane in lanes(active) {
            let named = masks[lane] as u32;
            if named >> lane & 1 == 0 {
                let reason = format!("is not in the mask {named:#010x} that it names");
                return Err(trip(lane, FaultKind::InactiveLane { lane: lane as u32, reason }));
            }
            let same = |l: &usize| masks[*l] as u32 == named;
            let here = lanes(active).filter(same).fold(0u32, |bits, l| bits | 1 << l);
            if named & self.warp.live() & !here == 0 {
                ready |= 1 << lane;
            }
        }
        Ok(ready)
    }

    fn execute(&mut self, instruction: &Instruction, active: u32) -> Stepped<Flow> {
        let split = &mut self.warp.splits[self.split];
        let (bases, function) = (split.bases, split.function);
        let passed = split.passed.take();
        let mut step = Step {
            mask: active,
            bases,
            warp: self.warp,
            env: self.env,
            world: self.world,
            constants: &self.code.constants[function as usize],
            line: instruction.line,
            passed,
        };
        instruction.op.run(&mut step)
    }

    /// Moves the split to an instruction, and joins it with one that is there.
    fn go(&mut self, pc: u32) {
        self.warp.splits[self.split].pc = pc;
        if self.warp.splits.len() > 1 {
            self.warp.merge(self.split);
        }
    }

    fn follow(&mut self, flow: Flow, pc: u32) -> Stepped<()> {
        match flow {
            Flow::Next => self.go(pc + 1),
            Flow::Jump(target) => self.go(target),
            Flow::Scatter(targets) => {
                // The last of them stay in this split.
                let stay = targets.last().map_or(pc, |(_, target)| *target);
                for (mask, target) in targets.iter().rev().skip(1) {
                    self.warp.part(self.split, *mask, *target);
                }
                self.go(stay);
            }
            Flow::Wait(wait) => self.warp.splits[self.split].wait = wait,
            Flow::Exit => self.exit(),
            Flow::Return => self.leave(),
            Flow::Call(function, arguments, results) => {
                self.enter(function, &arguments, results, pc + 1)?;
            }
        }
        Ok(())
    }

    fn exit(&mut self) {
        self.env.live -= self.warp.splits[self.split].mask.count_ones();
        self.warp.exit(self.split);
    }

    /// Calls a function: its frame comes after the caller's.
    fn enter(
        &mut self,
        index: u32,
        arguments: &[u32],
        results: Box<[u32]>,
        back: u32,
    ) -> Stepped<()> {
        let split = &self.warp.splits[self.split];
        let (mask, old) = (split.mask, split.bases);
        let lane = mask.trailing_zeros() as usize;
        let (caller, callee) = (self.code.function(split.function), self.code.function(index));
        if !callee.defined {
            let what = format!("call of {}, which is not defined here", callee.name);
            return Err(trip(lane, FaultKind::Invalid(what)));
        }
        if split.stack.len() >= 64 {
            return Err(trip(lane, FaultKind::Invalid("more than 64 nested calls".into())));
        }
        let bases = self.after(caller, old);
        self.warp.reserve(bases, callee.registers, callee.predicates, callee.frame);
        for lane in lanes(mask) {
            self.warp.local.forget(lane, bases.frame, callee.frame as usize);
            for (from, to) in arguments.iter().zip(&callee.parameters) {
                let (from, length) = (old.frame + *from as usize, to.bytes as usize);
                self.warp.local.copy(lane, from, bases.frame + to.offset as usize, length);
            }
        }
        let split = &mut self.warp.splits[self.split];
        let frame = Frame { function: split.function, pc: back, bases: old, results };
        split.stack.push(frame);
        (split.function, split.bases) = (index, bases);
        self.go(0);
        Ok(())
    }

    fn after(&self, caller: &Function, old: Bases) -> Bases {
        Bases {
            registers: old.registers + caller.registers as usize,
            predicates: old.predicates + caller.predicates as usize,
            frame: (old.frame + caller.frame as usize).next_multiple_of(16),
        }
    }

    /// Goes back to the caller with the results; without one the lanes end.
    fn leave(&mut self) {
        let split = &mut self.warp.splits[self.split];
        let Some(frame) = split.stack.pop() else { return self.exit() };
        let (mask, inner) = (split.mask, split.bases.frame);
        let callee = self.code.function(split.function);
        (split.function, split.bases) = (frame.function, frame.bases);
        for lane in lanes(mask) {
            for (from, to) in callee.returns.iter().zip(&frame.results) {
                let (at, length) = (inner + from.offset as usize, from.bytes as usize);
                self.warp.local.copy(lane, at, frame.bases.frame + *to as usize, length);
            }
        }
        self.go(frame.pc);
    }
}
