//! Linear layers.

mod layout;
mod pack;

use crate::kernels::linear::Fused;
use crate::kernels::operands::Operands;
use crate::kernels::pack::{Place, Target};
use crate::kernels::rows::View;
use crate::memory::{Buffer, Tensor};
use crate::{Cuda, kernels};
use layout::Layout;
use seq2seq_core::backend::check::{self, LinearShape};
use seq2seq_core::{Epilogue, Format, LinearSpec, Result, Rows};

/// A packed linear layer in the device's memory.
///
/// It takes what its format says of the device's memory, and no more:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearSpec};
/// use seq2seq_cuda::Linear;
///
/// let free = || Ok::<_, seq2seq_core::Error>(cuda.device_memory()?.map_or(0, |memory| memory.free));
/// let before = free()?;
/// let weight = HostTensor::from_f32(vec![128, 64], &[0.5; 128 * 64])?;
/// let layer: Linear = cuda.pack(&LinearSpec::single(weight, None), Format::F16)?;
/// let bias = 4 * 128; // zeros here
/// assert_eq!(before - free()?, (Format::F16.bytes(128, 64) + bias) as u64);
///
/// let x = cuda.upload(&HostTensor::from_f32(vec![1, 64], &[1.0; 64])?)?;
/// let y = cuda.linear(&x, &layer, Epilogue::NONE)?;
/// assert_eq!(cuda.download(&y)?, [32.0; 128]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Linear {
    pub(crate) shape: LinearShape,
    pub(crate) gated: bool,
    pub(crate) format: Format,
    /// Multiplies the product; in int8 it is in `channel_scale`.
    pub(crate) scale: f32,
    /// In the layout of `linear_<format>.cu`.
    pub(crate) weights: Buffer<u8>,
    /// Of each channel, in the order of the layout and padded to whole panels, as what follows.
    pub(crate) bias: Buffer<f32>,
    /// int8.
    pub(crate) channel_scale: Option<Buffer<f32>>,
    /// int8: Σ w, i32; int4: Σ group scale · level, f32.
    pub(crate) channel_sum: Option<Buffer<u32>>,
}

/// Packs a layer on the host and uploads it.
pub(crate) fn pack(cuda: &Cuda, spec: &LinearSpec, format: Format) -> Result<Linear> {
    let shape = check::pack(spec, format)?;
    let packed = pack::pack(spec, Operands::on(cuda, format), shape)?;
    let optional = |values: &[f32]| match values.is_empty() {
        true => Ok(None),
        false => cuda.upload_values(values).map(Some),
    };
    let channel_sum = match packed.channel_sum.is_empty() {
        true => None,
        false => Some(cuda.upload_values(&packed.channel_sum)?),
    };
    Ok(Linear {
        shape,
        gated: spec.gated,
        format,
        scale: spec.scale,
        weights: cuda.upload_values(&packed.weights)?,
        bias: cuda.upload_values(&packed.bias)?,
        channel_scale: optional(&packed.channel_scale)?,
        channel_sum,
    })
}

/// A layer of f32 or bf16 without a gate, whose weights and biases are zeros.
pub(crate) fn unpacked(
    cuda: &Cuda,
    format: Format,
    shape: LinearShape,
    scale: f32,
) -> Result<Linear> {
    let layout = Layout::new(Operands::on(cuda, format), shape.product, shape.input);
    Ok(Linear {
        shape,
        gated: false,
        format,
        scale,
        weights: Buffer::filled(cuda.pool(), layout.bytes(), 0)?,
        bias: Buffer::filled(cuda.pool(), layout.channels, 0)?,
        channel_scale: None,
        channel_sum: None,
    })
}

/// Lays rows of `source` out as channels `channel`, `channel` + `step`, ... from column `column` on; f32 and bf16. `bad` is set
/// where a value is not finite.
pub(crate) fn lay_out(
    cuda: &Cuda,
    layer: &mut Linear,
    source: View<'_>,
    [channel, step, column]: [usize; 3],
    bad: &mut Buffer<u32>,
) -> Result<()> {
    let operands = Operands::on(cuda, layer.format);
    let layout = Layout::new(operands, layer.shape.product, layer.shape.input);
    let size = [layout.channels, layout.depth];
    let mut target = Target { operands, size, weights: &mut layer.weights, bad };
    kernels::pack::pack(cuda, source, Place { channel, step, column }, &mut target)?;
    Ok(())
}

fn fused<'a>(epilogue: &Epilogue<'a, Tensor>) -> Fused<'a> {
    let residual = epilogue.residual.map(Tensor::values);
    Fused { activation: epilogue.activation, residual, ..Fused::default() }
}

/// `[N, in]` to `[N, out]`.
pub(crate) fn linear(
    cuda: &Cuda,
    x: &Tensor,
    layer: &Linear,
    epilogue: Epilogue<'_, Tensor>,
) -> Result<Tensor> {
    check::linear(x, layer.shape, &epilogue)?;
    let mut y = cuda.tensor(x.rows(), layer.shape.output)?;
    kernels::linear::of_tensor(cuda, x, layer, fused(&epilogue), y.values_mut())?;
    Ok(y)
}

/// Two layers. Where the first can give its results in the layout and the numbers of the second, they are held in no other.
pub(crate) fn feed_forward(
    cuda: &Cuda,
    x: &Tensor,
    [first, second]: [&Linear; 2],
    [inner, outer]: [Epilogue<'_, Tensor>; 2],
) -> Result<Tensor> {
    check::feed_forward(x, [first.shape, second.shape], [&inner, &outer])?;
    if inner.residual.is_some() || !kernels::linear::lays_out(cuda, x.rows(), [first, second]) {
        return linear(cuda, &linear(cuda, x, first, inner)?, second, outer);
    }
    let mut y = cuda.tensor(x.rows(), second.shape.output)?;
    let fused = [fused(&inner), fused(&outer)];
    kernels::linear::feed_forward(cuda, x, [first, second], fused, y.values_mut())?;
    Ok(y)
}
