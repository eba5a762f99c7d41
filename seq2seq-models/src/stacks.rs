//! Blocks in a row, and whole models made of stacks and a head.

mod head;
mod input;
mod session;
mod stack;
#[cfg(test)]
mod tests;
mod transformer;

pub(crate) use input::check_ids;
pub(crate) use transformer::Transformer;
