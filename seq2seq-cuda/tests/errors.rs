//! What there is without a GPU, with a driver that will not do, and with little memory: errors that say so.

mod common;

use common::library::{self, fake_driver, run};
use seq2seq_core::{Backend, DeviceMemory, Epilogue, Error, Format, HostTensor, LinearSpec};
use seq2seq_cuda::driver::{DriverError, Nvidia};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::path::Path;
use std::sync::Arc;

/// Set for a copy of this program that is to upload a table of a MiB to the device.
const UPLOADS: &str = "SEQ2SEQ_CUDA_TEST_UPLOADS";

/// Opens the device named in the environment, in a copy of this program.
#[test]
fn child() {
    let Some(index) = library::index() else { return };
    if let Ok(devices) = Nvidia::devices() {
        devices.iter().for_each(|d| println!("device: {d:?}"));
    }
    match Cuda::new(index) {
        Ok(cuda) if std::env::var_os(UPLOADS).is_some() => {
            let table = HostTensor::from_f32(vec![256, 1024], &vec![0.0; 256 * 1024]).unwrap();
            println!("refused: {:?}", cuda.embedding(&table).err());
        }
        Ok(cuda) => println!("opened: {}", cuda.describe()),
        Err(error) => println!("refused: {error:?}"),
    }
}

/// What a copy of this program says when it opens device `index`, its libraries looked for in `folder` first.
fn open(index: usize, folder: &Path, environment: &[(&str, &str)]) -> String {
    let text = run(index, folder, environment);
    let line = text.lines().find_map(|l| l.split_once("refused: ").or(l.split_once("opened: ")));
    line.unwrap_or_else(|| panic!("nothing said: {text}")).1.to_owned()
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_driver() {
    // SAFETY: loading the driver's library has no conditions.
    if unsafe { libloading::Library::new("libcuda.so.1") }.is_ok() {
        eprintln!("skipped: this machine has a driver");
        return;
    }
    let error = Cuda::new(0).expect_err("there is no driver");
    assert!(matches!(&error, DriverError::NoDriver { reason } if reason.contains("libcuda.so.1")));
    let core = Error::from(error).to_string();
    assert!(core.contains("no NVIDIA driver") && core.contains("install the driver"), "{core}");
}

#[test]
#[cfg(target_os = "linux")]
fn with_drivers_that_will_not_do() {
    let whole = fake_driver("whole", &[]);
    let version = |v| ("FAKE_CUDA_VERSION", v);
    let old = open(0, &whole, &[version("12040")]);
    assert_eq!(old, "DriverTooOld { found: 12040, needed: 13000, needed_release: 580 }");
    let none = open(0, &whole, &[version("13000"), ("FAKE_CUDA_DEVICES", "0")]);
    assert_eq!(none, "NoSuchDevice { index: 0, count: 0 }");
    let few = open(2, &whole, &[version("13000"), ("FAKE_CUDA_DEVICES", "2")]);
    assert_eq!(few, "NoSuchDevice { index: 2, count: 2 }");
    let devices = [version("13010"), ("FAKE_CUDA_DEVICES", "1"), ("FAKE_CUDA_MAJOR", "7")];
    let turing = open(0, &whole, &devices);
    assert_eq!(turing, "DeviceTooOld { name: \"Fake\", capability: (7, 5) }");
    let broken = open(0, &whole, &[version("13010"), ("FAKE_CUDA_DEVICES", "1")]);
    assert!(broken.starts_with("Failed { call: \"cuDevicePrimaryCtxRetain\""), "{broken}");
    let listed = run(0, &whole, &devices);
    assert!(listed.contains("device: DeviceInfo { name: \"Fake\", capability: (7, 5)"), "{listed}");
    assert!(listed.contains("memory: 1073741824, usable: false"), "{listed}");
    let partial = fake_driver("partial", &["--cfg", "partial"]);
    let lacking = open(0, &partial, &[version("13000")]);
    assert_eq!(lacking, "NoDriver { reason: \"libcuda.so.1 lacks cuGraphLaunch\" }");
}

/// What the driver's pool keeps and nobody uses is free, too.
#[test]
#[cfg(target_os = "linux")]
fn with_a_driver_that_has_no_memory_left() {
    let opens = fake_driver("full", &["--cfg", "opens"]);
    let full = open(0, &opens, &[("FAKE_CUDA_VERSION", "13000"), (UPLOADS, "1")]);
    let mib = |count: u64| count << 20;
    let expected =
        Error::OutOfMemory { needed: mib(1), free: mib(300 + 64 - 16), total: mib(1000) };
    assert_eq!(full, format!("{:?}", Some(expected)));
}

#[test]
fn with_little_memory() {
    const MIB: u64 = 1 << 20;
    let cuda = common::with_memory(MIB);
    assert_eq!(cuda.device_memory(), Ok(Some(DeviceMemory { free: MIB, total: MIB })));
    let weights = HostTensor::from_f32(vec![1024, 512], &vec![0.5; 1024 * 512]).unwrap();
    let pack = |format| cuda.pack(&LinearSpec::single(weights.clone(), None), format);
    let error = pack(Format::F32).err().expect("two MiB do not fit one");
    let Error::OutOfMemory { needed, free, total } = error else { panic!("{error}") };
    assert_eq!((needed, total), (2 * MIB, MIB));
    assert!(free <= MIB);
    // What was allocated on the way has been given back: int8 has room.
    let layer = pack(Format::Int8).expect("half a MiB fits");
    let x = cuda.upload(&HostTensor::from_f32(vec![1, 512], &[1.0; 512]).unwrap()).unwrap();
    let y = cuda.linear(&x, &layer, Epilogue::NONE).unwrap();
    let y = cuda.download(&y).unwrap();
    assert!(y.iter().all(|&v| (v - 256.0).abs() < 0.01), "{:?}", &y[..4]);
}

/// What is kept for short-lived values is rounded up; weights are not, so that a model fits where it is said to.
#[test]
fn weights_take_no_more_than_they_need() {
    let driver = Arc::new(common::Played::new(4 << 20));
    let cuda = Cuda::with_driver(driver, CudaOptions::default());
    let used = || {
        let DeviceMemory { free, total } = cuda.device_memory().unwrap().unwrap();
        total - free
    };
    // A class of 1 MiB and a quarter would be the next.
    let bytes = (1 << 20) + 4096;
    let table = HostTensor::from_f32(vec![bytes / 64, 16], &vec![1.0; bytes / 4]).unwrap();
    let _table = cuda.embedding(&table).unwrap();
    assert_eq!(used(), bytes as u64);
    // Two bytes a weight, four a bias.
    let weights = HostTensor::from_f32(vec![1024, 256], &vec![0.5; 1024 * 256]).unwrap();
    let _layer = cuda.pack(&LinearSpec::single(weights, None), Format::F16).unwrap();
    assert_eq!(used(), bytes as u64 + 2 * 1024 * 256 + 4 * 1024);
}

#[test]
fn what_is_kept_makes_room() {
    let driver = Arc::new(common::Played::new(1 << 20));
    let cuda = Cuda::with_driver(driver, CudaOptions::default());
    let upload = |rows: usize| {
        cuda.upload(&HostTensor::from_f32(vec![rows, 1000], &vec![1.0; rows * 1000]).unwrap())
    };
    // Each length is of another class; together they are more than there is.
    for rows in [60, 90, 120, 150, 180, 210, 240] {
        upload(rows).map(drop).unwrap();
    }
    assert!(matches!(upload(300), Err(Error::OutOfMemory { .. })));
}
