//! Where a model runs. The only file that names a backend.

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, Formats, ModuleFormat},
    model::{Engine, Observer},
    plan::ModelPlan,
    train::Learning,
};
use seq2seq_core::{Format, reference::Reference};
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
    /// How linear layers are stored and multiplied, as far as the format is meant for them
    /// ([`layer_format`](crate::checkpoint::layer_format)). Embeddings stay as they are in the file.
    pub format: Format,
    /// Layers that are stored in another format. One that matches no layer is an error; of two that match, the later
    /// is taken.
    pub module_formats: Vec<ModuleFormat>,
    /// Threads of the CPU backend; one for each physical core where absent.
    pub threads: Option<usize>,
    /// Instruction set of the CPU backend by its name: `scalar`, `avx2`, `avx512`, `neon`. Where absent, what
    /// `SEQ2SEQ_CPU_ISA` names, or the best that the machine has.
    pub isa: Option<String>,
    /// One of `architectures` to be used in place of what config.json says, such as `BartForConditionalGeneration`
    /// for a checkpoint that was saved as `BartModel`.
    pub architecture: Option<String>,
}

impl LoadOptions {
    /// The formats of all layers.
    pub(crate) fn formats(&self) -> Formats {
        Formats { format: self.format, exceptions: self.module_formats.clone() }
    }
}

/// Loads the model onto the device of the options; `observer` may look into it.
pub(crate) fn load(
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    options: &LoadOptions,
    observer: Observer<'_>,
) -> Result<Engine> {
    match options.device {
        Device::Cpu => load_cpu(checkpoint, plan, options, observer),
        Device::Reference => {
            Engine::load(Reference, checkpoint, plan, &options.formats(), observer)
        }
    }
}

/// Loads the model onto the device of the options, to be trained.
pub(crate) fn learn(
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    options: &LoadOptions,
) -> Result<Learning> {
    match options.device {
        Device::Cpu => learn_cpu(checkpoint, plan, options),
        Device::Reference => Learning::load(Reference, checkpoint, plan, &options.formats()),
    }
}

#[cfg(feature = "cpu")]
fn load_cpu(
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    options: &LoadOptions,
    observer: Observer<'_>,
) -> Result<Engine> {
    Engine::load(cpu(options)?, checkpoint, plan, &options.formats(), observer)
}

#[cfg(feature = "cpu")]
fn learn_cpu(checkpoint: &Checkpoint, plan: &ModelPlan, options: &LoadOptions) -> Result<Learning> {
    Learning::load(cpu(options)?, checkpoint, plan, &options.formats())
}

#[cfg(feature = "cpu")]
fn cpu(options: &LoadOptions) -> Result<seq2seq_cpu::Cpu> {
    use seq2seq_cpu::{Cpu, CpuOptions, Isa};
    let isa = options.isa.as_deref().map(Isa::from_name).transpose()?;
    Ok(Cpu::new(CpuOptions { threads: options.threads, isa })?)
}

#[cfg(not(feature = "cpu"))]
fn load_cpu(_: &Checkpoint, _: &ModelPlan, _: &LoadOptions, _: Observer<'_>) -> Result<Engine> {
    Err(no_cpu())
}

#[cfg(not(feature = "cpu"))]
fn learn_cpu(_: &Checkpoint, _: &ModelPlan, _: &LoadOptions) -> Result<Learning> {
    Err(no_cpu())
}

#[cfg(not(feature = "cpu"))]
fn no_cpu() -> Error {
    seq2seq_core::Error::Unsupported {
        what: "device 'cpu'".into(),
        hint: "this program was built without the feature `cpu`".into(),
    }
    .into()
}

/// The CPU at every level that this machine has, or at the one that `SEQ2SEQ_CPU_ISA` forces.
#[cfg(all(test, feature = "cpu"))]
pub(crate) fn every_cpu() -> Vec<impl seq2seq_core::SeqBackend> {
    use seq2seq_cpu::{Cpu, CpuOptions, Isa, isa::ISA_VARIABLE};
    let levels = match std::env::var(ISA_VARIABLE) {
        Ok(name) => vec![Isa::from_name(&name).unwrap()],
        Err(_) => Isa::available(),
    };
    let cpu = |isa| Cpu::new(CpuOptions { threads: Some(2), isa: Some(isa) }).unwrap();
    levels.into_iter().map(cpu).collect()
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
