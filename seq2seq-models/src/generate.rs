//! Decoding as Hugging Face `generate()` does it, to the token and the score.

mod session;

pub use session::DecodeSession;
