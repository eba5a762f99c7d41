//! Places in a model whose rows can be looked at.

use std::fmt;

/// Which stack of a model rows belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that reads.
    Encoder,
    /// The one that writes.
    Decoder,
}

/// What has just been computed where [`Backend::observe`](super::Backend::observe) is called. Displayed as a path such as
/// `encoder.layers.3`.
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
