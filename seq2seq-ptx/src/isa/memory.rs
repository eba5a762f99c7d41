//! Loads and stores.

use crate::Space;
use crate::machine::memory::Way;
use crate::machine::{Step, Stepped, WARP, lanes};
use crate::parse::{Line, Operand, Read, Type};
use crate::program::{Address, Source, Target};
use crate::shadow::release::Strong;

/// Loads and stores.
#[derive(Debug, Clone)]
pub(crate) enum Memory {
    Load {
        way: Way,
        kind: Type,
        at: Address,
        to: Vec<Target>,
    },
    Store {
        way: Way,
        kind: Type,
        at: Address,
        from: Vec<Source>,
    },
    /// Only a hint.
    Prefetch,
}

impl Memory {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if line.name != "ld" && line.name != "st" {
            if line.name.starts_with("prefetch") {
                return Ok(Self::Prefetch);
            }
            return Err(line.unknown());
        }
        let load = line.name == "ld";
        line.cache_hints();
        let strong = strength(line, load, !load);
        let mut space = space(line);
        let count = match line.any(&["v2", "v4"]) {
            Some("v2") => 2,
            Some(_) => 4,
            None => 1,
        };
        let kind = line.one_type()?;
        line.finish(2)?;
        let place = usize::from(load);
        if space == Some(Space::Param) && Self::in_frame(line, place) {
            space = Some(Space::Local);
        }
        let (at, parts) = (line.address(place)?, line.parts(1 - place)?);
        let way = Way { space, bytes: kind.bytes() as usize * count, strong };
        if parts.len() != count || way.bytes > 16 {
            return Err(line.unknown());
        }
        Ok(if load {
            let to = parts.iter().map(|p| line.target_of(p)).collect::<Read<_>>()?;
            Self::Load { way, kind, at, to }
        } else {
            let from = parts.iter().map(|p| line.source_of(p)).collect::<Read<_>>()?;
            Self::Store { way, kind, at, from }
        })
    }

    /// Whether a parameter lies in the frame: of a device function, or of a call.
    fn in_frame(line: &Line<'_, '_, '_>, place: usize) -> bool {
        use crate::parse::Name;
        let Some(Operand::Memory { base, .. }) = line.operands.get(place) else { return false };
        match **base {
            Operand::Variable { name, .. } => matches!(name, Name::Frame(_)),
            _ => !line.draft.function.entry,
        }
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        match self {
            Self::Load { way, kind, at, to } => {
                let addresses = step.addresses(at);
                let values = step.load(&addresses, *way)?;
                for (place, target) in to.iter().enumerate() {
                    let shift = place as u32 * kind.bits();
                    let part = values.map(|v| kind.extend((v >> shift) as u64));
                    step.set(*target, &part);
                }
                if way.strong.is_some() {
                    let lane = step.mask.trailing_zeros() as usize;
                    step.polls(addresses[lane], values[lane] as u64);
                }
            }
            Self::Store { way, kind, at, from } => {
                let mut values = [0u128; WARP];
                for (place, source) in from.iter().enumerate() {
                    let part = step.get(*source);
                    for lane in lanes(step.mask) {
                        let bits = u128::from(part[lane] & kind.mask());
                        values[lane] |= bits << (place as u32 * kind.bits());
                    }
                }
                let addresses = step.addresses(at);
                step.store(&addresses, &values, *way)?;
            }
            Self::Prefetch => {}
        }
        Ok(())
    }
}

/// The space that is named; none for generic addresses.
pub(super) fn space(line: &mut Line<'_, '_, '_>) -> Option<Space> {
    line.find(|m| {
        Some(match m {
            "global" => Space::Global,
            "shared" | "shared::cta" | "shared::cluster" => Space::Shared,
            "local" => Space::Local,
            "const" => Space::Const,
            "param" | "param::entry" | "param::func" => Space::Param,
            _ => return None,
        })
    })
}

/// Takes the modifiers of order and scope; none for weak operations.
pub(super) fn strength(line: &mut Line<'_, '_, '_>, reads: bool, writes: bool) -> Option<Strong> {
    let order = line.any(&["weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"]);
    let scope = line.any(&["cta", "cluster", "gpu", "sys"]);
    let order = order.filter(|o| *o != "weak")?;
    Some(Strong {
        reads,
        writes,
        acquire: matches!(order, "acquire" | "acq_rel"),
        release: matches!(order, "release" | "acq_rel"),
        device: order == "volatile" || matches!(scope, Some("gpu" | "sys")),
    })
}

impl Step<'_> {
    /// Notes a strong read. A second one that finds the same seems to wait for another thread, whose turn it then is.
    pub(crate) fn polls(&mut self, address: u64, value: u64) {
        let now = (self.line, address, value);
        if self.warp.polled == now {
            self.env.poll = true;
        }
        self.warp.polled = now;
    }
}
