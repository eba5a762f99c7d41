//! Moves between registers, addresses, special registers.

use crate::Space;
use crate::machine::memory::{LOCAL_WINDOW, SHARED_WINDOW, resolve};
use crate::machine::{Lanes, Step, WARP};
use crate::parse::{LaneMask, Line, Operand, Read, Special, Type};
use crate::program::{Constant, Predicate, Source, Target};

/// Moves.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    Value {
        kind: Type,
        to: Target,
        from: Source,
    },
    Special {
        to: Target,
        from: Special,
    },
    Predicate {
        to: u32,
        from: Predicate,
    },
    SetPredicate {
        to: u32,
        value: bool,
    },
    /// Address of a variable in the frame.
    Frame {
        to: Target,
        from: Source,
    },
    /// Several registers into one, the first in the lowest bits.
    Pack {
        bits: u32,
        to: Target,
        from: Vec<Source>,
    },
    /// One register into several.
    Unpack {
        bits: u32,
        to: Vec<Target>,
        from: Source,
    },
    /// From an address in a space to a generic one, or back.
    Address {
        space: Space,
        generic: bool,
        to: Target,
        from: Source,
    },
    InSpace {
        space: Space,
        to: u32,
        from: Source,
    },
}

impl Move {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        match line.name {
            "mov" => Self::plain(line),
            "cvta" => {
                let generic = !line.flag("to");
                let space = space(line)?;
                line.one_type()?;
                line.finish(2)?;
                if let Some(Self::Frame { to, from }) = Self::frame(line)? {
                    return Err(line.failure(&format!("a local variable in cvta {to:?} {from:?}")));
                }
                Ok(Self::Address { space, generic, to: line.target(0)?, from: line.source(1)? })
            }
            _ => {
                let space = space(line)?;
                line.finish(2)?;
                Ok(Self::InSpace { space, to: line.predicate_target(0)?, from: line.source(1)? })
            }
        }
    }

    fn plain(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let kind = line.one_type()?;
        line.finish(2)?;
        if kind == Type::Pred {
            let to = line.predicate_target(0)?;
            return Ok(match line.operands[1] {
                Operand::Number(value) => Self::SetPredicate { to, value: value != 0 },
                _ => Self::Predicate { to, from: line.predicate(1)? },
            });
        }
        if let Some(frame) = Self::frame(line)? {
            return Ok(frame);
        }
        match (line.operands[0].clone(), line.operands[1].clone()) {
            (_, Operand::Special(from)) => Ok(Self::Special { to: line.target(0)?, from }),
            (_, Operand::Label(name)) => Err(line.failure(&format!("{name} is not a variable"))),
            (Operand::Vector(parts), _) => {
                let to = parts.iter().map(|p| line.target_of(p)).collect::<Read<Vec<_>>>()?;
                let bits = Self::part(line, kind, to.len())?;
                Ok(Self::Unpack { bits, to, from: line.source(1)? })
            }
            (_, Operand::Vector(parts)) => {
                let from = parts.iter().map(|p| line.source_of(p)).collect::<Read<Vec<_>>>()?;
                let bits = Self::part(line, kind, from.len())?;
                Ok(Self::Pack { bits, to: line.target(0)?, from })
            }
            _ => Ok(Self::Value { kind, to: line.target(0)?, from: line.source(1)? }),
        }
    }

    /// Bits of each part of a register.
    fn part(line: &Line<'_, '_, '_>, kind: Type, parts: usize) -> Read<u32> {
        match parts {
            1 | 2 | 4 | 8 if kind.bits() >= 8 * parts as u32 => Ok(kind.bits() / parts as u32),
            _ => Err(line.failure(&format!("{parts} parts of {} bits", kind.bits()))),
        }
    }

    /// The address of a variable in the frame, if that is what is moved.
    fn frame(line: &mut Line<'_, '_, '_>) -> Read<Option<Self>> {
        let Operand::Variable { name, offset } = line.operands[1] else { return Ok(None) };
        let found = line.draft.variable(name, offset).map_err(|e| line.failure(&e))?;
        let (Constant::Bits(at), true) = found else { return Ok(None) };
        Ok(Some(Self::Frame { to: line.target(0)?, from: line.number(at) }))
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) {
        match self {
            Self::Value { kind, to, from } => step.map1(*to, *from, |a| a & kind.mask()),
            Self::Special { to, from } => {
                let values = special(*from, step);
                step.set(*to, &values);
            }
            Self::Predicate { to, from } => {
                let bits = step.holds(*from);
                step.set_predicate(*to, bits);
            }
            Self::SetPredicate { to, value } => {
                step.set_predicate(*to, if *value { u32::MAX } else { 0 });
            }
            Self::Frame { to, from } => {
                let frame = step.bases.frame as u64;
                step.map1(*to, *from, |a| a.wrapping_add(frame));
            }
            Self::Pack { bits, to, from } => {
                let mut values: Lanes = [0; WARP];
                let mask = u64::MAX >> (64 - bits);
                for (place, part) in from.iter().enumerate() {
                    let part = step.get(*part);
                    for lane in 0..WARP {
                        values[lane] |= (part[lane] & mask) << (place as u32 * bits);
                    }
                }
                step.set(*to, &values);
            }
            Self::Unpack { bits, to, from } => {
                let (whole, mask) = (step.get(*from), u64::MAX >> (64 - bits));
                for (place, part) in to.iter().enumerate() {
                    let values = whole.map(|v| v >> (place as u32 * bits) & mask);
                    step.set(*part, &values);
                }
            }
            Self::Address { space, generic, to, from } => {
                let window = match space {
                    Space::Shared => SHARED_WINDOW,
                    Space::Local => LOCAL_WINDOW,
                    _ => 0,
                };
                step.map1(*to, *from, |a| {
                    if *generic { a.wrapping_add(window) } else { a.wrapping_sub(window) }
                });
            }
            Self::InSpace { space, to, from } => {
                let bits = step.compare([*from, *from], |a, _| resolve(None, a).0 == *space);
                step.set_predicate(*to, bits);
            }
        }
    }
}

