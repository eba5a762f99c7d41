//! A launch: all blocks of a grid.

use super::block::{Block, Code, Progress};
use super::{Global, WARP};
use crate::module::Module;
use crate::program::{Constant, Function};
use crate::shadow::Chain;
use crate::shadow::release::Releases;
use crate::{Arg, Call, Fault, FaultKind, Launch, Space};
use std::collections::VecDeque;

/// Shared memory that a block of an H100 or H200 can have.
const MOST_SHARED: u32 = 227 * 1024;
/// Blocks that run at a time where they wait for each other.
const MOST_RESIDENT: usize = 1024;
/// Rounds of all blocks in which each only waits, and nothing changes, before they count as waiting for ever.
const PATIENCE: usize = 1000;

/// What the blocks of a launch share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) global: Global,
    pub(crate) releases: Releases,
    /// Of a kernel that may begin while those before it run.
    pub(crate) chain: Option<Chain>,
    parameters: Vec<u8>,
    pub(crate) shape: Launch,
    pub(crate) total_shared: u32,
    /// Values in memory that became others.
    pub(crate) changes: u64,
    /// Warp instructions that ran, and that may run.
    pub(crate) spent: u64,
    pub(crate) budget: u64,
    /// State of the random numbers that order warps and blocks.
    pub(crate) random: Option<u64>,
}

impl World {
    /// Bytes of the kernel's parameters.
    pub(crate) fn parameter(&self, at: u64, length: usize) -> Result<u128, FaultKind> {
        let end = at.checked_add(length as u64);
        let Some(end) = end.filter(|end| *end <= self.parameters.len() as u64) else {
            let near = format!("the parameters are {} bytes", self.parameters.len());
            let (space, access, bytes) = (Space::Param, crate::Access::Read, length as u64);
            return Err(FaultKind::OutOfBounds { space, access, address: at, bytes, near });
        };
        let mut bytes = [0; 16];
        bytes[..length].copy_from_slice(&self.parameters[at as usize..end as usize]);
        Ok(u128::from_le_bytes(bytes))
    }

    /// A number below `n` (splitmix64).
    pub(crate) fn draw(&mut self, n: usize) -> usize {
        let state = self.random.get_or_insert(0);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = *state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n.max(1) as u64) as usize
    }
}

/// How a launch runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) budget: u64,
}

/// Runs a kernel on all blocks, which may be the next of a chain. `variables` are the addresses of the module's variables.
pub(crate) fn launch(
    (global, instructions): (&mut Global, &mut u64),
    mut chain: Option<&mut Chain>,
    call: Call<'_>,
    variables: &[u64],
    settings: Settings,
) -> Result<(), Fault> {
    let Call { module, kernel, shape, arguments } = call;
    let refuse = |reason: String| Fault::host(FaultKind::Launch(format!("{kernel}: {reason}")));
    let index = module
        .functions()
        .iter()
        .position(|f| f.entry && f.name == kernel)
        .ok_or_else(|| refuse(format!("module {} has no such kernel", module.name())))?;
    let function = &module.functions()[index];
    check_shape(function, &shape).map_err(refuse)?;
    let parameters = parameters(function, arguments).map_err(refuse)?;
    let total_shared = function.dynamic_start() + shape.dynamic_shared;
    let code =
        Code { module, kernel: index as u32, constants: constants(module, function, variables) };
    let mut world = World {
        global: std::mem::replace(global, Global::new(0)),
        releases: Releases::default(),
        chain: chain.as_deref_mut().map(|chain| {
            chain.begin(kernel);
            std::mem::take(chain)
        }),
        parameters,
        shape,
        total_shared,
        changes: 0,
        spent: 0,
        budget: settings.budget,
        random: (settings.seed != 0).then_some(settings.seed),
    };
    let result = blocks(&code, &shape, &mut world);
    world.global.settle();
    *instructions += world.spent;
    *global = world.global;
    if let (Some(chain), Some(after)) = (chain, world.chain) {
        *chain = after;
    }
    result
}

