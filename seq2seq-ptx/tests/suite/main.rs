//! Tests of the interpreter: its instructions, the mistakes that it must find, and whole kernels.

mod faults;
mod hopper;
mod host;
mod instructions;
mod overlap;
mod whole;
