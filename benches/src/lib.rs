//! Benches of the seq2seq engine.
//!
//! `cargo bench -p seq2seq-benches` times every operation on every backend that is built in, side by side; `report` does the
//! same in alternating rounds and writes a record, a table and a drawing. Both take their cases from the conformance suite
//! ([`Timed`](seq2seq_core::conformance::Timed)), so that what is timed is what is checked, and share what is here: the
//! [`backends`], the [`runner`], the least [`work`] of each case and the [`limits`] of the machine.

pub mod backends;
pub mod bench;
pub mod environment;
#[cfg(feature = "peers")]
mod gemm;
pub mod limits;
pub mod lstm;
pub mod runner;
pub mod shapes;
pub mod targets;
pub mod training;
pub mod work;
