//! Kernels of a chain, each of which may begin while those before it still run: what a thread may not touch before it has
//! waited for them (`griddepcontrol.wait`).
//!
//! The kernels are run one after the other, and for each byte it is noted which of them was the first to read and to write
//! it. A thread that has not waited may read nothing that a kernel before its own has written, and write nothing that one has used.
//! Where every kernel keeps to that, what a kernel does before it waits commutes with all that is before it, and no
//! interleaving gives other bytes than this order: so none is tried. **Any kernel of the chain counts as running** until its
//! successor has waited, whenever it lets the next one begin.

use crate::{Access, FaultKind};
use std::collections::HashMap;

const PAGE: u64 = 256;

/// The first kernels that used a byte, by their place in the chain from 1; 0 for none.
#[derive(Debug, Clone, Copy, Default)]
struct Users {
    reader: u16,
    writer: u16,
}

/// A chain as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The kernels, the one that runs last.
    kernels: Vec<String>,
    used: HashMap<u64, Box<[Users; PAGE as usize]>>,
}

impl Chain {
    /// The next kernel begins.
    pub(crate) fn begin(&mut self, kernel: &str) {
        self.kernels.push(kernel.into());
    }

    /// Notes an access of device memory by a thread that has `waited` or not.
    pub(crate) fn access(
        &mut self,
        waited: bool,
        access: Access,
        address: u64,
        bytes: usize,
    ) -> Result<(), FaultKind> {
        let now = self.kernels.len() as u16;
        let (reads, writes) = (access != Access::Write, access != Access::Read);
        for at in address..address + bytes as u64 {
            let page =
                self.used.entry(at / PAGE).or_insert_with(|| Box::new([Users::default(); _]));
            let users = &mut page[(at % PAGE) as usize];
            let before = |kernel: u16| kernel != 0 && kernel < now;
            let other = match () {
                () if waited => None,
                () if before(users.writer) => Some((Access::Write, users.writer)),
                () if writes && before(users.reader) => Some((Access::Read, users.reader)),
                () => None,
            };
            if let Some((other, kernel)) = other {
                let earlier = self.kernels[usize::from(kernel) - 1].clone();
                return Err(FaultKind::BeforeWait { access, address: at, other, earlier });
            }
            let first = |user: &mut u16, uses: bool| {
                if uses && *user == 0 {
                    *user = now;
                }
            };
            first(&mut users.reader, reads);
            first(&mut users.writer, writes);
        }
        Ok(())
    }
}
