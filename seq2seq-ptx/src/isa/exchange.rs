//! Values that lanes of a warp pass to each other.

use super::Together;
use crate::FaultKind;
use crate::machine::{Lanes, Step, Stepped, WARP, lanes, trip};
use crate::parse::{Line, Read, Type};
use crate::program::{Predicate, Source, Target};

/// How `shfl` finds the lane to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What `vote` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
}

/// What `redux` computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduce {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
}

/// Values that lanes pass to each other.
#[derive(Debug, Clone)]
pub(crate) enum Exchange {
    Shuffle {
        mode: Shuffle,
        to: Target,
        /// Whether the lane that is read lies in range.
        valid: Option<u32>,
        /// Value, lane or distance, and the clamp with the mask of segments.
        from: [Source; 3],
        mask: Source,
    },
    Vote {
        vote: Vote,
        to: u32,
        from: Predicate,
        mask: Source,
    },
    Ballot {
        to: Target,
        from: Predicate,
        mask: Source,
    },
    /// The lanes with the same value; with `all`, the mask or zero, and whether all are equal.
    Match {
        all: Option<Option<u32>>,
        kind: Type,
        to: Target,
        from: Source,
        mask: Source,
    },
    Reduce {
        reduce: Reduce,
        kind: Type,
        to: Target,
        from: Source,
        mask: Source,
    },
    Active {
        to: Target,
    },
    /// One lane of the mask.
    Elect {
        to: Target,
        chosen: u32,
        mask: Source,
    },
}

impl Exchange {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if line.name == "activemask" {
            line.one_type()?;
            line.finish(1)?;
            return Ok(Self::Active { to: line.target(0)? });
        }
        if !line.flag("sync") {
            return Err(line.unknown());
        }
        match line.name {
            "shfl" => Self::shuffle(line),
            "vote" => Self::vote(line),
            "match" => {
                let all = line.any(&["any", "all"]).ok_or_else(|| line.unknown())? == "all";
                let kind = line.one_type()?;
                line.finish(3)?;
                let (to, same) = line.pair(0)?;
                let same = same.map(|s| line.predicate_target_of(&s)).transpose()?;
                let (to, from, mask) = (line.target_of(&to)?, line.source(1)?, line.source(2)?);
                Ok(Self::Match { all: all.then_some(same), kind, to, from, mask })
            }
            "redux" => {
                let reduce = match line.any(&["add", "min", "max", "and", "or", "xor"]) {
                    Some("add") => Reduce::Add,
                    Some("min") => Reduce::Min,
                    Some("max") => Reduce::Max,
                    Some("and") => Reduce::And,
                    Some("or") => Reduce::Or,
                    Some(_) => Reduce::Xor,
                    None => return Err(line.unknown()),
                };
                let kind = line.one_type()?;
                line.finish(3)?;
                if kind.bits() != 32 || !kind.is_integer() {
                    return Err(line.unknown());
                }
                let (to, from, mask) = (line.target(0)?, line.source(1)?, line.source(2)?);
                Ok(Self::Reduce { reduce, kind, to, from, mask })
            }
            _ => {
                line.finish(2)?;
                let (to, Some(chosen)) = line.pair(0)? else { return Err(line.unknown()) };
                let chosen = line.predicate_target_of(&chosen)?;
                Ok(Self::Elect { to: line.target_of(&to)?, chosen, mask: line.source(1)? })
            }
        }
    }

    fn shuffle(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let mode = match line.any(&["up", "down", "bfly", "idx"]) {
            Some("up") => Shuffle::Up,
            Some("down") => Shuffle::Down,
            Some("bfly") => Shuffle::Butterfly,
            Some(_) => Shuffle::Index,
            None => return Err(line.unknown()),
        };
        line.one_type()?;
        line.finish(5)?;
        let (to, valid) = line.pair(0)?;
        let valid = valid.map(|v| line.predicate_target_of(&v)).transpose()?;
        let from = [line.source(1)?, line.source(2)?, line.source(3)?];
        Ok(Self::Shuffle { mode, to: line.target_of(&to)?, valid, from, mask: line.source(4)? })
    }

    fn vote(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let mode = line.any(&["ballot", "all", "any", "uni"]).ok_or_else(|| line.unknown())?;
        line.one_type()?;
        line.finish(3)?;
        let (from, mask) = (line.predicate(1)?, line.source(2)?);
        let vote = match mode {
            "ballot" => return Ok(Self::Ballot { to: line.target(0)?, from, mask }),
            "all" => Vote::All,
            "any" => Vote::Any,
            _ => Vote::Uniform,
        };
        Ok(Self::Vote { vote, to: line.predicate_target(0)?, from, mask })
    }

    pub(crate) fn together(&self) -> Together {
        match self {
            Self::Shuffle { mask, .. }
            | Self::Vote { mask, .. }
            | Self::Ballot { mask, .. }
            | Self::Match { mask, .. }
            | Self::Reduce { mask, .. }
            | Self::Elect { mask, .. } => Together::Named(*mask),
            Self::Active { .. } => Together::No,
        }
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        match *self {
            Self::Shuffle { mode, to, valid, from, mask } => {
                shuffle(step, mode, from, mask, (to, valid))?;
            }
            Self::Vote { vote, to, from, mask } => {
                let (holds, masks) = (step.holds(from), members(step, mask));
                let bits = lanes(step.mask).fold(0, |bits, lane| {
                    let (all, some) = (masks[lane], masks[lane] & holds);
                    let outcome = match vote {
                        Vote::All => some == all,
                        Vote::Any => some != 0,
                        Vote::Uniform => some == all || some == 0,
                    };
                    bits | u32::from(outcome) << lane
                });
                step.set_predicate(to, bits);
            }
            Self::Ballot { to, from, mask } => {
                let (holds, masks) = (step.holds(from), members(step, mask));
                step.set(to, &masks.map(|m| u64::from(m & holds)));
            }
            Self::Match { all, kind, to, from, mask } => {
                let values = step.get(from).map(|v| v & kind.mask());
                matches(step, all, to, &values, mask);
            }
            Self::Reduce { reduce, kind, to, from, mask } => {
                let (values, masks) = (step.get(from), members(step, mask));
                let out = std::array::from_fn(|lane| {
                    let all = lanes(masks[lane]).map(|l| kind.extend(values[l]));
                    all.reduce(|a, b| combine(reduce, kind, a, b)).unwrap_or(0) & 0xffff_ffff
                });
                step.set(to, &out);
            }
            Self::Active { to } => {
                let mask = step.mask;
                step.set(to, &[mask.into(); WARP]);
            }
            Self::Elect { to, chosen, mask } => {
                let masks = members(step, mask);
                step.set(to, &masks.map(|m| u64::from(m.trailing_zeros())));
                let bits = lanes(step.mask)
                    .filter(|l| masks[*l].trailing_zeros() as usize == *l)
                    .fold(0, |bits, l| bits | 1 << l);
                step.set_predicate(chosen, bits);
            }
        }
        Ok(())
    }
}

