//! `wgmma`: products of matrices that four warps begin and wait for, read from shared memory (sm_90a).
//!
//! D is 64 x n of f32, from 16 columns of bf16 or f16, or of i32, from 32 columns of bytes. Warp w of the four holds its rows 16 w to 16 w + 15 and
//! is played alone. A product is computed when it is waited for, as late as a GPU may; until then its registers hold NaN, or
//! for integers its bits. It reads shared memory when it is begun, for the checks, and when it is computed.

use super::numbers::{Short, single, single_bits};
use crate::machine::{Lanes, Step, Stepped, WARP, trip};
use crate::parse::{Line, Operand, Read, Type};
use crate::program::{Predicate, Source, Target};
use crate::shadow::Who;
use crate::{Access, FaultKind};
use std::collections::VecDeque;
use std::ops::{AddAssign, Mul, Range};

/// `wgmma` and what waits for it.
#[derive(Debug, Clone)]
pub(crate) enum Wgmma {
    Multiply(Box<Multiply>),
    /// Orders registers and shared memory before the products that follow.
    Fence,
    Commit,
    Wait(usize),
}

/// D = A B + D, or A B.
#[derive(Debug, Clone)]
pub(crate) struct Multiply {
    numbers: Numbers,
    columns: usize,
    to: Vec<Target>,
    left: Left,
    right: Source,
    keep: Keep,
    negate: [bool; 2],
    transposed: [bool; 2],
}

/// What is multiplied: 32 bytes of each row of A and of B.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// Summed in f32.
    Short(Short),
    /// Bytes of A and of B, signed or not, summed in i32.
    Bytes([Type; 2]),
}

impl Numbers {
    /// Bytes of one.
    fn bytes(self) -> usize {
        match self {
            Self::Short(_) => 2,
            Self::Bytes(_) => 1,
        }
    }

    /// How many of a row a product takes.
    fn depth(self) -> usize {
        32 / self.bytes()
    }

    /// Whether a product has so many columns.
    fn has(self, columns: usize) -> bool {
        let step = if matches!(self, Self::Bytes(_)) && columns > 32 { 16 } else { 8 };
        (8..=256).contains(&columns) && columns.is_multiple_of(step)
    }
}

/// Where A comes from.
#[derive(Debug, Clone)]
enum Left {
    Shared(Source),
    Registers([Source; 4]),
}

impl Left {
    /// The registers of it, in the frame of the function.
    fn registers(&self) -> impl Iterator<Item = usize> {
        let all = match self {
            Self::Shared(_) => &[][..],
            Self::Registers(all) => &all[..],
        };
        all.iter().filter_map(|source| source.index().ok())
    }
}

/// Whether D is added.
#[derive(Debug, Clone, Copy)]
enum Keep {
    Always(bool),
    Where(Predicate),
}

/// A product that was begun.
#[derive(Debug)]
struct Begun {
    op: Multiply,
    left: LeftAtBegin,
    right: u64,
    keep: bool,
}

/// When operands are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Complete,
}

/// A as it was when the product was begun.
#[derive(Debug)]
enum LeftAtBegin {
    Shared(u64),
    Registers(Box<[Lanes; 4]>),
}

/// The products of a warp that are not complete.
#[derive(Debug, Default)]
pub(crate) struct Products {
    open: Vec<Begun>,
    groups: VecDeque<Vec<Begun>>,
    /// Whether there was a `wgmma.fence`.
    fenced: bool,
    /// A bit for each register of the warp that something else than a product has written since the last.
    written: Vec<u64>,
    /// What they add up to.
    sums: Vec<Sums>,
}

/// Accumulators that products work on.
#[derive(Debug)]
struct Sums {
    /// The first of their registers.
    first: Target,
    values: Vec<Lanes>,
    /// Products that are not complete.
    open: usize,
}

impl Products {
    /// Notes that a register of the warp is written.
    pub(crate) fn note(&mut self, register: usize) {
        if self.fenced {
            let word = register / 64;
            if word >= self.written.len() {
                self.written.resize(word + 1, 0);
            }
            self.written[word] |= 1 << (register % 64);
        }
    }

    fn is_written(&self, register: usize) -> bool {
        self.written.get(register / 64).is_some_and(|word| word >> (register % 64) & 1 == 1)
    }
}

