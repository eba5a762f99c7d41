//! What becomes of the sums of a linear layer.

use crate::Activation;

/// What [`Backend::linear`](super::Backend::linear) does to a finished sum before it is stored: activation (or gate), then
/// residual.
///
/// ```
/// use seq2seq_core::{Activation, Backend, Epilogue, Format, HostTensor, LinearSpec, reference::Reference};
///
/// let b = Reference;
/// let layer = b.pack(&LinearSpec::single(HostTensor::from_f32(vec![1, 1], &[2.0])?, None), Format::F32)?;
/// let x = b.upload(&HostTensor::from_f32(vec![2, 1], &[-3.0, 3.0])?)?;
/// let y = |epilogue| b.download(&b.linear(&x, &layer, epilogue)?);
/// assert_eq!(y(Epilogue::NONE)?, [-6.0, 6.0]);
/// assert_eq!(y(Epilogue::activation(Activation::Relu))?, [0.0, 6.0]);
/// // The residual comes last: what is stored is x + relu(layer(x)).
/// let both = Epilogue { activation: Some(Activation::Relu), ..Epilogue::residual(&x) };
/// assert_eq!(y(both)?, [-3.0, 9.0]);
/// // Nothing is dropped but by `autodiff`, in a pass that is trained on.
/// assert_eq!(y(Epilogue::residual(&x).with_dropout(0.5))?, [-9.0, 9.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Epilogue<'a, T> {
    /// Applied after the bias; to the gate half of a gated layer.
    pub activation: Option<Activation>,
    /// The rate at which elements are dropped before the residual in a pass that is trained on
    /// ([`autodiff`](crate::autodiff)); 0 for none. Otherwise nothing is dropped.
    pub dropout: f32,
    /// `[N, out]`, added last.
    pub residual: Option<&'a T>,
}

impl<T> Epilogue<'_, T> {
    /// Bias only.
    pub const NONE: Self = Self { activation: None, dropout: 0.0, residual: None };

    /// The same with dropout at a rate.
    pub fn with_dropout(self, rate: f32) -> Self {
        Self { dropout: rate, ..self }
    }
}

impl<'a, T> Epilogue<'a, T> {
    /// Adds `residual`.
    pub fn residual(residual: &'a T) -> Self {
        Self { residual: Some(residual), ..Self::NONE }
    }

    /// Applies `activation`.
    pub fn activation(activation: Activation) -> Self {
        Self { activation: Some(activation), ..Self::NONE }
    }
}
