//! What the traits ask for: checks, memory, and the launches that it takes.

pub(crate) mod embed;
pub(crate) mod norm;
pub(crate) mod pool;
