//! Activations.

use super::{Buffer, Pool, Readers};
use crate::driver::{DriverError, Result};
use crate::kernels::operands::Operands;
use crate::kernels::rows::Operand;
use crate::launch::MOST;
use seq2seq_core::Rows;
use std::sync::{Arc, OnceLock};

/// Activations: f32 rows `[N, width]` without gaps, in the device's memory.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{Backend, HostTensor, Rows};
/// use seq2seq_cuda::Tensor;
///
/// let host = HostTensor::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let x: Tensor = cuda.upload(&host)?;
/// assert_eq!((x.rows(), x.width()), (2, 3));
/// let turned = cuda.gather_rows(&x, &[1, 0])?; // asked for, and not waited for
/// drop(x); // its memory is given out again behind what still reads it
/// assert_eq!(cuda.download(&turned)?, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Tensor {
    rows: usize,
    width: usize,
    values: Buffer<f32>,
    /// The rows as the linear layers behind it read them, where it has readers.
    operand: OnceLock<Arc<Operand>>,
    /// Who is told when rows have to be laid out.
    readers: Option<Arc<Readers>>,
}

/// Kernels count rows and columns in 32 bits.
fn check_sides(rows: usize, width: usize) -> Result<()> {
    match rows <= MOST && width <= MOST {
        true => Ok(()),
        false => {
            let (what, most) =
                (format!("a tensor of {rows} x {width}"), format!("{MOST} x {MOST}"));
            Err(DriverError::TooLarge { what, most })
        }
    }
}

impl Tensor {
    /// Rows that are not defined yet.
    pub(crate) fn new(pool: &Arc<Pool>, rows: usize, width: usize) -> Result<Self> {
        check_sides(rows, width)?;
        Ok(Self::of(rows, width, Buffer::new(pool, rows * width)?))
    }

    /// Rows that are there already.
    pub(crate) fn of(rows: usize, width: usize, values: Buffer<f32>) -> Self {
        assert_eq!(values.len(), rows * width, "as many values as there are places");
        Self { rows, width, values, operand: OnceLock::new(), readers: None }
    }

    /// Rows of the host.
    pub(crate) fn upload(pool: &Arc<Pool>, rows: usize, width: usize, x: &[f32]) -> Result<Self> {
        check_sides(rows, width)?;
        Ok(Self::of(rows, width, Buffer::upload(pool, x)?))
    }

    /// As a result of what has these readers, with its rows as the last of them wanted them.
    pub(crate) fn for_readers(mut self, readers: &Arc<Readers>, operand: Option<Operand>) -> Self {
        self.operand = operand.map_or_else(OnceLock::new, |operand| Arc::new(operand).into());
        self.readers = Some(Arc::clone(readers));
        self
    }

    pub(crate) fn values(&self) -> &Buffer<f32> {
        &self.values
    }

    /// The values, for one who reads them as they are and keeps the tensor: rows that were laid out would be kept with it.
    pub(crate) fn values_to_keep(&self) -> &Buffer<f32> {
        if let Some(readers) = &self.readers {
            readers.forget();
        }
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut Buffer<f32> {
        self.operand.take();
        &mut self.values
    }

    /// The rows laid out as `operands`: as kept, or as `make` does it. The first that is made for a layer is kept where there are
    /// readers, and of few bytes beside the values; not in a step, which only lists it: another thread may read the tensor. There what
    /// gave the rows will lay them out the next time.
    pub(crate) fn operand(
        &self,
        operands: Operands,
        make: impl FnOnce() -> Result<Operand>,
    ) -> Result<Arc<Operand>> {
        if let Some(kept) = self.operand.get().filter(|kept| kept.operands == operands) {
            return Ok(Arc::clone(kept));
        }
        let made = Arc::new(make()?);
        if let Some(readers) = self.readers.as_ref().filter(|_| !operands.rows_are_f32()) {
            readers.want(operands);
            if self.values.pool.queue().listed().is_none() {
                // Where another layer has had rows of another kind, those stay.
                let _ = self.operand.set(Arc::clone(&made));
            }
        }
        Ok(made)
    }
}

impl Rows for Tensor {
    fn rows(&self) -> usize {
        self.rows
    }

    fn width(&self) -> usize {
        self.width
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} x {})", self.rows, self.width)
    }
}
