//! Graphs that are played: which of their kernels make a chain.

use super::{Played, Work, failed};
use seq2seq_cuda::driver::{Arg, FunctionId, Piece, Result, Shape, Work as Listed};
use seq2seq_ptx::{Call, Launch, Module};
use std::sync::atomic::Ordering;

/// A kernel and all that it is launched with.
pub(super) struct Kernel {
    pub(super) module: Module,
    pub(super) name: String,
    pub(super) shape: Launch,
    pub(super) args: Vec<seq2seq_ptx::Arg>,
}

impl Kernel {
    fn call(&self) -> Call<'_> {
        let Self { module, name, shape, args } = self;
        Call { module, kernel: name, shape: *shape, arguments: args }
    }
}

impl Played {
    pub(super) fn kernel(&self, function: FunctionId, shape: Shape, args: &[Arg]) -> Kernel {
        let loaded = self.loaded.lock().unwrap();
        let (module, name) = loaded.functions[function.0 as usize].clone();
        let Shape { grid, block, shared: dynamic_shared, cooperative, overlaps: _ } = shape;
        let shape = Launch { grid, block, dynamic_shared, cooperative };
        let args = args.iter().map(|a| seq2seq_ptx::Arg::bytes(a.bytes())).collect();
        Kernel { module: loaded.modules[module].clone(), name, shape, args }
    }

    /// Plays a graph: kernels that overlap, one behind the other, are a chain, and each edge of it is counted.
    pub(super) fn replay(&self, list: &Listed) -> Result<()> {
        let mut chain = Vec::new();
        for piece in list.pieces() {
            match piece {
                Piece::Launch { function, shape, args } if shape.overlaps => {
                    chain.push(self.kernel(function, shape, args));
                    continue;
                }
                _ => self.play_chain(&std::mem::take(&mut chain))?,
            }
            match piece {
                Piece::Launch { function, shape, args } => self.play(function, shape, args)?,
                Piece::Copy { from, to, bytes } => {
                    self.carry_out(Work::Copy { from, to, bytes })?
                }
                Piece::Fill { to, value, bytes } => {
                    self.carry_out(Work::Fill { to, value, bytes })?
                }
            }
        }
        self.play_chain(&chain)
    }

    fn play_chain(&self, chain: &[Kernel]) -> Result<()> {
        self.edges.fetch_add(chain.len().saturating_sub(1), Ordering::Relaxed);
        let calls: Vec<_> = chain.iter().map(Kernel::call).collect();
        self.device.chain(&calls).map_err(|f| failed("run_graph", f))
    }
}