/// The space that an address conversion names.
fn space(line: &mut Line<'_, '_, '_>) -> Read<Space> {
    let found = line.find(|m| {
        Some(match m {
            "global" => Space::Global,
            "shared" | "shared::cta" => Space::Shared,
            "local" => Space::Local,
            "const" => Space::Const,
            "param" => Space::Param,
            _ => return None,
        })
    });
    found.filter(|s| *s != Space::Param).ok_or_else(|| line.unknown())
}

fn special(register: Special, step: &Step<'_>) -> Lanes {
    let (shape, env) = (&step.world.shape, &*step.env);
    let all = |value: u64| [value; WARP];
    let [x, y, _] = shape.block;
    let lane_mask = |kind: LaneMask, lane: usize| {
        let (own, below) = (1u32 << lane, (1u32 << lane) - 1);
        match kind {
            LaneMask::Equal => own,
            LaneMask::Less => below,
            LaneMask::LessEqual => below | own,
            LaneMask::Greater => !(below | own),
            LaneMask::GreaterEqual => !below,
        }
    };
    match register {
        Special::Thread(axis) => std::array::from_fn(|lane| {
            let thread = step.thread(lane);
            u64::from([thread % x, thread / x % y, thread / x / y][axis])
        }),
        Special::Threads(axis) => all(shape.block[axis].into()),
        Special::Block(axis) => all(env.place[axis].into()),
        Special::Blocks(axis) => all(shape.grid[axis].into()),
        Special::Lane => std::array::from_fn(|lane| lane as u64),
        Special::Warp => all(step.warp.index as u64),
        Special::Warps => all(shape.block.iter().product::<u32>().div_ceil(32).into()),
        Special::WarpSize => all(32),
        Special::LaneMask(kind) => std::array::from_fn(|lane| lane_mask(kind, lane).into()),
        Special::Clock => all(step.world.spent),
        Special::DynamicShared => all(shape.dynamic_shared.into()),
        Special::TotalShared => all(step.world.total_shared.into()),
        Special::Zero => all(0),
        Special::One => all(1),
    }
}
