//! Why there is no device, or why it failed.

use seq2seq_core::Error;

/// The result of something that a driver does.
pub type Result<T, E = DriverError> = std::result::Result<T, E>;

/// Why there is no device, or why it failed. Each says what to do.
///
/// ```
/// use seq2seq_cuda::{Cuda, driver::DriverError};
///
/// match Cuda::new(99) {
///     Ok(_) => println!("a hundred GPUs!"),
///     // Say that the program runs on the CPU instead.
///     Err(error @ DriverError::NoDriver { .. }) => {
///         assert!(error.to_string().contains("install the driver, or run on the CPU"));
///     }
///     Err(DriverError::NoSuchDevice { index, count }) => assert!(count <= index),
///     Err(error) => println!("{error}"),
/// }
///
/// // As what an operation fails with, it is an error of the engine.
/// let full = DriverError::OutOfMemory { needed: 4096, free: 1024, total: 8192 };
/// let error = seq2seq_core::Error::from(full);
/// assert!(matches!(error, seq2seq_core::Error::OutOfMemory { needed: 4096, free: 1024, .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The driver's library cannot be loaded.
    #[error("no NVIDIA driver: {reason}; install the driver, or run on the CPU")]
    NoDriver {
        /// What the loader says.
        reason: String,
    },
    /// The driver cannot read the kernels that are shipped.
    #[error("the NVIDIA driver supports CUDA {}.{}, but {}.{} or later is needed (driver {needed_release} or later)",
        found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10)]
    DriverTooOld {
        /// What it supports, as it says it: 1000 major + 10 minor.
        found: u32,
        /// What is needed.
        needed: u32,
        /// The first release of the driver that has it.
        needed_release: u32,
    },
    /// There are not as many devices.
    #[error("there is no CUDA device {index}; {}", match count {
        0 => "there are none".to_owned(),
        1 => "there is one, 0".to_owned(),
        n => format!("there are {n}, 0 to {}", n - 1),
    })]
    NoSuchDevice {
        /// The one that was asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The device lacks instructions that the kernels use.
    #[error("{name} has compute capability {}.{}, but 8.0 (Ampere) or later is needed", capability.0, capability.1)]
    DeviceTooOld {
        /// Of the device.
        name: String,
        /// Of the device, major and minor.
        capability: (u32, u32),
    },
    /// The device has no room left.
    #[error("out of device memory: {needed} bytes needed, {free} of {total} are free")]
    OutOfMemory {
        /// Bytes of the allocation that failed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that the device has.
        total: u64,
    },
    /// Something is larger than the device counts.
    #[error("{what} is too large for this device: up to {most}")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The largest there is.
        most: String,
    },
    /// A call of the driver failed.
    #[error("the device failed at {call}: {reason}")]
    Failed {
        /// What was asked for.
        call: String,
        /// What the driver says.
        reason: String,
    },
}

impl DriverError {
    /// [`DriverError::Failed`].
    pub fn failed(call: impl Into<String>, reason: impl ToString) -> Self {
        Self::Failed { call: call.into(), reason: reason.to_string() }
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::OutOfMemory { needed, free, total } => {
                Self::OutOfMemory { needed, free, total }
            }
            DriverError::TooLarge { what, most } => {
                Self::Unsupported { what, hint: format!("up to {most} on this device") }
            }
            DriverError::Failed { call, reason } => Self::Device { call, reason },
            missing => {
                Self::Unsupported { what: "a CUDA device".into(), hint: missing.to_string() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let old = DriverError::DriverTooOld { found: 12040, needed: 13000, needed_release: 580 };
        assert_eq!(
            old.to_string(),
            "the NVIDIA driver supports CUDA 12.4, but 13.0 or later is needed (driver 580 or later)"
        );
        let counts = [0, 1, 3].map(|count| DriverError::NoSuchDevice { index: 4, count });
        let texts = counts.map(|e| e.to_string());
        assert_eq!(texts[0], "there is no CUDA device 4; there are none");
        assert_eq!(texts[1], "there is no CUDA device 4; there is one, 0");
        assert_eq!(texts[2], "there is no CUDA device 4; there are 3, 0 to 2");
        let full = DriverError::OutOfMemory { needed: 30, free: 20, total: 100 };
        assert_eq!(Error::from(full), Error::OutOfMemory { needed: 30, free: 20, total: 100 });
    }
}
