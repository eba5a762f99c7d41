//! Opening a device.

use crate::cuda;
use crate::fault::Result;
use crate::tensor::{from_slice, to_host};
use seq2seq_core::Error;
use std::fmt;
use tch::Kind;

/// The libtorch that `tch` 0.24.0 binds.
pub(crate) const LIBTORCH: &str = "2.11.0";

/// Where libtorch computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TchDevice {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl fmt::Display for TchDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// What operations compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// f64 from f32 operands, each result rounded to f32 once: the definition of the operations, slow.
    Exact,
    /// f32, as PyTorch does. Layers in [`Format::Bf16`](seq2seq_core::Format::Bf16) and
    /// [`Format::F16`](seq2seq_core::Format::F16) hold their weights so, and multiply in f32: libtorch's products of two bytes
    /// round their results to two bytes, but for one of bf16 on GPUs, which is taken there. Layers in int8 and int4 are computed
    /// as in [`Exact`](Self::Exact), as libtorch has no such products.
    #[default]
    Native,
}

impl Precision {
    /// Its name in [`describe`](seq2seq_core::Backend::describe).
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Native => "native",
        }
    }
}

/// How to open libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TchOptions {
    /// Where it computes.
    pub device: TchDevice,
    /// What it computes in.
    pub precision: Precision,
    /// Threads of libtorch's CPU operations, for the whole process, as libtorch has it; its own choice where absent.
    pub threads: Option<usize>,
}

/// libtorch on one device.
#[derive(Debug, Clone)]
pub struct Tch {
    options: TchOptions,
    device: tch::Device,
}

impl Tch {
    /// Opens the device and has it compute something known, in f32 and bf16. Before anything is called, the version of the
    /// libtorch that is loaded is compared (not on Windows): the loader takes another than this crate was built for without a
    /// word, and it fails oddly later.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a libtorch of another version, with both versions and the file that is loaded; where the device
    /// is not there, where libtorch's CUDA library cannot be loaded, and where the known results do not come out.
    /// [`Error::Invalid`] for 0 threads.
    pub fn new(options: TchOptions) -> Result<Self, Error> {
        #[cfg(unix)]
        if let Some(loaded) = crate::loaded::Loaded::find() {
            loaded.check()?;
        }
        match options.threads {
            Some(0) => return Err(Error::invalid("tch", "0 threads; give 1 or more")),
            Some(threads) => tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX)),
            None => {}
        }
        let device = match options.device {
            TchDevice::Cpu => tch::Device::Cpu,
            TchDevice::Cuda(number) => cuda::open(number)?,
        };
        let this = Self { options, device };
        match this.works() {
            Ok(true) => Ok(this),
            Ok(false) => Err(foreign(options.device, "it gives wrong results")),
            Err(fault) => Err(foreign(options.device, &Error::from(fault).to_string())),
        }
    }

    /// The device, as `tch` has it.
    pub(crate) fn device(&self) -> tch::Device {
        self.device
    }

    /// The options it was opened with.
    pub fn options(&self) -> TchOptions {
        self.options
    }

    /// Returns when the device has done all that it was given; at once on the processor.
    pub fn synchronize(&self) {
        if let tch::Device::Cuda(number) = self.device {
            tch::Cuda::synchronize(number as i64);
        }
    }

    /// What operations compute in.
    pub(crate) fn kind(&self) -> Kind {
        match self.options.precision {
            Precision::Exact => Kind::Double,
            Precision::Native => Kind::Float,
        }
    }

    /// Whether a product and a rounding to bf16 come out as they must.
    fn works(&self) -> Result<bool> {
        // 1 + 2^-8 lies between two bf16 and goes to the even one.
        let x = from_slice(&[1.0, 1.0 + 1.0 / 256.0, -3.0, 65_536.5], &[2, 2], self.device)?;
        let rounded = to_host(&x.f_to_kind(Kind::BFloat16)?)?;
        let product = to_host(&x.f_matmul(&x)?)?;
        let [a, b, c, d] = [1.0, 1.0 + 1.0 / 256.0, -3.0, 65_536.5f64];
        let known = [a * a + b * c, a * b + b * d, c * a + d * c, c * b + d * d];
        let close = |(got, known): (&f32, f64)| {
            (f64::from(*got) - known).abs() <= 1e-3 * known.abs() // TF32 has 10 bits.
        };
        Ok(rounded == [1.0, 1.0, -3.0, 65_536.0] && product.iter().zip(known).all(close))
    }
}

/// The error for a libtorch that does not do what it should.
fn foreign(device: TchDevice, why: &str) -> Error {
    Error::Unsupported {
        what: format!("libtorch on {device}: {why}; it"),
        hint: format!(
            "give libtorch {LIBTORCH} (LIBTORCH, LD_LIBRARY_PATH), which tch 0.24.0 binds"
        ),
    }
}
