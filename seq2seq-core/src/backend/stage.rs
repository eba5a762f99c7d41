//! Places in a model whose rows can be looked at.

use std::fmt;

/// Which stack of a model rows belong to.
///
/// ```
/// use seq2seq_core::{Side, Stage};
///
/// /// Whether a stage is one that reads.
/// let reads = |stage| matches!(stage, Stage::Embedding(side) | Stage::Layer(side, _) | Stage::Norm(side) if side == Side::Encoder);
/// assert!(reads(Stage::Layer(Side::Encoder, 3)) && !reads(Stage::Layer(Side::Decoder, 3)));
/// assert_eq!(Side::Encoder.to_string(), "encoder");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that reads.
    Encoder,
    /// The one that writes.
    Decoder,
}

/// What has just been computed where [`Backend::observe`](super::Backend::observe) is called. Displayed as a path such as
/// `encoder.layers.3`.
///
/// ```
/// use seq2seq_core::{inherit, reference::Reference, *};
/// use std::sync::{Arc, Mutex};
///
/// /// Notes what is computed, and its largest magnitude.
/// #[derive(Clone)]
/// struct Watched<B> {
///     inner: B,
///     seen: Arc<Mutex<Vec<(String, f32)>>>,
/// }
///
/// impl<B: Backend> Backend for Watched<B> {
///     inherit! { inner: B =>
///         Tensor, Linear, Norm, Embedding,
///         describe, formats, device_memory, upload, download, pack, linear, embedding, embed, norm_weights, norm, gather_rows, pool,
///         dropout, step
///     }
///
///     fn observe(&self, stage: Stage, x: &B::Tensor) -> Result<()> {
///         let largest = self.download(x)?.into_iter().map(f32::abs).fold(0.0, f32::max);
///         self.seen.lock().unwrap().push((stage.to_string(), largest));
///         Ok(())
///     }
/// }
///
/// let b = Watched { inner: Reference, seen: Arc::default() };
/// // What a model calls once it has computed a layer.
/// let x = b.upload(&HostTensor::from_f32(vec![1, 2], &[0.5, -3.0])?)?;
/// b.observe(Stage::Layer(Side::Encoder, 3), &x)?;
/// assert_eq!(*b.seen.lock().unwrap(), [("encoder.layers.3".into(), 3.0)]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The embedded tokens.
    Embedding(Side),
    /// One layer, counted from 0.
    Layer(Side, usize),
    /// The norm behind the last layer.
    Norm(Side),
    /// The means and the logarithms of the variances that a variational autoencoder takes its sources for.
    Latent,
    /// What a recurrent decoder makes of its state and of what it attended to.
    Attention,
    /// The scores of the head, or what else it gives.
    Head,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding(side) => write!(f, "{side}.embed"),
            Self::Layer(side, layer) => write!(f, "{side}.layers.{layer}"),
            Self::Norm(side) => write!(f, "{side}.norm"),
            Self::Latent => f.write_str("encoder.latent"),
            Self::Attention => f.write_str("decoder.attention"),
            Self::Head => f.write_str("head"),
        }
    }
}
