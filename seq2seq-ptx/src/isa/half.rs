//! Arithmetic of f16 and bf16, alone and in pairs.

use super::numbers::{Rounding, Short, larger, smaller};
use crate::machine::Step;
use crate::parse::{Line, Read, Type};
use crate::program::{Source, Target};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Add,
    Sub,
    Mul,
    Fma { relu: bool },
    Min { nan: bool },
    Max { nan: bool },
    Neg,
    Abs,
    Tanh,
    Exp2,
}

/// Arithmetic of f16 and bf16.
#[derive(Debug, Clone)]
pub(crate) struct Half {
    kind: Kind,
    format: Short,
    pair: bool,
    flush: bool,
    saturate: bool,
    to: Target,
    from: [Source; 3],
}

impl Half {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let rounding = line.find(Rounding::of);
        if rounding.is_some_and(|r| r != Rounding::Nearest) {
            return Err(line.unknown());
        }
        line.flag("approx");
        let (nan, relu) = (line.flag("NaN"), line.flag("relu"));
        let (flush, saturate) = (line.flag("ftz"), line.flag("sat"));
        let (kind, count) = match line.name {
            "add" => (Kind::Add, 2),
            "sub" => (Kind::Sub, 2),
            "mul" => (Kind::Mul, 2),
            "fma" => (Kind::Fma { relu }, 3),
            "min" => (Kind::Min { nan }, 2),
            "max" => (Kind::Max { nan }, 2),
            "neg" => (Kind::Neg, 1),
            "abs" => (Kind::Abs, 1),
            "tanh" => (Kind::Tanh, 1),
            "ex2" => (Kind::Exp2, 1),
            _ => return Err(line.unknown()),
        };
        let (format, pair) = match line.one_type()? {
            Type::F16 => (Short::F16, false),
            Type::F16x2 => (Short::F16, true),
            Type::Bf16 => (Short::Bf16, false),
            _ => (Short::Bf16, true),
        };
        line.finish(1 + count)?;
        let mut from = [line.source(1)?; 3];
        for (place, source) in from.iter_mut().enumerate().take(count) {
            *source = line.source(1 + place)?;
        }
        Ok(Self { kind, format, pair, flush, saturate, to: line.target(0)?, from })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) {
        step.map3(self.to, self.from, |a, b, c| {
            let low = self.one(a, b, c);
            if self.pair { low | self.one(a >> 16, b >> 16, c >> 16) << 16 } else { low }
        });
    }

    fn one(&self, a: u64, b: u64, c: u64) -> u64 {
        let (format, near) = (self.format, Rounding::Nearest);
        let [x, y, z] = [a, b, c].map(|v| self.input(format.value(v & 0xffff)));
        let (wx, wy) = (f64::from(x), f64::from(y));
        let bits = match self.kind {
            Kind::Add => format.fused(x, 1.0, y),
            Kind::Sub => format.fused(x, 1.0, -y),
            Kind::Mul => format.fused(x, y, -0.0),
            Kind::Fma { .. } => format.fused(x, y, z),
            Kind::Min { nan } => format.bits(smaller(wx, wy, nan) as f32, near),
            Kind::Max { nan } => format.bits(larger(wx, wy, nan) as f32, near),
            Kind::Neg => (a ^ 0x8000) & 0xffff,
            Kind::Abs => a & 0x7fff,
            Kind::Tanh => format.bits(wx.tanh() as f32, near),
            Kind::Exp2 => format.bits(wx.exp2() as f32, near),
        };
        self.output(bits)
    }

    fn input(&self, value: f32) -> f32 {
        let smallest = 2f32.powi(-14);
        let subnormal = self.format == Short::F16 && value.abs() < smallest;
        if self.flush && subnormal { 0f32.copysign(value) } else { value }
    }

    fn output(&self, bits: u64) -> u64 {
        let value = self.format.value(bits);
        let clamp = |v: f32| self.format.bits(v, Rounding::Nearest);
        if matches!(self.kind, Kind::Fma { relu: true }) {
            return if value < 0.0 { 0 } else { bits };
        }
        if self.saturate {
            return if value.is_nan() { 0 } else { clamp(value.clamp(0.0, 1.0)) };
        }
        if self.flush { clamp(self.input(value)) } else { bits }
    }
}
