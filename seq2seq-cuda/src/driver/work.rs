//! Work that is listed before it is done.

use super::{Arg, Driver, FunctionId, Result, Shape};

/// One thing that a device does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// [`Driver::launch`].
    Launch {
        /// The kernel.
        function: FunctionId,
        /// Its blocks.
        shape: Shape,
        /// Its arguments.
        args: &'a [Arg],
    },
    /// [`Driver::copy`].
    Copy {
        /// The address of the first byte to be read.
        from: u64,
        /// The address of the first byte to be written.
        to: u64,
        /// How many.
        bytes: u64,
    },
    /// [`Driver::fill`].
    Fill {
        /// The address of the first byte.
        to: u64,
        /// What each becomes.
        value: u8,
        /// How many.
        bytes: u64,
    },
}

impl Piece<'_> {
    /// Asks `driver` for it.
    ///
    /// # Safety
    /// That of [`Driver::launch`], where it is a launch.
    pub unsafe fn ask(self, driver: &dyn Driver) -> Result<()> {
        match self {
            // SAFETY: the caller's promise.
            Self::Launch { function, shape, args } => unsafe {
                driver.launch(function, shape, args)
            },
            Self::Copy { from, to, bytes } => driver.copy(from, to, bytes),
            Self::Fill { to, value, bytes } => driver.fill(to, value, bytes),
        }
    }
}

/// Pieces in the order in which they are to be done. Two lists are equal where they say the same to the byte: kernels, shapes,
/// addresses, numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    pieces: Vec<Held>,
    /// Of all launches, one after the other.
    args: Vec<Arg>,
    /// Whether a launch among them is cooperative.
    cooperative: bool,
}

/// A piece without its arguments, of which it has so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Launch { function: FunctionId, shape: Shape, args: usize },
    Copy { from: u64, to: u64, bytes: u64 },
    Fill { to: u64, value: u8, bytes: u64 },
}

impl Work {
    /// Adds a piece behind the others.
    pub fn push(&mut self, piece: Piece<'_>) {
        self.pieces.push(match piece {
            Piece::Launch { function, shape, args } => {
                self.args.extend_from_slice(args);
                self.cooperative |= shape.cooperative;
                Held::Launch { function, shape, args: args.len() }
            }
            Piece::Copy { from, to, bytes } => Held::Copy { from, to, bytes },
            Piece::Fill { to, value, bytes } => Held::Fill { to, value, bytes },
        });
    }

    /// The pieces, in their order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut rest = &self.args[..];
        self.pieces.iter().map(move |&held| match held {
            Held::Launch { function, shape, args } => {
                let (own, behind) = rest.split_at(args);
                rest = behind;
                Piece::Launch { function, shape, args: own }
            }
            Held::Copy { from, to, bytes } => Piece::Copy { from, to, bytes },
            Held::Fill { to, value, bytes } => Piece::Fill { to, value, bytes },
        })
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether it is not for a graph: a launch in it is cooperative.
    pub fn is_cooperative(&self) -> bool {
        self.cooperative
    }

    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Asks `driver` for one piece after the other.
    ///
    /// # Safety
    /// That of [`Driver::launch`], for each launch.
    pub unsafe fn ask(&self, driver: &dyn Driver) -> Result<()> {
        // SAFETY: the caller's promise.
        self.pieces().try_for_each(|piece| unsafe { piece.ask(driver) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(pieces: &[Piece<'_>]) -> Work {
        let mut work = Work::default();
        pieces.iter().for_each(|&piece| work.push(piece));
        work
    }

    #[test]
    fn lists_are_equal_where_each_byte_is() {
        let (grid, block) = ([3, 1, 1], [32, 1, 1]);
        let shape = Shape { grid, block, shared: 0, cooperative: false, overlaps: false };
        let args = [Arg::from(7u64), Arg::from(1i32), Arg::from(0.5f32)];
        let launch = |args| Piece::Launch { function: FunctionId(2), shape, args };
        let fill = Piece::Fill { to: 512, value: 0, bytes: 8 };
        let copy = Piece::Copy { from: 512, to: 1024, bytes: 8 };
        let pieces = [launch(&args[..2]), fill, copy, launch(&args[2..])];
        let work = listed(&pieces);
        assert!(work.pieces().eq(pieces));
        assert_eq!((work.len(), work.is_empty(), work.is_cooperative()), (4, false, false));
        let together = Shape { cooperative: true, ..shape };
        let together = Piece::Launch { function: FunctionId(2), shape: together, args: &args };
        assert!(listed(&[fill, together, copy]).is_cooperative());
        assert_eq!(work, listed(&pieces));
        // The same arguments, divided otherwise; another number; a number of another size; less.
        assert_ne!(work, listed(&[launch(&args[..1]), fill, copy, launch(&args[1..])]));
        let other = [Arg::from(7u64), Arg::from(2i32)];
        assert_ne!(work, listed(&[launch(&other), fill, copy, launch(&args[2..])]));
        let wide = [Arg::from(7u64), Arg::from(1i64)];
        assert_ne!(work, listed(&[launch(&wide), fill, copy, launch(&args[2..])]));
        assert_ne!(work, listed(&pieces[..3]));
    }
}
