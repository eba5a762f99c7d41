//! What a tile brings nearer while it computes.

use crate::memory::For;

/// What is to come, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gemm) enum Fetch {
    /// Its own stream of weights, that many bytes ahead, into the first cache: it lies in the second one.
    Near(usize),
    /// The same, into the second cache: it lies in memory. A core waits for a few lines at once on their way into the first
    /// cache, too few for a memory that is far away, and for more on their way into the second.
    Far(usize),
    /// Its share of the next panel or two, tile `tile` of `tiles`, into the second cache.
    Share { tile: usize, tiles: usize },
}

impl Fetch {
    /// Among that many tiles, or more, the next two panels are shared.
    pub(in crate::gemm) const MANY: usize = 16;
}

/// A [`Fetch`] that is compiled in.
pub(super) trait Fetching {
    const PURPOSE: For;
    /// Among how many tiles, at least, a panel is divided.
    const TILES: usize;
}

pub(super) struct Near;
pub(super) struct Far;
pub(super) struct Share;
/// A share among many tiles.
pub(super) struct Part;

impl Fetching for Near {
    const PURPOSE: For = For::Reading;
    const TILES: usize = 1;
}

impl Fetching for Far {
    const PURPOSE: For = For::ReadingLater;
    const TILES: usize = 1;
}

impl Fetching for Share {
    const PURPOSE: For = For::ReadingLater;
    const TILES: usize = 2;
}

impl Fetching for Part {
    const PURPOSE: For = For::ReadingLater;
    const TILES: usize = Fetch::MANY;
}
