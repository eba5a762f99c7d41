//! Where a model runs. The only file that names a backend.
//!
//! ```
//! use seq2seq_models::{Device, Error, LoadOptions, Model, Torch, device::{Found, devices}};
//!
//! /// The first GPU that our kernels can use, or else the processor.
//! fn best() -> Result<Device, Error> {
//!     let usable = |found: &Found| found.name.starts_with("cuda:") && found.what.is_ok();
//!     devices().into_iter().find(usable).map_or(Ok(Device::Cpu), |found| found.name.parse())
//! }
//!
//! # let folder = "../fixtures/bert";
//! let model = Model::load(folder, &LoadOptions { device: best()?, ..LoadOptions::default() })?;
//! println!("runs on {}", model.device());
//!
//! // What libtorch computes, where it is there, is a second opinion.
//! let exact = Device::Torch(Torch { cuda: None, exact: true });
//! assert_eq!(exact, "tch:cpu:exact".parse()?);
//! match Model::load(folder, &LoadOptions { device: exact, ..LoadOptions::default() }) {
//!     Ok(model) => println!("and on {}", model.device()),
//!     Err(error) => println!("but not on libtorch: {error}"), // this program was built without it, say
//! }
//! # Ok::<(), Error>(())
//! ```

use crate::{
    Error, Files, Result,
    checkpoint::{Checkpoint, Formats, ModuleFormat},
    model::{Engine, Observer},
    plan::ModelPlan,
    train::Learning,
};
use seq2seq_core::{Format, reference::Reference, train::TrainBackend};
use std::{fmt, path::PathBuf, str::FromStr};

/// What computes. Every device has its name whatever a program was built with; one whose feature is absent is an error when a
/// model is loaded.
///
/// ```
/// use seq2seq_models::{Device, LoadOptions};
///
/// let options = LoadOptions { device: "cuda:0".parse()?, ..LoadOptions::default() };
/// assert_eq!(options.device, Device::Cuda(0));
/// assert!("tpu".parse::<Device>().is_err());
/// for found in seq2seq_models::device::devices() {
///     println!("{}: {:?}", found.name, found.what);
/// }
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// `cpu`: the SIMD backend, on the processor (feature `cpu`).
    #[default]
    Cpu,
    /// `cuda:0`: our kernels on the NVIDIA GPU of this number (feature `cuda`). The driver is all they need.
    Cuda(usize),
    /// `tch:cpu`, `tch:cuda:0`: libtorch (feature `tch`).
    Torch(Torch),
    /// The definition of the operations in plain loops: exact, and hundreds of times slower. For tests.
    #[doc(hidden)]
    Reference,
}

/// Where and how libtorch computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Torch {
    /// The number of a GPU; the processor where absent.
    pub cuda: Option<usize>,
    /// `tch:cpu:exact`: in f64, each result rounded to f32 once. A second oracle, and slow; otherwise as PyTorch computes.
    pub exact: bool,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Torch(Torch { cuda, exact }) => {
                match cuda {
                    Some(number) => write!(f, "tch:cuda:{number}")?,
                    None => f.write_str("tch:cpu")?,
                }
                f.write_str(if *exact { ":exact" } else { "" })
            }
            Self::Reference => f.write_str("reference"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `cpu`; `cuda` (the first GPU), `cuda:N`; both behind `tch:`, and then also with `:exact` behind them.
    fn from_str(s: &str) -> Result<Self> {
        let unknown = || {
            let known = "cpu, cuda:0, tch:cpu, tch:cuda:0";
            Error::Input(format!("device '{s}' is not known; there are: {known}"))
        };
        if s == "reference" {
            return Ok(Self::Reference);
        }
        let (torch, place) = s.strip_prefix("tch:").map_or((false, s), |place| (true, place));
        let (exact, place) = match place.strip_suffix(":exact") {
            Some(place) if torch => (true, place),
            _ => (false, place),
        };
        let cuda = match place {
            "cpu" => None,
            "cuda" => Some(0),
            _ => {
                let number = place.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                Some(number.ok_or_else(unknown)?)
            }
        };
        Ok(match (torch, cuda) {
            (true, cuda) => Self::Torch(Torch { cuda, exact }),
            (false, Some(number)) => Self::Cuda(number),
            (false, None) => Self::Cpu,
        })
    }
}

