//! Where a model runs. The only file that names a backend.

use crate::{Error, Result, checkpoint::Checkpoint, model::Engine, plan::ModelPlan};
use seq2seq_core::{Format, SeqBackend, reference::Reference};
use std::{fmt, str::FromStr};

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The SIMD backend, on the processor.
    #[default]
    Cpu,
    /// The definition of the operations in plain loops: exact, and hundreds of times slower. For tests.
    #[doc(hidden)]
    Reference,
}

impl Device {
    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Reference => "reference",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        [Self::Cpu, Self::Reference]
            .into_iter()
            .find(|d| d.name() == s)
            .ok_or_else(|| Error::Input(format!("device '{s}' is not known; there is: cpu")))
    }
}

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Where it runs.
    pub device: Device,
    /// How linear layers are stored and multiplied. Embeddings stay as they are in the file.
    pub format: Format,
    /// Threads of the CPU backend; all cores where absent.
    pub threads: Option<usize>,
    /// Instruction set of the CPU backend by its name; the best there is where absent.
    pub isa: Option<String>,
    /// One of `architectures` to be used in place of what config.json says, such as `BartForConditionalGeneration`
    /// for a checkpoint that was saved as `BartModel`.
    pub architecture: Option<String>,
}

/// Loads the model onto the device of the options.
pub(crate) fn load(
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    options: &LoadOptions,
) -> Result<Engine> {
    match options.device {
        Device::Cpu => load_cpu(checkpoint, plan, options),
        Device::Reference => on(Reference, checkpoint, plan, options.format),
    }
}

#[cfg(feature = "cpu")]
fn load_cpu(checkpoint: &Checkpoint, plan: &ModelPlan, options: &LoadOptions) -> Result<Engine> {
    let (threads, isa) = (options.threads, options.isa.clone());
    let cpu = seq2seq_cpu::Cpu::new(seq2seq_cpu::CpuOptions { threads, isa })?;
    on(cpu, checkpoint, plan, options.format)
}

#[cfg(not(feature = "cpu"))]
fn load_cpu(_: &Checkpoint, _: &ModelPlan, _: &LoadOptions) -> Result<Engine> {
    Err(seq2seq_core::Error::Unsupported {
        what: "device 'cpu'".into(),
        hint: "this program was built without the feature `cpu`".into(),
    }
    .into())
}

fn on<B: SeqBackend>(
    backend: B,
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    format: Format,
) -> Result<Engine> {
    Engine::load(backend, checkpoint, plan, format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse_their_names() {
        assert_eq!("cpu".parse::<Device>().unwrap(), Device::Cpu);
        assert!("tpu".parse::<Device>().unwrap_err().to_string().contains("cpu"));
    }
}
