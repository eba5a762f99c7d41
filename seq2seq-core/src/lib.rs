//! The contract between models and backends.
//!
//! A backend implements about twenty fused, transformer-level operations (the
//! traits in [`backend`]), not a tensor algebra. Models are written once over
//! these traits; [`mod@reference`] defines every operation in plain loops, and the
//! `conformance` suite (feature `conformance`) holds each backend to it.
//!
//! ```
//! use seq2seq_core::{reference::Reference, *};
//!
//! // Any backend in place of the reference: y = x Wᵀ + b, and then GELU.
//! let backend = Reference;
//! let weight = HostTensor::from_f32(vec![2, 3], &[0.5, -1.0, 0.25, 1.0, 0.0, -0.5])?;
//! let bias = HostTensor::from_f32(vec![2], &[0.0, 1.0])?;
//! let layer = backend.pack(&LinearSpec::single(weight, Some(bias)), Format::F32)?;
//! let x = backend.upload(&HostTensor::from_f32(vec![1, 3], &[1.0, 2.0, 3.0])?)?;
//! let y = backend.linear(&x, &layer, Epilogue::activation(Activation::Gelu))?;
//! assert_eq!((y.rows(), y.width()), (1, 2));
//! println!("{:?}", backend.download(&y)?);
//! # Ok::<(), Error>(())
//! ```
//!
//! What a backend is asked for (activations, formats, rules) are enums that it matches in full: one more of them is a change that
//! each backend must answer, and comes with a new version of this crate. Errors may grow at any time.
//!
//! Shape letters used in all documentation: B batch, S source, T target,
//! N packed rows, M width, H heads, G key-value heads, D head width,
//! F feed-forward width, V vocabulary, L layers.
#![forbid(unsafe_code)]

pub mod autodiff;
pub mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod host;
pub mod noise;
pub mod quant;
pub mod ragged;
pub mod reference;
pub mod rules;
pub mod spec;
pub mod train;

pub use backend::{
    Backend, Beams, Continued, ConvolutionOps, CrossAttentionOps, DecoderOps, DeviceMemory,
    EncoderOps, Epilogue, Lookup, Part, Pick, Picked, RecurrentOps, Rows, SeqBackend, Side, Stage,
};
pub use error::{Error, Result};
pub use host::{DType, HostTensor, Quantisation};
pub use ragged::Ragged;
pub use rules::{LogitRule, Sampled, ScoreOrder, TopK, Warp};
pub use spec::{
    Activation, AttentionSpec, BucketSpec, CacheSpec, Cell, Format, Grid, LinearPart, LinearSpec,
    NormKind, NormSpec, Pool, Precision, RecurrentSpec, Rotary, Windows, channels_last,
};