/// How to load a model.
///
/// ```
/// use seq2seq_models::{Forward, LoadOptions, Model, seq2seq_core::Format};
///
/// # let folder = "../fixtures/t5_v1_0";
/// // Of an encoder-decoder the encoder alone, in half the memory, on two threads.
/// let options = LoadOptions {
///     format: Format::Bf16,
///     architecture: Some("T5EncoderModel".into()),
///     threads: Some(2),
///     ..LoadOptions::default()
/// };
/// let encoder = Model::load(folder, &options)?;
/// assert!(encoder.plan().has_encoder() && !encoder.plan().generates());
///
/// // The bits do not hang on the number of threads.
/// let one = Model::load(folder, &LoadOptions { threads: Some(1), ..options })?;
/// let request = Forward { input_ids: vec![vec![14, 15, 9, 1]], ..Forward::default() };
/// assert_eq!(one.forward(&request)?[0].values, encoder.forward(&request)?[0].values);
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
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
    /// Threads of the CPU backend, one for each physical core where absent; or of libtorch, its own choice where absent.
    pub threads: Option<usize>,
    /// Instruction set of the CPU backend by its name: `scalar`, `avx2`, `avx512`, `neon`. Where absent, what
    /// `SEQ2SEQ_CPU_ISA` names, or the best that the machine has.
    pub isa: Option<String>,
    /// A folder of low-rank adapters (LoRA), as peft or a training here writes it, to be added to the weights
    /// ([`Checkpoint::with_adapter`]). The model is as large and as fast as without.
    pub adapter: Option<PathBuf>,
    /// One of `architectures` to be used in place of what config.json says, such as `BartForConditionalGeneration`
    /// for a checkpoint that was saved as `BartModel`.
    pub architecture: Option<String>,
}

impl LoadOptions {
    /// Opens a checkpoint as these options want it: read as their architecture, with their adapters.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`] and [`Checkpoint::with_adapter`].
    pub fn open(&self, files: Files) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::open(files, self.architecture.as_deref())?;
        match &self.adapter {
            None => Ok(checkpoint),
            Some(folder) => checkpoint.with_adapter(Files::folder(folder)?),
        }
    }

    /// The formats of all layers.
    pub(crate) fn formats(&self) -> Formats {
        Formats { format: self.format, exceptions: self.module_formats.clone() }
    }
}

/// A device that a program can compute on, or why it cannot.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// Its name in options; without a number where none of its kind was found.
    pub name: String,
    /// What it is, or what is missing.
    pub what: Result<String, String>,
}

/// What this machine and this program have to compute on: the processor, every GPU that the driver lists, and the same as
/// libtorch sees it.
pub fn devices() -> Vec<Found> {
    let mut found = vec![Found::named(Device::Cpu)];
    found.extend(cuda_found());
    found.extend(torch_found());
    found
}

impl Found {
    /// A device that is asked for by its name.
    fn named(device: Device) -> Self {
        Self { name: device.to_string(), what: opens(device) }
    }
}

/// Says what a backend is.
struct Describe;

impl Task for Describe {
    type Output = String;

    fn on<B: TrainBackend>(self, backend: B) -> Result<String> {
        Ok(backend.describe())
    }
}

/// What opens under these options.
fn opens(device: Device) -> Result<String, String> {
    let options = LoadOptions { device, ..LoadOptions::default() };
    run(&options, Describe).map_err(|error| error.to_string())
}

