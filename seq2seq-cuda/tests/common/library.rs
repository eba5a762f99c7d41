//! Copies of a test program that open a driver's library of ours (`tests/fake`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for a copy of this program, whose test `child` is to open a device and say what came of it.
const CHILD: &str = "SEQ2SEQ_CUDA_TEST_OPENS";

/// The device that this copy of the program is to open; none where it is no copy.
pub(crate) fn index() -> Option<usize> {
    std::env::var(CHILD).ok().map(|index| index.parse().expect("an index"))
}

/// All that a copy of this program says which opens device `index`, its libraries looked for in `folder` first.
pub(crate) fn run(index: usize, folder: &Path, environment: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, index.to_string())
        .env("LD_LIBRARY_PATH", folder)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A folder with a driver's library of ours: its version, and what it answers, are read from the environment.
pub(crate) fn fake_driver(name: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/libcuda.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "cdylib", "-C", "panic=abort"])
        .args(flags)
        .arg("-o")
        .arg(folder.join("libcuda.so.1"))
        .arg(source)
        .status()
        .unwrap();
    assert!(status.success());
    folder
}
