//! GPUs, as libtorch sees them.

use crate::Tch;
use seq2seq_core::Error;
use tch::TchError;

impl Tch {
    /// How many GPUs libtorch can compute on: 1 or more.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where there is none, with the reason: a libtorch of another version or one that is built without
    /// CUDA, libraries of CUDA's that are not installed, no driver, no GPU.
    pub fn gpus() -> Result<usize, Error> {
        #[cfg(unix)]
        library()?;
        match usize::try_from(tch::Cuda::device_count()) {
            Ok(count @ 1..) => Ok(count),
            _ => Err(none(&refusal())),
        }
    }
}

/// The GPU of that number.
pub(crate) fn open(number: usize) -> Result<tch::Device, Error> {
    let count = Tch::gpus()?;
    match number < count {
        true => Ok(tch::Device::Cuda(number)),
        false => Err(Error::Unsupported {
            what: format!("device 'tch:cuda:{number}'"),
            hint: match count {
                1 => "libtorch sees one GPU, tch:cuda:0".into(),
                _ => format!("libtorch sees {count} GPUs, tch:cuda:0 to tch:cuda:{}", count - 1),
            },
        }),
    }
}

/// Loads libtorch's CUDA library. Linkers drop it, as nothing in a program names it, and without it libtorch says that there is
/// no CUDA.
#[cfg(unix)]
fn library() -> Result<(), Error> {
    use crate::{loaded::Loaded, open::LIBTORCH};
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    use std::error::Error as _;

    const LIBRARY: &str = "libtorch_cuda.so";
    // A libtorch that is linked into the program has its CUDA operations there, or none.
    let Some(loaded) = Loaded::find() else { return Ok(()) };
    loaded.check()?;
    // The one that belongs to the libtorch that is loaded, and no other that the loader would find.
    let file = loaded.file.with_file_name(LIBRARY);
    if !file.exists() {
        let file = loaded.file.display();
        return Err(none(&format!(
            "this libtorch is built without CUDA: no {LIBRARY} is beside {file}"
        )));
    }
    // SAFETY: what runs is the initialisation of libtorch's own library, which registers its CUDA operations and which a program
    // that links it runs as well.
    match unsafe { Library::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            // It must outlive every use of libtorch.
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => {
            // What the loader says is behind what failed.
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Err(none(&format!(
                "{LIBRARY} cannot be loaded: {why}; pip install torch=={LIBTORCH} without --no-deps installs what it needs"
            )))
        }
    }
}

/// What libtorch says when it is told to compute on a GPU and there is none. The lines behind the first are the C++ stack.
fn refusal() -> String {
    match tch::Tensor::f_zeros([1], (tch::Kind::Float, tch::Device::Cuda(0))) {
        Ok(_) => "libtorch counts no GPU".into(),
        Err(TchError::Torch(text)) => text.lines().next().unwrap_or_default().to_owned(),
        Err(other) => other.to_string(),
    }
}

fn none(why: &str) -> Error {
    Error::Unsupported {
        what: "device 'tch:cuda'".into(),
        hint: format!("{why}; tch:cpu computes on the processor"),
    }
}
