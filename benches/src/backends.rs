//! The backends that are built in.

use crate::bench::Bench;
#[cfg(feature = "peers")]
use crate::gemm::Gemm;
use crate::runner::{Runner, Wait, runner};
use seq2seq_core::{Backend, Error, Result};
use seq2seq_cpu::{Cpu, CpuOptions, Isa};

/// One device of each backend that is built in, the processor first.
pub const BUILT_IN: &[&str] = &[
    "cpu",
    #[cfg(feature = "cuda")]
    "cuda:0",
    #[cfg(feature = "tch")]
    "tch:cpu",
    #[cfg(feature = "peers")]
    "gemm",
];

/// A device by its name.
pub struct Opened {
    name: String,
    device: Device,
}

enum Device {
    Cpu(Cpu),
    #[cfg(feature = "cuda")]
    Cuda(seq2seq_cuda::Cuda),
    #[cfg(feature = "tch")]
    Tch(seq2seq_tch::Tch),
    #[cfg(feature = "peers")]
    Gemm(Gemm),
}

impl Wait for Cpu {
    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl Wait for seq2seq_cuda::Cuda {
    fn wait(&self) -> Result<()> {
        Ok(self.driver().synchronize()?)
    }
}

#[cfg(feature = "tch")]
impl Wait for seq2seq_tch::Tch {
    fn wait(&self) -> Result<()> {
        self.synchronize();
        Ok(())
    }
}

fn unknown(name: &str) -> Error {
    Error::Unsupported {
        what: format!("device '{name}'"),
        hint: "cpu, cpu:LEVEL; cuda:N with the feature `cuda`; tch:cpu, tch:cuda:N with the \
               feature `tch`; gemm with the feature `peers`"
            .into(),
    }
}

fn cpu(name: &str, threads: usize) -> Result<Device> {
    let isa = name.strip_prefix("cpu:").map(Isa::from_name).transpose()?;
    Ok(Device::Cpu(Cpu::new(CpuOptions { threads: Some(threads), isa })?))
}

#[cfg(feature = "cuda")]
fn cuda(name: &str) -> Result<Device> {
    let number = name.strip_prefix("cuda:").and_then(|n| n.parse().ok());
    Ok(Device::Cuda(seq2seq_cuda::Cuda::new(number.ok_or_else(|| unknown(name))?)?))
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str) -> Result<Device> {
    Err(unknown(name))
}

#[cfg(feature = "tch")]
fn libtorch(name: &str, threads: usize) -> Result<Device> {
    use seq2seq_tch::{Tch, TchDevice, TchOptions};
    let device = match name {
        "tch:cpu" => TchDevice::Cpu,
        _ => {
            let number = name.strip_prefix("tch:cuda:").and_then(|n| n.parse().ok());
            TchDevice::Cuda(number.ok_or_else(|| unknown(name))?)
        }
    };
    let threads = Some(threads);
    Ok(Device::Tch(Tch::new(TchOptions { device, threads, ..TchOptions::default() })?))
}

#[cfg(not(feature = "tch"))]
fn libtorch(name: &str, _: usize) -> Result<Device> {
    Err(unknown(name))
}

impl Opened {
    /// `cpu`, `cpu:LEVEL` with a level of instructions such as `cpu:avx2`, `cuda:N`, `tch:cpu`, `tch:cuda:N`, and `gemm`, the
    /// crate of that name. What runs on the processor runs on so many threads.
    ///
    /// # Errors
    /// Where the name is not one of these, its backend is not built in, or the machine has no such device.
    pub fn open(name: &str, threads: usize) -> Result<Self> {
        let device = match name {
            name if name == "cpu" || name.starts_with("cpu:") => cpu(name, threads)?,
            name if name.starts_with("tch:") => libtorch(name, threads)?,
            #[cfg(feature = "peers")]
            "gemm" => Device::Gemm(Gemm::new(threads)),
            name => cuda(name)?,
        };
        Ok(Self { name: name.into(), device })
    }

    /// As it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the processor, whose [`limits`](crate::limits) are known.
    pub fn is_processor(&self) -> bool {
        self.name.split(':').any(|part| part == "cpu") || self.only_multiplies()
    }

    /// Whether it is no backend, but offers products in f32 alone.
    pub fn only_multiplies(&self) -> bool {
        match &self.device {
            #[cfg(feature = "peers")]
            Device::Gemm(_) => true,
            _ => false,
        }
    }

    /// Whether it can do this.
    pub fn offers<O: Bench>(&self, case: &O::Case) -> bool {
        match &self.device {
            #[cfg(feature = "peers")]
            Device::Gemm(_) => Gemm::product(case).is_some(),
            _ => {
                let _ = case;
                true
            }
        }
    }

    /// The name, and what it runs on.
    pub fn describe(&self) -> String {
        let what = match &self.device {
            Device::Cpu(backend) => backend.describe(),
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => backend.describe(),
            #[cfg(feature = "tch")]
            Device::Tch(backend) => backend.describe(),
            #[cfg(feature = "peers")]
            Device::Gemm(gemm) => gemm.describe(),
        };
        format!("{}: {what}", self.name)
    }

    /// A case, ready to be called.
    ///
    /// # Errors
    /// Those of the operation, and where the device does not [offer](Self::offers) it.
    pub fn prepare<O: Bench>(&self, case: &O::Case) -> Result<Box<dyn Runner>> {
        match &self.device {
            Device::Cpu(backend) => runner::<O, _>(backend, case),
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => runner::<O, _>(backend, case),
            #[cfg(feature = "tch")]
            Device::Tch(backend) => runner::<O, _>(backend, case),
            #[cfg(feature = "peers")]
            Device::Gemm(gemm) => gemm.runner::<O>(case),
        }
    }
}
