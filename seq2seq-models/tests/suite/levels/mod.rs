//! What `.ci/run` also runs with each lower level of instructions forced (`SEQ2SEQ_CPU_ISA`).

mod curves;
mod f16;
mod gradients;
mod invariance;
mod parity;
mod parity_attentions;
mod parity_generate;
