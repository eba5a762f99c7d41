//! Branches, calls and ends.

use crate::FaultKind;
use crate::machine::{Flow, Step, Stepped, lanes, trip};
use crate::parse::{Line, Name, Operand, Read};
use crate::program::Source;

/// Branches, calls and ends.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    /// To an instruction of the function.
    Branch {
        target: u32,
    },
    /// To one of several, by number.
    BranchTable {
        targets: Vec<u32>,
        by: Source,
    },
    /// A device function, with the places of arguments and results in the frame.
    Call {
        function: u32,
        arguments: Box<[u32]>,
        results: Box<[u32]>,
    },
    Return,
    Exit,
    Trap,
    /// Waits a little.
    Sleep,
}

impl Control {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        line.flag("uni");
        match line.name {
            "bra" => {
                line.finish(1)?;
                let Operand::Label(label) = line.operands[0].clone() else {
                    return Err(line.failure("expected a label"));
                };
                line.draft.branch(&label, line.number);
                Ok(Self::Branch { target: 0 })
            }
            "brx" => {
                line.flag("idx");
                line.finish(2)?;
                let Operand::Label(label) = line.operands[1].clone() else {
                    return Err(line.failure("expected the name of a table"));
                };
                line.draft.branch(&label, line.number);
                Ok(Self::BranchTable { targets: Vec::new(), by: line.source(0)? })
            }
            "call" => Self::call(line),
            "ret" => line.finish(0).map(|()| Self::Return),
            "exit" => line.finish(0).map(|()| Self::Exit),
            "trap" | "brkpt" => line.finish(0).map(|()| Self::Trap),
            _ => {
                line.one_type()?;
                line.finish(1).map(|()| Self::Sleep)
            }
        }
    }

    /// `call (results), function, (arguments);` with either list left out.
    fn call(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let mut operands = line.operands.clone().into_iter().peekable();
        let list = |operands: &mut std::iter::Peekable<std::vec::IntoIter<Operand>>| {
            operands.next_if(|o| matches!(o, Operand::List(_)))
        };
        let results = Self::places(line, list(&mut operands))?;
        let Some(Operand::Label(name)) = operands.next() else {
            return Err(line.failure("a call through a register is not supported"));
        };
        let arguments = Self::places(line, list(&mut operands))?;
        if operands.next().is_some() {
            return Err(line.failure("a call through a register is not supported"));
        }
        let count = line.operands.len();
        line.finish(count)?;
        let function = line.draft.outer.functions.get(&name).copied();
        let function =
            function.ok_or_else(|| line.failure(&format!("function {name} is not declared")))?;
        Ok(Self::Call { function, arguments, results })
    }

    fn places(line: &Line<'_, '_, '_>, list: Option<Operand>) -> Read<Box<[u32]>> {
        let Some(Operand::List(parts)) = list else { return Ok(Box::default()) };
        parts
            .iter()
            .map(|p| match p {
                Operand::Variable { name: Name::Frame(at), offset: 0 } => Ok(*at),
                other => Err(line.failure(&format!("{other:?} is not a parameter of a call"))),
            })
            .collect()
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<Flow> {
        match self {
            Self::Branch { target } => Ok(Flow::Jump(*target)),
            Self::BranchTable { targets, by } => {
                let by = step.get(*by);
                let mut masks: Vec<(u32, u32)> = Vec::new();
                for lane in lanes(step.mask) {
                    let index = by[lane] as u32 as usize;
                    let Some(target) = targets.get(index) else {
                        let what = format!("branch {index} of a table of {}", targets.len());
                        return Err(trip(lane, FaultKind::Invalid(what)));
                    };
                    match masks.iter_mut().find(|(_, t)| t == target) {
                        Some((mask, _)) => *mask |= 1 << lane,
                        None => masks.push((1 << lane, *target)),
                    }
                }
                Ok(Flow::Scatter(masks))
            }
            Self::Call { function, arguments, results } => {
                Ok(Flow::Call(*function, arguments.clone(), results.clone()))
            }
            Self::Return => Ok(Flow::Return),
            Self::Exit => Ok(Flow::Exit),
            Self::Trap => {
                let lane = step.mask.trailing_zeros() as usize;
                Err(trip(lane, FaultKind::Trap("the kernel stopped itself".into())))
            }
            Self::Sleep => {
                step.env.poll = true;
                Ok(Flow::Next)
            }
        }
    }
}
