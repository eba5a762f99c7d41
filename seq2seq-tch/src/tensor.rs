//! Activations, and tensors of libtorch that threads share.

use crate::fault::Result;
use seq2seq_core::{HostTensor, Rows};
use std::ops::Deref;
use tch::Kind;

/// A tensor of libtorch that nobody writes to.
#[derive(Debug)]
pub(crate) struct Shared(tch::Tensor);

// SAFETY: the tensor is only read: this crate calls none of libtorch's operations in place, and replaces a tensor where its
// values change. libtorch counts references atomically and lets threads read a tensor at once.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(tensor: tch::Tensor) -> Self {
        Self(tensor)
    }

    /// Another handle of the same values.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

impl Deref for Shared {
    type Target = tch::Tensor;

    fn deref(&self) -> &tch::Tensor {
        &self.0
    }
}

/// Packed rows `[N, width]` of f32 on the device.
#[derive(Debug)]
pub struct Tensor {
    rows: usize,
    width: usize,
    values: Shared,
}

impl Tensor {
    /// Takes over values of this shape and of any type, rounding them to f32.
    pub(crate) fn new(rows: usize, width: usize, values: tch::Tensor) -> Result<Self> {
        let values = values.f_to_kind(Kind::Float)?.f_reshape([rows as i64, width as i64])?;
        Ok(Self { rows, width, values: Shared::new(values.f_contiguous()?) })
    }

    /// The values, `[N, width]`.
    pub(crate) fn values(&self) -> &tch::Tensor {
        &self.values
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.rows, self.width]
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

/// f32 values of the host on a device.
pub(crate) fn from_slice(
    values: &[f32],
    shape: &[usize],
    device: tch::Device,
) -> Result<tch::Tensor> {
    let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    Ok(tch::Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_device(device)?)
}

/// A host tensor on a device, in f32.
pub(crate) fn from_host(host: &HostTensor, device: tch::Device) -> Result<tch::Tensor> {
    from_slice(&host.to_f32(), host.shape(), device)
}

/// Indices of the host on a device.
pub(crate) fn indices(
    values: impl Iterator<Item = usize>,
    device: tch::Device,
) -> Result<tch::Tensor> {
    let values: Vec<i64> = values.map(|i| i as i64).collect();
    Ok(tch::Tensor::f_from_slice(&values)?.f_to_device(device)?)
}

/// The values of a tensor, row-major.
pub(crate) fn to_host(x: &tch::Tensor) -> Result<Vec<f32>> {
    let x = x.f_to_kind(Kind::Float)?.f_contiguous()?.f_to_device(tch::Device::Cpu)?;
    let mut out = vec![0.0; x.numel()];
    x.f_copy_data(&mut out, x.numel())?;
    Ok(out)
}
