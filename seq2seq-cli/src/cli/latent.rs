//! The arguments of the commands on the latent space of variational autoencoders.

use super::{DecodingArgs, positive};
use clap::Args;
use std::{num::NonZeroUsize, path::PathBuf};

/// Where sentences go that come of points.
#[derive(Debug, Args)]
pub(crate) struct PointsArgs {
    /// Writes JSON lines where text would be written: {"row", "sequence", "ids", "text", "score", "latent"}; `latent` is
    /// the point.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes JSON lines to FILE, which appears only when all is done, or to standard output for `-`.
    #[arg(long, short, value_name = "FILE|-")]
    pub(crate) output: Option<PathBuf>,
    /// Points that are decoded together.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "64")]
    pub(crate) batch: NonZeroUsize,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
}

/// Writes sentences from random points of a variational autoencoder's latent space.
///
/// Points are drawn of the standard normal distribution, by --seed and their number: of the same seed, more of them begin
/// with the same ones; without one they are others every time. Each is decoded as `generate` decodes a text, greedily unless the options say otherwise.
#[derive(Debug, Args)]
pub(crate) struct SampleArgs {
    /// How many points to draw.
    #[arg(long, short = 'n', value_name = "N", value_parser = positive, default_value = "10")]
    pub(crate) count: NonZeroUsize,
    #[command(flatten)]
    pub(crate) points: PointsArgs,
}

/// Writes sentences along the line between two sentences in a variational autoencoder's latent space.
///
/// The line begins at the mean of what A is taken for and ends at that of B, so that the first and the last sentence are what
/// `generate` writes for the two.
#[derive(Debug, Args)]
pub(crate) struct InterpolateArgs {
    /// Where the line begins.
    #[arg(value_name = "A")]
    pub(crate) from: String,
    /// Where it ends.
    #[arg(value_name = "B")]
    pub(crate) to: String,
    /// Points of the line, its ends included; at least 2.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "7")]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) points: PointsArgs,
}