#[cfg(feature = "cuda")]
fn cuda_found() -> Vec<Found> {
    let found = |(number, device): (usize, seq2seq_cuda::driver::DeviceInfo)| {
        let ((major, minor), gib) = (device.capability, device.memory >> 30);
        let what = format!("{}, compute capability {major}.{minor}, {gib} GiB", device.name);
        let old = || format!("{what}: the kernels take 8.0 (Ampere) or later");
        let what = if device.usable { Ok(what) } else { Err(old()) };
        Found { name: format!("cuda:{number}"), what }
    };
    match seq2seq_cuda::driver::Nvidia::devices() {
        Ok(devices) if devices.is_empty() => {
            vec![Found { name: "cuda".into(), what: Err("the driver lists no GPU".into()) }]
        }
        Ok(devices) => devices.into_iter().enumerate().map(found).collect(),
        Err(error) => vec![Found { name: "cuda".into(), what: Err(error.to_string()) }],
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda_found() -> Vec<Found> {
    let what = opens(Device::Cuda(0));
    vec![Found { name: "cuda".into(), what }]
}

/// libtorch on the processor and on each GPU. Where the first of them does not open, libtorch itself is what is missing.
fn torch_found() -> Vec<Found> {
    let cpu = Found::named(Device::Torch(Torch::default()));
    let gpus = if cpu.what.is_ok() { torch_gpus() } else { Vec::new() };
    std::iter::once(cpu).chain(gpus).collect()
}

#[cfg(feature = "tch")]
fn torch_gpus() -> Vec<Found> {
    let gpu = |number| Found::named(Device::Torch(Torch { cuda: Some(number), exact: false }));
    match seq2seq_tch::Tch::gpus() {
        Ok(count) => (0..count).map(gpu).collect(),
        Err(error) => vec![Found { name: "tch:cuda".into(), what: Err(error.to_string()) }],
    }
}

#[cfg(not(feature = "tch"))]
fn torch_gpus() -> Vec<Found> {
    Vec::new()
}

/// Something to be done on a backend.
trait Task {
    type Output;

    fn on<B: TrainBackend>(self, backend: B) -> Result<Self::Output>;
}

/// Does it on the device of the options.
fn run<T: Task>(options: &LoadOptions, task: T) -> Result<T::Output> {
    match options.device {
        Device::Cpu => cpu(options, task),
        Device::Cuda(number) => cuda(options, number, task),
        Device::Torch(torch) => libtorch(options, torch, task),
        Device::Reference => task.on(Reference),
    }
}

/// Loads the model onto the device of the options; `observer` may look into it.
pub(crate) fn load(
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    options: &LoadOptions,
    observer: Observer<'_>,
) -> Result<Engine> {
    struct Load<'a>(&'a Checkpoint, &'a ModelPlan, &'a LoadOptions, Observer<'a>);
    impl Task for Load<'_> {
        type Output = Engine;

        fn on<B: TrainBackend>(self, backend: B) -> Result<Engine> {
            let Self(checkpoint, plan, options, observer) = self;
            Engine::load(backend, checkpoint, plan, &options.formats(), observer)
        }
    }
    run(options, Load(checkpoint, plan, options, observer))
}

/// Loads the model onto the device of the options, to be trained.
pub(crate) fn learn(
    checkpoint: &Checkpoint,
    plan: &ModelPlan,
    options: &LoadOptions,
) -> Result<Learning> {
    struct Learn<'a>(&'a Checkpoint, &'a ModelPlan, &'a LoadOptions);
    impl Task for Learn<'_> {
        type Output = Learning;

        fn on<B: TrainBackend>(self, backend: B) -> Result<Learning> {
            let Self(checkpoint, plan, options) = self;
            Learning::load(backend, checkpoint, plan, &options.formats())
        }
    }
    run(options, Learn(checkpoint, plan, options))
}

#[cfg(feature = "cpu")]
fn cpu<T: Task>(options: &LoadOptions, task: T) -> Result<T::Output> {
    use seq2seq_cpu::{Cpu, CpuOptions, Isa};
    let isa = options.isa.as_deref().map(Isa::from_name).transpose()?;
    task.on(Cpu::new(CpuOptions { threads: options.threads, isa })?)
}

#[cfg(not(feature = "cpu"))]
fn cpu<T: Task>(options: &LoadOptions, _: T) -> Result<T::Output> {
    Err(built_without(options.device, "cpu"))
}

#[cfg(feature = "cuda")]
fn cuda<T: Task>(_: &LoadOptions, number: usize, task: T) -> Result<T::Output> {
    task.on(seq2seq_cuda::Cuda::new(number).map_err(seq2seq_core::Error::from)?)
}

#[cfg(not(feature = "cuda"))]
fn cuda<T: Task>(options: &LoadOptions, _: usize, _: T) -> Result<T::Output> {
    Err(built_without(options.device, "cuda"))
}

#[cfg(feature = "tch")]
fn libtorch<T: Task>(options: &LoadOptions, torch: Torch, task: T) -> Result<T::Output> {
    use seq2seq_tch::{Precision, Tch, TchDevice, TchOptions};
    let device = torch.cuda.map_or(TchDevice::Cpu, TchDevice::Cuda);
    let precision = if torch.exact { Precision::Exact } else { Precision::Native };
    task.on(Tch::new(TchOptions { device, precision, threads: options.threads })?)
}

#[cfg(not(feature = "tch"))]
fn libtorch<T: Task>(options: &LoadOptions, _: Torch, _: T) -> Result<T::Output> {
    Err(built_without(options.device, "tch"))
}

#[cfg(not(all(feature = "cpu", feature = "cuda", feature = "tch")))]
fn built_without(device: Device, feature: &str) -> Error {
    seq2seq_core::Error::Unsupported {
        what: format!("device '{device}'"),
        hint: format!("this program was built without the feature `{feature}`"),
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
        let torch = ["tch:cpu", "tch:cuda:0", "tch:cuda:12", "tch:cpu:exact"];
        for name in ["cpu", "cuda:0", "cuda:3", "reference"].into_iter().chain(torch) {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        assert_eq!("tch:cuda".parse::<Device>().unwrap().to_string(), "tch:cuda:0");
        for unknown in [
            "tpu",
            "tch",
            "tch:",
            "tch:cuda:",
            "tch:cuda:x",
            "tch:cuda:-1",
            "cpu:exact",
            "cuda:0:exact",
            "",
        ] {
            let error = unknown.parse::<Device>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("'{unknown}'")) && error.contains("tch:cpu"),
                "{error}"
            );
        }
    }
}
