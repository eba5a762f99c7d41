//! Errors on their way to the caller.

use seq2seq_core::Error;
use tch::TchError;

/// What stopped an operation: a mistake of the caller, or libtorch.
#[derive(Debug)]
pub(crate) enum Fault {
    Core(Error),
    Torch(TchError),
}

/// The result of an operation before it is given to the caller.
pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<TchError> for Fault {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Core(error) => error,
            // The lines behind the first are the C++ stack.
            Fault::Torch(error) => {
                let text = error.to_string();
                let reason = text.lines().next().unwrap_or_default().to_owned();
                Self::Device { call: "libtorch".into(), reason }
            }
        }
    }
}
