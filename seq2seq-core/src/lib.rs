//! The contract between models and backends.
//!
//! A backend implements about twenty fused, transformer-level operations (the
//! traits in [`backend`]), not a tensor algebra. Models are written once over
//! these traits; [`mod@reference`] defines every operation in plain loops, and the
//! `conformance` suite (feature `conformance`) holds each backend to it.
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
    Backend, CrossAttentionOps, DecoderOps, DeviceMemory, EncoderOps, Epilogue, Lookup, Part,
    RecurrentOps, Rows, SeqBackend, Side, Stage,
};
pub use error::{Error, Result};
pub use host::{DType, HostTensor, Quantisation};
pub use ragged::Ragged;
pub use rules::{LogitRule, Sampled, ScoreOrder, TopK, Warp};
pub use spec::{
    Activation, AttentionSpec, BucketSpec, CacheSpec, Cell, Format, LinearPart, LinearSpec,
    NormKind, NormSpec, Pool, RecurrentSpec, Rotary,
};