/// The lanes of each lane's mask that take part.
fn members(step: &Step<'_>, mask: Source) -> [u32; WARP] {
    step.get(mask).map(|m| m as u32 & step.mask)
}

fn combine(reduce: Reduce, kind: Type, a: u64, b: u64) -> u64 {
    match reduce {
        Reduce::Add => a.wrapping_add(b),
        Reduce::Min if kind.is_signed() => (a as i64).min(b as i64) as u64,
        Reduce::Max if kind.is_signed() => (a as i64).max(b as i64) as u64,
        Reduce::Min => a.min(b),
        Reduce::Max => a.max(b),
        Reduce::And => a & b,
        Reduce::Or => a | b,
        Reduce::Xor => a ^ b,
    }
}

/// `match.sync`
fn matches(
    step: &mut Step<'_>,
    all: Option<Option<u32>>,
    to: Target,
    values: &Lanes,
    mask: Source,
) {
    let masks = members(step, mask);
    let same: [u32; WARP] = std::array::from_fn(|lane| {
        let equal = lanes(masks[lane]).filter(|l| values[*l] == values[lane]);
        equal.fold(0, |bits, l| bits | 1 << l)
    });
    let Some(predicate) = all else { return step.set(to, &same.map(u64::from)) };
    let equal = |lane: usize| same[lane] == masks[lane];
    step.set(to, &std::array::from_fn(|l| if equal(l) { masks[l].into() } else { 0 }));
    if let Some(index) = predicate {
        let bits = (0..WARP).fold(0, |bits, l| bits | u32::from(equal(l)) << l);
        step.set_predicate(index, bits);
    }
}

/// `shfl.sync`: the pseudo-code of the ISA, lane by lane.
fn shuffle(
    step: &mut Step<'_>,
    mode: Shuffle,
    from: [Source; 3],
    mask: Source,
    (to, valid): (Target, Option<u32>),
) -> Stepped<()> {
    let [values, by, clamp] = from.map(|s| step.get(s));
    let masks = members(step, mask);
    let (mut out, mut inside): (Lanes, u32) = ([0; WARP], 0);
    for lane in lanes(step.mask) {
        let (by, bound) = ((by[lane] & 31) as i64, (clamp[lane] & 31) as i64);
        let segment = (clamp[lane] >> 8 & 31) as i64;
        let own = lane as i64;
        let most = own & segment | bound & !segment;
        let least = own & segment;
        let (wanted, fits) = match mode {
            Shuffle::Up => (own - by, own - by >= most),
            Shuffle::Down => (own + by, own + by <= most),
            Shuffle::Butterfly => (own ^ by, own ^ by <= most),
            Shuffle::Index => (least | by & !segment, (least | by & !segment) <= most),
        };
        let source = if fits { wanted as usize } else { lane };
        if masks[lane] >> source & 1 == 0 {
            let reason = format!("reads lane {source}, which takes no part");
            return Err(trip(lane, FaultKind::InactiveLane { lane: lane as u32, reason }));
        }
        out[lane] = values[source] & 0xffff_ffff;
        inside |= u32::from(fits) << lane;
    }
    step.set(to, &out);
    if let Some(index) = valid {
        step.set_predicate(index, inside);
    }
    Ok(())
}
