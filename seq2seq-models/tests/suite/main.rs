//! The tests of whole models, as one program: each program more links the whole crate once more.

mod adapters;
mod ahead;
mod compare;
mod convert;
mod damage;
mod device_memory;
mod dropout;
mod elbo;
mod generate;
mod levels;
mod loading;
mod lora;
#[cfg(feature = "cuda")]
mod played;
mod sentencepiece;
mod steps;
mod support;
mod tasks;
mod trace;
mod train;
