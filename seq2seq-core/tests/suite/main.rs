//! The tests of the definitions: against PyTorch, against differences, and of the suite that holds backends to them.

mod conformance;
mod gradients;
mod mutant;
mod mutations;
mod reference;
