//! `ldmatrix`, `stmatrix`, `movmatrix` and `mma.sync`.
//!
//! Layouts are those of the ISA, chapter "Matrix Fragments for mma": with g = lane / 4 and t = lane % 4 a register that
//! holds w elements holds, as its number j among those of A, row g + 8 (j % 2) and columns t w + e + 4 w (j / 2) for
//! e < w; of B, rows t w + e + 4 w j and column g; of C and D rows g + 8 (j / 2) and columns 2 t + j % 2.

use super::numbers::{Rounding, Short, single, single_bits};
use crate::Space;
use crate::machine::memory::Way;
use crate::machine::{Lanes, Step, Stepped, WARP};
use crate::parse::{Line, Read, Type};
use crate::program::{Address, Source, Target};

/// Instructions of matrices spread over a warp.
#[derive(Debug, Clone)]
pub(crate) enum Matrix {
    /// Eight by eight elements of 16 bits for each register.
    Load {
        way: Way,
        transposed: bool,
        at: Address,
        to: Vec<Target>,
    },
    Store {
        way: Way,
        transposed: bool,
        at: Address,
        from: Vec<Source>,
    },
    /// Eight by eight elements of 16 bits from rows to columns.
    Transpose {
        to: Target,
        from: Source,
    },
    Multiply(Box<Multiply>),
}

/// D = A B + C, of 16 x k times k x 8.
#[derive(Debug, Clone)]
pub(crate) struct Multiply {
    depth: usize,
    kinds: [Type; 2],
    result: Type,
    saturate: bool,
    to: Vec<Target>,
    from: [Vec<Source>; 3],
}

impl Matrix {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if !line.flag("sync") || !line.flag("aligned") {
            return Err(line.unknown());
        }
        match line.name {
            "mma" => Multiply::parse(line).map(|m| Self::Multiply(Box::new(m))),
            "ldmatrix" | "stmatrix" => Self::eight(line),
            "movmatrix" => Self::transpose(line),
            _ => Err(line.unknown()),
        }
    }

    fn eight(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        line.any(&["m8n8"]).ok_or_else(|| line.unknown())?;
        let count = match line.any(&["x1", "x2", "x4"]) {
            Some("x1") => 1,
            Some("x2") => 2,
            Some(_) => 4,
            None => return Err(line.unknown()),
        };
        let transposed = line.flag("trans");
        let space = super::memory::space(line);
        if line.one_type()? != Type::B16 || space.is_some_and(|s| s != Space::Shared) {
            return Err(line.unknown());
        }
        line.finish(2)?;
        let way = Way { space, bytes: 16, strong: None };
        let load = line.name == "ldmatrix";
        let (at, parts) = (line.address(usize::from(load))?, line.parts(usize::from(!load))?);
        if parts.len() != count {
            return Err(line.unknown());
        }
        Ok(if load {
            let to = parts.iter().map(|p| line.target_of(p)).collect::<Read<_>>()?;
            Self::Load { way, transposed, at, to }
        } else {
            let from = parts.iter().map(|p| line.source_of(p)).collect::<Read<_>>()?;
            Self::Store { way, transposed, at, from }
        })
    }

    fn transpose(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        line.any(&["m8n8"]).ok_or_else(|| line.unknown())?;
        if !line.flag("trans") || line.one_type()? != Type::B16 {
            return Err(line.unknown());
        }
        line.finish(2)?;
        Ok(Self::Transpose { to: line.target(0)?, from: line.source(1)? })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        match self {
            Self::Load { way, transposed, at, to } => {
                let addresses = step.addresses(at);
                let rows = rows(step, to.len(), |step| step.load(&addresses, *way))?;
                for (matrix, target) in to.iter().enumerate() {
                    let element = |row: usize, column: usize| {
                        (rows[matrix * 8 + row] >> (16 * column)) as u64 & 0xffff
                    };
                    let values = std::array::from_fn(|lane| {
                        let (g, t) = (lane / 4, lane % 4 * 2);
                        if *transposed {
                            element(t, g) | element(t + 1, g) << 16
                        } else {
                            element(g, t) | element(g, t + 1) << 16
                        }
                    });
                    step.set(*target, &values);
                }
            }
            Self::Store { way, transposed, at, from } => {
                let mut values = [0u128; WARP];
                for (matrix, source) in from.iter().enumerate() {
                    let parts = step.get(*source);
                    for (lane, part) in parts.iter().enumerate() {
                        let (g, t) = (lane / 4, lane % 4 * 2);
                        for e in 0..2 {
                            let bits = u128::from(part >> (16 * e) & 0xffff);
                            let (row, column) = if *transposed { (t + e, g) } else { (g, t + e) };
                            values[matrix * 8 + row] |= bits << (16 * column);
                        }
                    }
                }
                let addresses = step.addresses(at);
                rows(step, from.len(), |step| step.store(&addresses, &values, *way))?;
            }
            Self::Transpose { to, from } => {
                let pairs = step.get(*from);
                let element = |row: usize, column: usize| {
                    pairs[4 * row + column / 2] >> (16 * (column % 2)) & 0xffff
                };
                let values = std::array::from_fn(|lane| {
                    let (row, column) = (lane / 4, lane % 4 * 2);
                    element(column, row) | element(column + 1, row) << 16
                });
                step.set(*to, &values);
            }
            Self::Multiply(m) => m.run(step),
        }
        Ok(())
    }
}

