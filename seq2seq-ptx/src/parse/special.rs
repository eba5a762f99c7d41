//! Special registers.

/// A special register that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// Index of the thread in its block, along an axis.
    Thread(usize),
    /// Threads of a block, along an axis.
    Threads(usize),
    /// Index of the block, along an axis.
    Block(usize),
    /// Blocks of the grid, along an axis.
    Blocks(usize),
    /// Lane in the warp.
    Lane,
    /// Warp in the block.
    Warp,
    /// Warps of a block.
    Warps,
    /// Lanes of a warp: 32.
    WarpSize,
    /// A mask of lanes by their relation to this one.
    LaneMask(LaneMask),
    /// A counter that grows with the work done.
    Clock,
    /// Bytes of dynamic shared memory.
    DynamicShared,
    /// Bytes of all shared memory.
    TotalShared,
    /// Always zero here: one multiprocessor, one grid.
    Zero,
    /// Always one here: clusters are of one block, and there is one multiprocessor.
    One,
}

/// Which lanes a `%lanemask_` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneMask {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Special {
    pub(crate) fn of(name: &str) -> Option<Self> {
        if let Some((base, axis)) = name.rsplit_once('.') {
            let axis = ["x", "y", "z"].iter().position(|a| *a == axis)?;
            return Some(match base {
                "%tid" => Self::Thread(axis),
                "%ntid" => Self::Threads(axis),
                "%ctaid" | "%clusterid" => Self::Block(axis),
                "%nctaid" | "%nclusterid" => Self::Blocks(axis),
                "%cluster_ctaid" => Self::Zero,
                "%cluster_nctaid" => Self::One,
                _ => return None,
            });
        }
        Some(match name {
            "%laneid" => Self::Lane,
            "%warpid" => Self::Warp,
            "%nwarpid" => Self::Warps,
            "WARP_SZ" => Self::WarpSize,
            "%lanemask_eq" => Self::LaneMask(LaneMask::Equal),
            "%lanemask_lt" => Self::LaneMask(LaneMask::Less),
            "%lanemask_le" => Self::LaneMask(LaneMask::LessEqual),
            "%lanemask_gt" => Self::LaneMask(LaneMask::Greater),
            "%lanemask_ge" => Self::LaneMask(LaneMask::GreaterEqual),
            "%clock" | "%clock64" | "%globaltimer" => Self::Clock,
            "%dynamic_smem_size" => Self::DynamicShared,
            "%total_smem_size" => Self::TotalShared,
            "%smid" | "%gridid" | "%cluster_ctarank" => Self::Zero,
            "%nsmid" | "%cluster_nctarank" => Self::One,
            _ => return None,
        })
    }
}
