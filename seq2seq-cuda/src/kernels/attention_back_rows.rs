//! Queries and the gradient of the result as the way back through attention in bf16 reads them.

use super::angles::Angles;
use super::attention::{WIDTHS, instance};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::{AttentionSpec, Rows};

static ARTIFACT: Artifact = artifact!("attention_back_rows");
static ROWS: Kernel = Kernel::new(&ARTIFACT, "attention_back_rows");
const THREADS: usize = 256;

/// Columns of a piece: sixteen bytes.
const PIECE: usize = 8;

/// Of each row and head, `[N, H]`.
pub(crate) struct Rounded {
    /// Queries, rotated and scaled: pieces of eight columns.
    pub(super) q: Buffer<[u16; PIECE]>,
    /// The gradient of the result, alike.
    pub(super) dy: Buffer<[u16; PIECE]>,
    /// -log2(e) ln Σ e^score, and Σ dy y.
    pub(super) sums: Buffer<[f32; 2]>,
}

/// What an attention left, and the gradient of its result.
pub(crate) struct Left<'a> {
    pub(crate) y: &'a Tensor,
    pub(crate) log_sums: &'a Tensor,
    pub(crate) dy: &'a Tensor,
}

impl Rounded {
    /// Of queries in the first columns of `q`, rotated by `angles` to `positions` where there are any.
    ///
    /// # Safety
    /// The angles reach as far as the positions.
    pub(crate) unsafe fn new(
        cuda: &Cuda,
        q: &Tensor,
        of: &Left<'_>,
        spec: &AttentionSpec,
        (angles, positions): (Option<&Angles>, &Buffer<i32>),
    ) -> Result<Self> {
        let (rows, heads, width) = (q.rows(), spec.heads, spec.head_dim);
        assert!(q.width() >= spec.inner() && positions.len() == rows);
        for x in [of.y, of.dy] {
            assert_eq!((x.rows(), x.width()), (rows, spec.inner()));
        }
        assert_eq!((of.log_sums.rows(), of.log_sums.width()), (rows, heads));
        let (count, pieces) = (rows * heads, width.div_ceil(PIECE));
        let lanes = WIDTHS[instance(width)] / PIECE;
        let (angles, pairs) = Angles::of(angles);
        let mut made = Self {
            q: cuda.buffer(count * pieces)?,
            dy: cuda.buffer(count * pieces)?,
            sums: cuda.buffer(count)?,
        };
        let launch = Launch::new(cuda, &ROWS)
            .grid((count * lanes).div_ceil(THREADS), 1, 1)
            .block(THREADS)
            .arg(q.values())
            .size(q.width())
            .arg(of.y.values())
            .arg(of.dy.values())
            .arg(of.log_sums.values())
            .arg(positions)
            .arg(angles)
            .size(pairs)
            .arg(spec.scale)
            .arg(count as i64)
            .size(heads)
            .size(width)
            .size(lanes)
            .out(&mut made.q)
            .out(&mut made.dy)
            .out(&mut made.sums);
        // SAFETY: sizes are those that were checked, and lanes are as many as a head has pieces, or more; the caller answers for the
        // angles.
        unsafe { launch.run() }?;
        Ok(made)
    }
}
