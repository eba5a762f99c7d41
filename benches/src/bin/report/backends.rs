//! The backends that are built in.

use crate::runner::{Runner, Wait, runner};
use seq2seq_core::{Backend, Error, Result, conformance::Timed};
use seq2seq_cpu::{Cpu, CpuOptions};

/// A device by its name.
pub(crate) struct Opened {
    name: String,
    device: Device,
}

enum Device {
    Cpu(Cpu),
    #[cfg(feature = "cuda")]
    Cuda(seq2seq_cuda::Cuda),
    #[cfg(feature = "tch")]
    Tch(seq2seq_tch::Tch),
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
        hint: "cpu; cuda:N with the feature `cuda`; tch:cpu, tch:cuda:N with the feature `tch`"
            .into(),
    }
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
    pub(crate) fn open(name: &str, threads: usize) -> Result<Self> {
        let device = match name {
            "cpu" => Device::Cpu(Cpu::new(CpuOptions { threads: Some(threads), isa: None })?),
            name if name.starts_with("tch:") => libtorch(name, threads)?,
            name => cuda(name)?,
        };
        Ok(Self { name: name.into(), device })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name, and what it runs on.
    pub(crate) fn describe(&self) -> String {
        let what = match &self.device {
            Device::Cpu(backend) => backend.describe(),
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => backend.describe(),
            #[cfg(feature = "tch")]
            Device::Tch(backend) => backend.describe(),
        };
        format!("{}: {what}", self.name)
    }

    /// A case, ready to be called.
    pub(crate) fn prepare<O: Timed + 'static>(&self, case: &O::Case) -> Result<Box<dyn Runner>> {
        match &self.device {
            Device::Cpu(backend) => runner::<O, _>(backend, case),
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => runner::<O, _>(backend, case),
            #[cfg(feature = "tch")]
            Device::Tch(backend) => runner::<O, _>(backend, case),
        }
    }
}
