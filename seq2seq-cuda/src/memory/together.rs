//! Tables that go to the device by one copy: a step needs several, of a few numbers each, and a copy of its own takes the
//! device longer than the bytes of all.

use super::{Buffer, Pool};
use crate::driver::{Arg, Result};
use bytemuck::Pod;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

/// A table begins at a multiple of it: kernels read up to four words at a time.
const ALIGN: usize = 16;

/// Copies bytes to a block of some class.
type Upload = fn(&Arc<Pool>, &[u8]) -> Result<Buffer<u8>>;

/// Tables in the making. Those whose length changes from step to step go last, so that the others stay where they are, and a
/// step is like the one before.
#[derive(Default)]
pub(crate) struct Together {
    /// One behind the other.
    bytes: Vec<u8>,
    /// Where each begins, and how many bytes it has.
    tables: Vec<(usize, usize)>,
    sent: Arc<OnceLock<Sent>>,
}

/// Where tables are on the device, and what holds them there.
struct Sent {
    addresses: Vec<u64>,
    _blocks: Vec<Buffer<u8>>,
}

/// One of the tables. It has an address once they are [uploaded](Together::upload).
pub(crate) struct Table<T> {
    sent: Arc<OnceLock<Sent>>,
    number: usize,
    len: usize,
    values: PhantomData<fn() -> T>,
}

impl Together {
    /// Copies `values` to what will be sent.
    pub(crate) fn add<T: Pod>(&mut self, values: &[T]) -> Table<T> {
        let values: &[u8] = bytemuck::cast_slice(values);
        let begin = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(begin, 0);
        self.bytes.extend_from_slice(values);
        self.tables.push((begin, values.len()));
        Table {
            sent: Arc::clone(&self.sent),
            number: self.tables.len() - 1,
            len: values.len() / size_of::<T>(),
            values: PhantomData,
        }
    }

    /// The tables that `add` makes, on the device.
    pub(crate) fn upload<T>(pool: &Arc<Pool>, add: impl FnOnce(&mut Self) -> T) -> Result<T> {
        Self::upload_by(pool, Buffer::upload_tables, add)
    }

    /// The same where some grow with each step.
    pub(crate) fn upload_growing<T>(
        pool: &Arc<Pool>,
        add: impl FnOnce(&mut Self) -> T,
    ) -> Result<T> {
        Self::upload_by(pool, Buffer::upload_growing, add)
    }

    fn upload_by<T>(
        pool: &Arc<Pool>,
        upload: Upload,
        add: impl FnOnce(&mut Self) -> T,
    ) -> Result<T> {
        let mut tables = Self::default();
        let added = add(&mut tables);
        tables.send(pool, upload)?;
        Ok(added)
    }

    /// Sends all of them: by one copy to one block, but by one each where the pool keeps no blocks, as its driver watches who
    /// reads past an end.
    fn send(self, pool: &Arc<Pool>, upload: Upload) -> Result<()> {
        let Self { bytes, tables, sent } = self;
        let sending = match pool.keep {
            true => {
                let block = upload(pool, &bytes)?;
                let address = |&(begin, _): &(usize, usize)| block.address() + begin as u64;
                Sent { addresses: tables.iter().map(address).collect(), _blocks: vec![block] }
            }
            false => {
                let table = |&(begin, count)| upload(pool, &bytes[begin..begin + count]);
                let blocks = tables.iter().map(table).collect::<Result<Vec<_>>>()?;
                Sent { addresses: blocks.iter().map(Buffer::address).collect(), _blocks: blocks }
            }
        };
        // They are sent once, as this takes them.
        let _ = sent.set(sending);
        Ok(())
    }
}

impl<T: Pod> Table<T> {
    /// Values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Its address.
    ///
    /// # Panics
    /// While they are being added.
    pub(crate) fn address(&self) -> u64 {
        self.sent.get().expect("tables are added before they are read").addresses[self.number]
    }
}

/// A table that the device has made.
impl<T: Pod> From<Buffer<T>> for Table<T> {
    fn from(buffer: Buffer<T>) -> Self {
        let (len, block) = (buffer.len(), buffer.into_bytes());
        let sent = Sent { addresses: vec![block.address()], _blocks: vec![block] };
        Self { sent: Arc::new(OnceLock::from(sent)), number: 0, len, values: PhantomData }
    }
}

impl<T: Pod> From<&Table<T>> for Arg {
    fn from(table: &Table<T>) -> Self {
        table.address().into()
    }
}
