//! Memory comes from a pool of the driver that is the device's alone, and goes back to the system: where there is no room, when a
//! backend is dropped, and with the device. Asked of a driver's library of ours, which has no GPU, in a copy of this program.
#![cfg(target_os = "linux")]

mod common;

use common::library::{self, fake_driver, run};
use seq2seq_core::{Backend, HostTensor};
use seq2seq_cuda::driver::{Driver, Nvidia};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// Takes a block of a device and gives it back, drops a backend, and then the device.
#[test]
fn child() {
    let Some(index) = library::index() else { return };
    let driver = Arc::new(Nvidia::open(index).expect("a driver's library that opens"));
    if let Ok(block) = driver.alloc(512) {
        driver.free(block).expect("it was given");
    }
    println!("fake memory: a backend");
    let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default());
    let table = HostTensor::from_f32(vec![256, 1024], &vec![0.0; 256 * 1024]).unwrap();
    let _ = cuda.embedding(&table);
    drop(cuda);
    println!("fake memory: no backend");
}

/// What a copy of this program asks the library for.
fn asked(folder: &str, room: &str) -> Vec<String> {
    let folder = fake_driver(folder, &["--cfg", "opens"]);
    let text = run(
        2,
        &folder,
        &[("FAKE_CUDA_VERSION", "13000"), ("FAKE_CUDA_DEVICES", "3"), ("FAKE_CUDA_ROOM", room)],
    );
    text.lines().filter_map(|l| l.split_once("fake memory: ")).map(|(_, l)| l.to_owned()).collect()
}

/// CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: nothing goes back by itself.
const BEGIN: [&str; 2] = ["a pool of device 2", "attribute 4 is 0xffffffffffffffff"];

#[test]
fn memory_goes_back_with_a_backend_and_with_the_device() {
    let asked = asked("room", "1");
    let expected = [&BEGIN[..], &["512 bytes", "free", "a backend", "1048576 bytes", "free"]];
    let (begin, end) = asked.split_at(7);
    assert_eq!(begin, expected.concat());
    // When the backend is dropped, and what it had from the pool, too.
    assert_eq!(end, ["keep 0 bytes", "keep 0 bytes", "no backend", "no pool"]);
}

#[test]
fn where_there_is_no_room_memory_goes_back_first() {
    let asked = asked("no_room", "0");
    let none = "no room for 1048576 bytes";
    let expected = [
        &BEGIN[..],
        &["no room for 512 bytes", "a backend", none, "keep 0 bytes", none],
        &["keep 0 bytes", "keep 0 bytes", "no backend", "no pool"],
    ];
    assert_eq!(asked, expected.concat());
}