/// Runs the blocks, one after another where they do not wait for each other.
fn blocks(code: &Code<'_>, shape: &Launch, world: &mut World) -> Result<(), Fault> {
    let count: u32 = shape.grid.iter().product();
    let mut order: Vec<u32> = (0..count).collect();
    if world.random.is_some() {
        for i in (1..order.len()).rev() {
            let other = world.draw(i + 1);
            order.swap(i, other);
        }
    }
    let mut pending = order.into_iter();
    let mut resident: VecDeque<Block> = VecDeque::new();
    // Turns of blocks that only waited since something changed, and the changes until then.
    let (mut idle, mut changes) = (0, 0);
    loop {
        let fresh = if resident.len() < MOST_RESIDENT { pending.next() } else { None };
        let block = fresh.map(|index| Block::new(index, shape, code));
        let Some(mut block) = block.or_else(|| resident.pop_front()) else { return Ok(()) };
        // A block that waits lets all that have not begun run first, then those that wait in turn.
        let progress = block.run(code, world)?;
        let waits = progress == Progress::Waits && world.changes == changes;
        (idle, changes) = (if waits { idle + 1 } else { 0 }, world.changes);
        if progress == Progress::Done {
            continue;
        }
        let running = resident.len() + 1;
        if idle > PATIENCE * running && (pending.len() == 0 || running == MOST_RESIDENT) {
            return Err(block.waits_for_ever(code, running, pending.len()));
        }
        resident.push_back(block);
    }
}

fn check_shape(function: &Function, shape: &Launch) -> Result<(), String> {
    let ([gx, gy, gz], [bx, by, bz]) = (shape.grid, shape.block);
    if [gx, gy, gz, bx, by, bz].contains(&0) {
        return Err(format!("an empty grid {:?} or block {:?}", shape.grid, shape.block));
    }
    if gx > i32::MAX as u32 || gy > 65535 || gz > 65535 {
        return Err(format!("grid {:?} is larger than 2147483647 x 65535 x 65535", shape.grid));
    }
    if gx as u64 * gy as u64 * gz as u64 > u64::from(u32::MAX) {
        return Err(format!("grid {:?} has more blocks than are played here", shape.grid));
    }
    let threads = u64::from(bx) * u64::from(by) * u64::from(bz);
    if bx > 1024 || by > 1024 || bz > 64 || threads > 1024 {
        return Err(format!("block {:?} has more than 1024 threads", shape.block));
    }
    if let Some(most) = function.max_threads
        && threads > u64::from(most)
    {
        return Err(format!("block {:?}, compiled for at most {most} threads", shape.block));
    }
    if let Some(block) = function.required_block
        && block != shape.block
    {
        return Err(format!("block {:?}, compiled for {block:?}", shape.block));
    }
    let blocks = u64::from(gx) * u64::from(gy) * u64::from(gz);
    if shape.cooperative && blocks > MOST_RESIDENT as u64 {
        return Err(format!(
            "{blocks} blocks together, a device that is played has {MOST_RESIDENT}"
        ));
    }
    let shared = u64::from(function.dynamic_start()) + u64::from(shape.dynamic_shared);
    if shared > u64::from(MOST_SHARED) {
        return Err(format!("{shared} bytes of shared memory, a block has {MOST_SHARED}"));
    }
    Ok(())
}

/// The arguments as they lie in the parameter space.
fn parameters(function: &Function, arguments: &[Arg]) -> Result<Vec<u8>, String> {
    let expected = &function.parameters;
    if expected.len() != arguments.len() {
        return Err(format!("{} arguments, expected {}", arguments.len(), expected.len()));
    }
    let mut bytes = Vec::new();
    for (i, (p, a)) in expected.iter().zip(arguments).enumerate() {
        if p.bytes as usize != a.0.len() {
            return Err(format!("argument {i} has {} bytes, expected {}", a.0.len(), p.bytes));
        }
        bytes.resize(p.offset as usize, 0);
        bytes.extend(&a.0);
    }
    Ok(bytes)
}

/// The constants of each function, the same for all lanes.
fn constants(module: &Module, kernel: &Function, variables: &[u64]) -> Vec<Vec<super::Lanes>> {
    let value = |constant: &Constant| match constant {
        Constant::Bits(bits) => *bits,
        Constant::Global { index, offset } => {
            variables[*index as usize].wrapping_add(*offset as u64)
        }
        Constant::Dynamic(offset) => u64::from(kernel.dynamic_start()).wrapping_add(*offset as u64),
    };
    let needed = |f: &&Function| !f.entry || f.name == kernel.name;
    let all = module.functions().iter();
    all.map(|f| match Some(f).filter(needed) {
        Some(f) => f.constants.iter().map(|c| [value(c); WARP]).collect(),
        None => Vec::new(),
    })
    .collect()
}