/// Accesses the rows of so many matrices, each by the lane that gives its address.
fn rows<T>(
    step: &mut Step<'_>,
    matrices: usize,
    access: impl FnOnce(&mut Step<'_>) -> Stepped<T>,
) -> Stepped<T> {
    let all = step.mask;
    step.mask = (u64::from(u32::MAX) >> (32 - 8 * matrices)) as u32;
    let result = access(step);
    step.mask = all;
    result
}

impl Multiply {
    fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let depth = match line.any(&["m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"]) {
            Some("m16n8k4") => 4,
            Some("m16n8k8") => 8,
            Some("m16n8k16") => 16,
            Some(_) => 32,
            None => return Err(line.unknown()),
        };
        line.any(&["row"]).and(line.any(&["col"])).ok_or_else(|| line.unknown())?;
        let saturate = line.flag("satfinite");
        let [result, a, b, c] = line.types()[..] else { return Err(line.unknown()) };
        let known = match (a, result) {
            (Type::Bf16, Type::F32) | (Type::F16, Type::F32 | Type::F16) => a == b && depth < 32,
            (Type::Tf32, Type::F32) => a == b && depth <= 8,
            (Type::S8 | Type::U8, Type::S32) => depth >= 16 && matches!(b, Type::S8 | Type::U8),
            _ => false,
        };
        if !known || c != result || (a.bits() == 16 && depth < 8) {
            return Err(line.unknown());
        }
        line.finish(4)?;
        let width = 32 / a.bits() as usize;
        let (counts, results) =
            ([depth / (2 * width), depth / (4 * width)], if result == Type::F16 { 2 } else { 4 });
        let mut from = [Vec::new(), Vec::new(), Vec::new()];
        for (place, list) in from.iter_mut().enumerate() {
            let parts = line.parts(place + 1)?;
            *list = parts.iter().map(|p| line.source_of(p)).collect::<Read<_>>()?;
        }
        let parts = line.parts(0)?;
        let to: Vec<Target> = parts.iter().map(|p| line.target_of(p)).collect::<Read<_>>()?;
        let found = [from[0].len(), from[1].len(), from[2].len(), to.len()];
        if found != [counts[0], counts[1], results, results] {
            return Err(line.failure(&format!("{found:?} registers")));
        }
        Ok(Self { depth, kinds: [a, b], result, saturate, to, from })
    }

    fn run(&self, step: &mut Step<'_>) {
        let [a, b, c] =
            [0, 1, 2].map(|i| self.from[i].iter().map(|s| step.get(*s)).collect::<Vec<Lanes>>());
        let results =
            if self.result == Type::S32 { self.whole(&a, &b, &c) } else { self.floats(&a, &b, &c) };
        for (target, values) in self.to.iter().zip(&results) {
            step.set(*target, values);
        }
    }

    /// Products of f32 are exact here; their sums are rounded one by one, which the ISA leaves open.
    fn floats(&self, a: &[Lanes], b: &[Lanes], c: &[Lanes]) -> Vec<Lanes> {
        // One copy of the loops for each format.
        let (a, b) = match self.kinds[0] {
            Type::Bf16 => {
                let read = |bits: u64| f32::from_bits((bits as u32) << 16);
                (self.left(a, read), self.right(b, read))
            }
            Type::F16 => {
                let read = |bits: u64| Short::F16.value(bits);
                (self.left(a, read), self.right(b, read))
            }
            // The unit does not look at the lowest thirteen bits of tf32.
            _ => {
                let read = |bits: u64| single(bits & !0x1fff);
                (self.left(a, read), self.right(b, read))
            }
        };
        let mut sums = [[0f32; 8]; 16];
        for (sums, a) in sums.iter_mut().zip(&a) {
            for (a, b) in a.iter().zip(&b).take(self.depth) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += a * b;
                }
            }
        }
        if self.result == Type::F16 {
            let short = Short::F16;
            return (0..2)
                .map(|j| {
                    std::array::from_fn(|lane| {
                        let (row, column) = (lane / 4 + 8 * j, lane % 4 * 2);
                        (0..2).fold(0, |bits, e| {
                            let old = short.value(c[j][lane] >> (16 * e) & 0xffff);
                            let new = short.bits(old + sums[row][column + e], Rounding::Nearest);
                            bits | new << (16 * e)
                        })
                    })
                })
                .collect();
        }
        accumulators(|j, lane, row, column| single_bits(single(c[j][lane]) + sums[row][column]))
    }

    fn whole(&self, a: &[Lanes], b: &[Lanes], c: &[Lanes]) -> Vec<Lanes> {
        let read = |kind: Type| move |bits: u64| kind.extend(bits) as i64;
        let a = self.left(a, read(self.kinds[0]));
        let b = self.right(b, read(self.kinds[1]));
        accumulators(|j, lane, row, column| {
            let products = (0..self.depth).map(|k| a[row][k] * b[k][column]).sum::<i64>();
            let sum = i64::from(c[j][lane] as i32) + products;
            if self.saturate {
                sum.clamp(i32::MIN.into(), i32::MAX.into()) as u64 & 0xffff_ffff
            } else {
                sum as u64 & 0xffff_ffff
            }
        })
    }

    /// A, row by row.
    fn left<T: Copy + Default>(
        &self,
        registers: &[Lanes],
        read: impl Fn(u64) -> T,
    ) -> [[T; 32]; 16] {
        let mut all = [[T::default(); 32]; 16];
        let (bits, width) = (self.kinds[0].bits(), 32 / self.kinds[0].bits() as usize);
        for (j, register) in registers.iter().enumerate() {
            for (lane, value) in register.iter().enumerate() {
                for e in 0..width {
                    let column = lane % 4 * width + e + 4 * width * (j / 2);
                    all[lane / 4 + 8 * (j % 2)][column] =
                        read(value >> (e as u32 * bits) & self.kinds[0].mask());
                }
            }
        }
        all
    }

    /// B, row by row.
    fn right<T: Copy + Default>(
        &self,
        registers: &[Lanes],
        read: impl Fn(u64) -> T,
    ) -> [[T; 8]; 32] {
        let mut all = [[T::default(); 8]; 32];
        let (bits, width) = (self.kinds[1].bits(), 32 / self.kinds[1].bits() as usize);
        for (j, register) in registers.iter().enumerate() {
            for (lane, value) in register.iter().enumerate() {
                for e in 0..width {
                    all[lane % 4 * width + e + 4 * width * j][lane / 4] =
                        read(value >> (e as u32 * bits) & self.kinds[1].mask());
                }
            }
        }
        all
    }
}

/// The four registers of results of 32 bits.
fn accumulators(value: impl Fn(usize, usize, usize, usize) -> u64) -> Vec<Lanes> {
    (0..4)
        .map(|j| {
            std::array::from_fn(|lane| value(j, lane, lane / 4 + 8 * (j / 2), lane % 4 * 2 + j % 2))
        })
        .collect()
}
