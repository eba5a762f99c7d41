//! The tests of the program `seq2seq`, a module a subcommand or a few.

mod adapter;
mod attention;
mod convert;
mod errors;
mod forward;
mod generate;
mod inspect;
#[cfg(unix)]
mod interrupt;
mod latent;
mod support;
mod tasks;
mod trace;
mod training;
