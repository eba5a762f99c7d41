//! Races: for each byte its last write and the reads since, each with the clock of its thread.
//!
//! The rule of FastTrack (Flanagan and Freund, 2009): an access races with an earlier one of another thread on the same
//! byte, one of them a write, unless the earlier one's clock is known to the later one's thread. Strong operations
//! (atomic, volatile, relaxed and stronger) do not race with each other.

use super::ThreadClock;
use crate::{Access, Party};

const PAGE: usize = 256;

/// Who accesses, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) block: u32,
    pub(crate) thread: u32,
    pub(crate) line: u32,
    /// A strong operation.
    pub(crate) strong: bool,
    /// Whether blocks wait for each other, so that every read of another block counts.
    pub(crate) cooperative: bool,
    pub(crate) clock: &'a ThreadClock,
}

/// A write.
#[derive(Debug, Clone, Copy, Default)]
struct Write {
    block: u32,
    /// 0 where there was none.
    clock: u32,
    line: u32,
    thread: u16,
    strong: bool,
}

/// Reads of some lanes of a warp.
#[derive(Debug, Clone, Copy, Default)]
struct Reads {
    block: u32,
    /// 0 where there was none.
    clock: u32,
    line: u32,
    lanes: u32,
    warp: u16,
    strong: bool,
}

/// What happened to some bytes that are always used together.
#[derive(Debug, Clone, Default)]
struct Cell {
    write: Write,
    reads: Reads,
    /// Reads by other warps of the same block that are not ordered with these; where blocks wait for each other, of any block.
    more: Vec<Reads>,
    /// An example of reads by other blocks, elsewhere.
    elsewhere: Reads,
}

/// Cells of 256 bytes, each of `1 << shift` bytes: as fine as the accesses were.
#[derive(Debug, Clone)]
struct Page {
    shift: u32,
    cells: Vec<Cell>,
}

/// The accesses of one memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Races {
    pages: Vec<Option<Box<Page>>>,
}

impl Races {
    /// Nothing happened yet, in so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { pages: vec![None; bytes.div_ceil(PAGE)] }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.pages.fill(None);
    }

    /// Notes a read; the other side of a race and its byte if there is one.
    pub(crate) fn read(
        &mut self,
        at: usize,
        length: usize,
        who: &Who<'_>,
    ) -> Result<(), (usize, Party)> {
        self.each(at, length, |cell| cell.read(who))
    }

    /// Notes a write; the other side of a race and its byte if there is one.
    pub(crate) fn write(
        &mut self,
        at: usize,
        length: usize,
        who: &Who<'_>,
    ) -> Result<(), (usize, Party)> {
        self.each(at, length, |cell| cell.write(who))
    }

    fn each(
        &mut self,
        at: usize,
        length: usize,
        visit: impl Fn(&mut Cell) -> Result<(), Party>,
    ) -> Result<(), (usize, Party)> {
        let (mut from, end) = (at, at + length);
        while from < end {
            let to = end.min((from / PAGE + 1) * PAGE);
            let fine = (from | to | 16).trailing_zeros();
            let page = self.pages[from / PAGE].get_or_insert_with(|| {
                Box::new(Page { shift: fine, cells: vec![Cell::default(); PAGE >> fine] })
            });
            page.refine(fine);
            let base = from / PAGE * PAGE;
            for cell in (from - base) >> page.shift..(to - base) >> page.shift {
                visit(&mut page.cells[cell]).map_err(|p| (base + (cell << page.shift), p))?;
            }
            from = to;
        }
        Ok(())
    }
}

impl Page {
    /// Makes cells as small as an access needs.
    fn refine(&mut self, shift: u32) {
        if shift < self.shift {
            let times = 1 << (self.shift - shift);
            self.cells =
                self.cells.iter().flat_map(|c| std::iter::repeat_n(c, times)).cloned().collect();
            self.shift = shift;
        }
    }
}

impl Write {
    fn before(&self, who: &Who<'_>) -> bool {
        self.clock == 0
            || (self.block == who.block && u32::from(self.thread) == who.thread)
            || (self.strong && who.strong)
            || who.clock.knows(who.block, self.block, u32::from(self.thread), self.clock)
    }

    fn party(&self) -> Party {
        let access = if self.strong { Access::Atomic } else { Access::Write };
        Party { access, block: self.block, thread: self.thread.into(), line: self.line }
    }
}

impl Reads {
    fn of(who: &Who<'_>) -> Self {
        Self {
            block: who.block,
            clock: who.clock.now,
            line: who.line,
            lanes: 1 << (who.thread % 32),
            warp: (who.thread / 32) as u16,
            strong: who.strong,
        }
    }

    /// The first thread whose read is not known to lie before.
    fn unordered(&self, who: &Who<'_>) -> Option<u32> {
        if self.clock == 0 || (self.strong && who.strong) {
            return None;
        }
        let mut lanes = self.lanes;
        while lanes != 0 {
            let thread = u32::from(self.warp) * 32 + lanes.trailing_zeros();
            let own = self.block == who.block && thread == who.thread;
            if !own && !who.clock.knows(who.block, self.block, thread, self.clock) {
                return Some(thread);
            }
            lanes &= lanes - 1;
        }
        None
    }

    /// Adds a lane to reads of the same warp at the same time.
    fn add(&mut self, new: &Self) -> bool {
        let same = (self.block, self.warp, self.clock, self.strong)
            == (new.block, new.warp, new.clock, new.strong);
        if same {
            self.lanes |= new.lanes;
        }
        same
    }

    fn conflict(&self, who: &Who<'_>) -> Result<(), Party> {
        match self.unordered(who) {
            None => Ok(()),
            Some(thread) => {
                Err(Party { access: Access::Read, block: self.block, thread, line: self.line })
            }
        }
    }
}

impl Cell {
    fn read(&mut self, who: &Who<'_>) -> Result<(), Party> {
        if !self.write.before(who) {
            return Err(self.write.party());
        }
        let new = Reads::of(who);
        if self.reads.add(&new) {
            return Ok(());
        }
        if self.reads.clock != 0 && self.reads.block != new.block && !who.cooperative {
            self.elsewhere = self.reads;
            self.reads = new;
            self.more.clear();
        } else if !self.more.is_empty() {
            if !self.more.iter_mut().any(|r| r.add(&new)) {
                self.more.retain(|r| r.strong || r.unordered(who).is_some());
                self.more.push(new);
            }
        } else if self.reads.unordered(who).is_none() && !self.reads.strong {
            self.reads = new;
        } else {
            self.more.push(new);
        }
        Ok(())
    }

    fn write(&mut self, who: &Who<'_>) -> Result<(), Party> {
        if !self.write.before(who) {
            return Err(self.write.party());
        }
        self.reads.conflict(who)?;
        self.elsewhere.conflict(who)?;
        for reads in &self.more {
            reads.conflict(who)?;
        }
        *self = Self {
            write: Write {
                block: who.block,
                clock: who.clock.now,
                line: who.line,
                thread: who.thread as u16,
                strong: who.strong,
            },
            ..Self::default()
        };
        Ok(())
    }
}
