//! The kernels that are shipped: an artifact for each `.cu` file, loaded when one of its kernels is first launched.

use crate::driver::{Driver, FunctionId, Image, ModuleId, Result};
use std::collections::HashMap;
use std::sync::{Mutex, RwLock};

/// What `artifacts/build.py` made of one `.cu` file.
#[derive(Debug)]
pub(crate) struct Artifact {
    /// The file's stem.
    pub(crate) name: &'static str,
    /// For any GPU from compute capability 8.0 on, or for one capability alone; the driver compiles it.
    pub(crate) ptx: &'static str,
    /// Of what a step of a decoding launches: the same for any from 9.0 on, where each of its kernels waits by itself for what is
    /// before it (`kernels/overlap.cuh`).
    pub(crate) overlapping: Option<&'static str>,
    /// Of PTX for one capability alone: the machine code that the pinned assembler made of it.
    pub(crate) cubin: Option<&'static [u8]>,
}

impl Artifact {
    /// What a driver is given, that runs machine code or does not, for a device of a compute capability.
    fn image(&self, machine_code: bool, capability: (u32, u32)) -> Image<'static> {
        match (self.cubin, self.overlapping) {
            (Some(cubin), _) if machine_code => Image::Cubin(cubin),
            (_, Some(ptx)) if capability >= OVERLAPS => Image::Ptx(ptx),
            _ => Image::Ptx(self.ptx),
        }
    }

    /// Whether its kernels wait by themselves for what is before them, on a device of a compute capability.
    pub(crate) fn overlaps(&self, capability: (u32, u32)) -> bool {
        self.overlapping.is_some() && capability >= OVERLAPS
    }
}

/// The first compute capability on which a kernel may begin while the one before it runs.
const OVERLAPS: (u32, u32) = (9, 0);

/// The artifact of `kernels/<name>.cu`, for any GPU; for `step`, too, where kernels overlap; or for the target and the
/// architecture that are named, which has kernels that overlap.
macro_rules! artifact {
    ($name:literal) => {
        $crate::module::Artifact {
            name: $name,
            ptx: include_str!(concat!("../../artifacts/", $name, ".compute_80.ptx")),
            overlapping: None,
            cubin: None,
        }
    };
    ($name:literal, step) => {
        $crate::module::Artifact {
            overlapping: Some(include_str!(concat!("../../artifacts/", $name, ".compute_90.ptx"))),
            ..artifact!($name)
        }
    };
    ($name:literal, $target:literal, $architecture:literal) => {{
        const PTX: &str = include_str!(concat!("../../artifacts/", $name, ".", $target, ".ptx"));
        $crate::module::Artifact {
            name: $name,
            ptx: PTX,
            overlapping: Some(PTX),
            cubin: Some(include_bytes!(concat!(
                "../../artifacts/",
                $name,
                ".",
                $architecture,
                ".cubin"
            ))),
        }
    }};
}
pub(crate) use artifact;

/// A kernel: its artifact, its name there, and the most dynamic shared memory that a block is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) artifact: &'static Artifact,
    pub(crate) name: &'static str,
    pub(crate) shared: u32,
}

impl Kernel {
    /// One without dynamic shared memory.
    pub(crate) const fn new(artifact: &'static Artifact, name: &'static str) -> Self {
        Self { artifact, name, shared: 0 }
    }

    /// One with up to `shared` bytes of dynamic shared memory a block.
    pub(crate) const fn with_shared(self, shared: u32) -> Self {
        Self { shared, ..self }
    }
}

/// The kernels that have been loaded on a device.
#[derive(Default)]
pub(crate) struct Loaded {
    /// By the name of the artifact.
    modules: Mutex<HashMap<&'static str, ModuleId>>,
    /// By the names of artifact and kernel. Launches only read.
    functions: RwLock<HashMap<(&'static str, &'static str), FunctionId>>,
}

impl Loaded {
    /// The kernel, loaded at its first use.
    pub(crate) fn function(&self, driver: &dyn Driver, kernel: &Kernel) -> Result<FunctionId> {
        let key = (kernel.artifact.name, kernel.name);
        // Nothing panics while a lock is held; if it did, the maps would still be maps.
        if let Some(&function) = self.functions.read().unwrap_or_else(|e| e.into_inner()).get(&key)
        {
            return Ok(function);
        }
        let module = self.module(driver, kernel.artifact)?;
        let function = driver.function(module, kernel.name, kernel.shared)?;
        self.functions.write().unwrap_or_else(|e| e.into_inner()).insert(key, function);
        Ok(function)
    }

    fn module(&self, driver: &dyn Driver, artifact: &Artifact) -> Result<ModuleId> {
        let mut modules = self.modules.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(&module) = modules.get(artifact.name) {
            return Ok(module);
        }
        let image = artifact.image(driver.runs_machine_code(), driver.capability());
        let module = driver.load(artifact.name, image)?;
        modules.insert(artifact.name, module);
        Ok(module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear_wgmma::BF16 as HOPPER;

    #[test]
    fn machine_code_is_for_who_runs_it() {
        let hopper = (9, 0);
        let Image::Ptx(ptx) = HOPPER.image(false, hopper) else {
            panic!("the played GPU takes PTX")
        };
        assert!(ptx.contains(".target sm_90a"));
        let Image::Cubin(cubin) = HOPPER.image(true, hopper) else {
            panic!("a GPU takes machine code")
        };
        // An ELF file whose machine (190) is CUDA's, of architecture 90 in the second byte of its flags.
        assert_eq!(&cubin[..4], b"\x7fELF");
        assert_eq!((u16::from_le_bytes([cubin[18], cubin[19]]), cubin[49]), (190, 90));
        let any = Artifact { name: "any", ptx: "PTX", overlapping: None, cubin: None };
        assert!(matches!(any.image(true, hopper), Image::Ptx("PTX")));
    }

    /// A driver compiles PTX for the capability of the device or an earlier one.
    #[test]
    fn kernels_that_overlap_are_for_hopper_and_later() {
        let step = Artifact { name: "step", ptx: "80", overlapping: Some("90"), cubin: None };
        let given = |capability| match step.image(true, capability) {
            Image::Ptx(ptx) => (ptx, step.overlaps(capability)),
            Image::Cubin(_) => panic!("it has none"),
        };
        assert_eq!([(8, 0), (8, 9)].map(given), [("80", false); 2]);
        assert_eq!([(9, 0), (10, 0), (12, 1)].map(given), [("90", true); 3]);
        let any = Artifact { overlapping: None, ..step };
        assert!(HOPPER.overlaps((9, 0)) && !any.overlaps((9, 0)));
    }
}