impl Wgmma {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if !line.flag("sync") || !line.flag("aligned") {
            return Err(line.unknown());
        }
        if line.flag("fence") {
            return line.finish(0).map(|()| Self::Fence);
        }
        if line.flag("commit_group") {
            return line.finish(0).map(|()| Self::Commit);
        }
        if line.flag("wait_group") {
            line.finish(1)?;
            return Ok(Self::Wait(line.immediate(0)? as usize));
        }
        if !line.flag("mma_async") {
            return Err(line.unknown());
        }
        Multiply::parse(line).map(|m| Self::Multiply(Box::new(m)))
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        match self {
            Self::Fence => {
                step.warp.products.fenced = true;
                step.warp.products.written.fill(0);
                Ok(())
            }
            Self::Multiply(m) => m.begin(step),
            Self::Commit => {
                let products = &mut step.warp.products;
                let open = std::mem::take(&mut products.open);
                products.groups.push_back(open);
                Ok(())
            }
            Self::Wait(left) => {
                while step.warp.products.groups.len() > *left {
                    let group = step.warp.products.groups.pop_front().unwrap_or_default();
                    for begun in group {
                        begun.complete(step)?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Multiply {
    fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let shape = line.find(|m| {
            let (columns, depth) = m.strip_prefix("m64n")?.split_once('k')?;
            Some((columns.parse().ok()?, depth.parse().ok()?))
        });
        let (columns, depth): (usize, usize) = shape.ok_or_else(|| line.unknown())?;
        let numbers = match line.types()[..] {
            [Type::F32, Type::Bf16, Type::Bf16] => Numbers::Short(Short::Bf16),
            [Type::F32, Type::F16, Type::F16] => Numbers::Short(Short::F16),
            [Type::S32, a @ (Type::S8 | Type::U8), b @ (Type::S8 | Type::U8)] => {
                Numbers::Bytes([a, b])
            }
            _ => return Err(line.unknown()),
        };
        if depth != numbers.depth() || !numbers.has(columns) {
            return Err(line.unknown());
        }
        let registers = line.parts(1)?;
        let left = match registers.len() {
            1 => Left::Shared(line.source(1)?),
            _ => {
                let all: Vec<_> =
                    registers.iter().map(|p| line.source_of(p)).collect::<Read<_>>()?;
                Left::Registers(all.try_into().map_err(|_| line.unknown())?)
            }
        };
        // Only products of floats have signs, and rows that lie along the other dimension.
        let floats = matches!(numbers, Numbers::Short(_));
        let shared = matches!(left, Left::Shared(_));
        line.finish(match (floats, shared) {
            (true, true) => 8,
            (true, false) => 7,
            (false, _) => 4,
        })?;
        let keep = match line.operands[3] {
            Operand::Predicate { .. } => Keep::Where(line.predicate(3)?),
            _ => Keep::Always(line.immediate(3)? != 0),
        };
        let (mut negate, mut transposed) = ([false; 2], [false; 2]);
        if floats {
            negate = [line.immediate(4)? != 1, line.immediate(5)? != 1];
            transposed = match shared {
                true => [line.immediate(6)? == 1, line.immediate(7)? == 1],
                false => [false, line.immediate(6)? == 1],
            };
        }
        let parts = line.parts(0)?;
        let to: Vec<Target> = parts.iter().map(|p| line.target_of(p)).collect::<Read<_>>()?;
        if to.len() != columns / 2 {
            return Err(line.failure(&format!("{} registers of results", to.len())));
        }
        let right = line.source(2)?;
        Ok(Self { numbers, columns, to, left, right, keep, negate, transposed })
    }

    fn begin(&self, step: &mut Step<'_>) -> Stepped<()> {
        if !step.warp.products.fenced {
            let what = "wgmma without a wgmma.fence before it".to_owned();
            return Err(trip(0, FaultKind::Invalid(what)));
        }
        let mut registers = self.to.iter().map(|t| t.0 as usize).chain(self.left.registers());
        if registers.any(|r| step.warp.products.is_written(step.bases.registers + r)) {
            let what = "wgmma whose registers were written since the last wgmma.fence".to_owned();
            return Err(trip(0, FaultKind::Invalid(what)));
        }
        let uniform = |values: Lanes| {
            let same = values.iter().all(|v| *v == values[0]);
            let reason = "a descriptor of wgmma that differs from lane to lane".to_owned();
            if same { Ok(values[0]) } else { Err(trip(0, FaultKind::Invalid(reason))) }
        };
        let right = uniform(step.get(self.right))?;
        let left = match &self.left {
            Left::Shared(source) => LeftAtBegin::Shared(uniform(step.get(*source))?),
            Left::Registers(all) => LeftAtBegin::Registers(Box::new(all.map(|s| step.get(s)))),
        };
        let keep = match self.keep {
            Keep::Always(keep) => keep,
            Keep::Where(p) => step.holds(p) & 1 == 1,
        };
        let all = &mut step.warp.products.sums;
        if let Some(sums) = all.iter_mut().find(|s| s.first == self.to[0]) {
            sums.open += 1;
        } else {
            let values = self.to.iter().map(|t| step.get(Source::register(t.0))).collect();
            step.warp.products.sums.push(Sums { first: self.to[0], values, open: 1 });
            for target in &self.to {
                step.put(*target, &[f32::NAN.to_bits().into(); WARP]);
            }
        }
        let begun = Begun { op: self.clone(), left, right, keep };
        begun.operands(step, Stage::Begin)?;
        step.warp.products.open.push(begun);
        Ok(())
    }
}

impl Begun {
    /// The bits of A, 16 rows of this warp, and of B, column by column.
    fn operands(&self, step: &mut Step<'_>, stage: Stage) -> Stepped<[Vec<u16>; 2]> {
        let op = &self.op;
        let (depth, bytes) = (op.numbers.depth(), op.numbers.bytes());
        let mut a = vec![0; 16 * depth];
        match &self.left {
            LeftAtBegin::Shared(descriptor) => {
                let first = step.warp.index % 4 * 16;
                let tile = Tile::new(*descriptor, op.transposed[0], bytes);
                for (row, k, bits) in tile.read(step, stage, first..first + 16)? {
                    a[(row - first) * depth + k] = bits;
                }
            }
            LeftAtBegin::Registers(all) => {
                let width = 4 / bytes;
                for (j, register) in all.iter().enumerate() {
                    for (lane, value) in register.iter().enumerate() {
                        for e in 0..width {
                            let row = lane / 4 + 8 * (j % 2);
                            let k = lane % 4 * width + e + 4 * width * (j / 2);
                            a[row * depth + k] = element(*value, e, bytes);
                        }
                    }
                }
            }
        }
        let mut b = vec![0; op.columns * depth];
        let tile = Tile::new(self.right, op.transposed[1], bytes);
        for (column, k, bits) in tile.read(step, stage, 0..op.columns)? {
            b[column * depth + k] = bits;
        }
        Ok([a, b])
    }

    /// Computes the product; its registers get their values when no later product works on them.
    fn complete(self, step: &mut Step<'_>) -> Stepped<()> {
        let [a, b] = self.operands(step, Stage::Complete)?;
        let op = &self.op;
        match op.numbers {
            Numbers::Short(short) => {
                let sign = if op.negate[0] == op.negate[1] { 1.0 } else { -1.0 };
                let value = |bits: &u16| short.value((*bits).into());
                let a: Vec<f32> = a.iter().map(|bits| sign * value(bits)).collect();
                let b: Vec<f32> = b.iter().map(value).collect();
                let sums = product(&a, &b, op.numbers.depth());
                self.accumulate(step, |old, at| single_bits(single(old) + sums[at]));
            }
            Numbers::Bytes(kinds) => {
                let value =
                    |kind: Type| move |bits: &u16| kind.extend((*bits).into()) as i64 as i32;
                let a: Vec<i32> = a.iter().map(value(kinds[0])).collect();
                let b: Vec<i32> = b.iter().map(value(kinds[1])).collect();
                let sums = product(&a, &b, op.numbers.depth());
                // Sums that have no room wrap around.
                self.accumulate(step, |old, at| (old as u32).wrapping_add(sums[at] as u32).into());
            }
        }
        Ok(())
    }

    /// Makes of each result, 0 where it is not kept, and of its place in the product what it becomes.
    fn accumulate(&self, step: &mut Step<'_>, add: impl Fn(u64, usize) -> u64) {
        let op = &self.op;
        let products = &mut step.warp.products;
        let Some(at) = products.sums.iter().position(|s| s.first == op.to[0]) else {
            return;
        };
        for (i, values) in products.sums[at].values.iter_mut().enumerate() {
            for (lane, value) in values.iter_mut().enumerate() {
                let row = lane / 4 + 8 * (i / 2 % 2);
                let column = i / 4 * 8 + lane % 4 * 2 + i % 2;
                *value = add(if self.keep { *value } else { 0 }, row * op.columns + column);
            }
        }
        products.sums[at].open -= 1;
        if products.sums[at].open == 0 {
            let sums = products.sums.swap_remove(at);
            op.to.iter().zip(&sums.values).for_each(|(target, values)| step.put(*target, values));
        }
    }
}

/// The element at a place in a register or a chunk.
fn element(of: impl Into<u128>, place: usize, bytes: usize) -> u16 {
    let bits = of.into() >> (8 * bytes * place);
    if bytes == 1 { (bits as u8).into() } else { bits as u16 }
}

/// A B' of rows of `depth`, each sum over rising k.
fn product<T: Copy + Default + Mul<Output = T> + AddAssign>(
    a: &[T],
    b: &[T],
    depth: usize,
) -> Vec<T> {
    let mut sums = Vec::with_capacity(a.len() / depth * (b.len() / depth));
    for a in a.chunks(depth) {
        sums.extend(b.chunks(depth).map(|b| {
            let mut sum = T::default();
            a.iter().zip(b).for_each(|(a, b)| sum += *a * *b);
            sum
        }));
    }
    sums
}

/// A matrix in shared memory, of 32 bytes along k, as its descriptor tells.
///
/// The canonical layouts of the ISA, in chunks of 16 bytes that hold e elements, along k ("K-major") or, where e is 8, along the
/// other dimension, mn ("MN-major", transposed):
///
/// | | mn | k |
/// |---|---|---|
/// | K-major, not swizzled | (mn % 8) 16 + (mn / 8) stride | (k / e) leading |
/// | K-major, swizzle of W bytes | (mn % 8) W + (mn / 8) stride | (k / e) 16 |
/// | MN-major, not swizzled | (mn / 8) stride | (k % 8) 16 + (k / 8) leading |
/// | MN-major, swizzle of W bytes | (mn / 8 % (W / 16)) 16 + (mn / (W / 2)) leading | (k % 8) W + (k / 8) stride |
struct Tile {
    start: usize,
    leading: usize,
    stride: usize,
    /// Bytes of a swizzled row; 16 where nothing is swizzled.
    width: usize,
    transposed: bool,
    /// Bytes of an element.
    bytes: usize,
}

impl Tile {
    fn new(descriptor: u64, transposed: bool, bytes: usize) -> Self {
        let field = |at: u32| ((descriptor >> at & 0x3fff) << 4) as usize;
        let width = match descriptor >> 62 {
            0 => 16,
            1 => 128,
            2 => 64,
            _ => 32,
        };
        let (start, leading, stride) = (field(0), field(16), field(32));
        Self { start, leading, stride, width, transposed, bytes }
    }

    /// Address of the chunk that holds an element.
    fn chunk(&self, mn: usize, k: usize) -> usize {
        let (w, each) = (self.width, 16 / self.bytes);
        let at = self.start
            + match (self.transposed, w == 16) {
                (false, true) => mn % 8 * 16 + mn / 8 * self.stride + k / each * self.leading,
                (false, false) => mn % 8 * w + mn / 8 * self.stride + k / each * 16,
                (true, true) => mn / 8 * self.stride + k % 8 * 16 + k / 8 * self.leading,
                (true, false) => {
                    mn / 8 % (w / 16) * 16
                        + mn / (w / 2) * self.leading
                        + k % 8 * w
                        + k / 8 * self.stride
                }
            };
        // A swizzle exchanges chunks by the number of the row of 128 bytes.
        at ^ ((at >> 7 & (w / 16 - 1)) << 4)
    }

    /// The elements of some rows along mn: place along mn, along k, and bits.
    fn read(
        &self,
        step: &mut Step<'_>,
        stage: Stage,
        rows: Range<usize>,
    ) -> Stepped<Vec<(usize, usize, u16)>> {
        let (depth, each) = (32 / self.bytes, 16 / self.bytes);
        let mut all = Vec::with_capacity(rows.len() * depth);
        let (thread, line) = (step.thread(0), step.line);
        let env = &mut *step.env;
        let clock = &env.clocks.threads[thread as usize];
        let who =
            Who { block: env.clocks.block, thread, line, strong: false, cooperative: false, clock };
        let (step_mn, step_k) = if self.transposed { (each, 1) } else { (1, each) };
        for mn in rows.step_by(step_mn) {
            for k in (0..depth).step_by(step_k) {
                let at = self.chunk(mn, k);
                let place = env.shared.place(at as u64, 16, Access::Read);
                match stage {
                    Stage::Begin => env.proxy.begin(at, thread, line),
                    Stage::Complete => env.proxy.end(at),
                }
                let bits = place
                    .and_then(|at| {
                        env.proxy.read(at, 16)?;
                        env.shared.load(at, 16, &who)
                    })
                    .map_err(|kind| trip(0, kind))?;
                for e in 0..each {
                    let place = if self.transposed { (mn + e, k) } else { (mn, k + e) };
                    all.push((place.0, place.1, element(bits, e, self.bytes)));
                }
            }
        }
        Ok(all)
    }
}
