//! Benches of the seq2seq engine. Run `cargo bench -p seq2seq-benches`; see `benches/`.
//!
//! Criterion prints, beside each time, the rate that it comes to: operations a second for products, to be set beside
//! the peak of the machine, and bytes a second where the weights are streamed, to be set beside its memory bandwidth.

pub mod limits;
