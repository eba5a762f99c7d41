//! The conformance suite at every level of instructions, and the same bits on any number of threads.

use seq2seq_cpu::{Cpu, CpuOptions, Isa};
use std::io::Write;

/// A backend of that level; none where this machine or target lacks it.
fn cpu(isa: &str, threads: usize) -> Option<Cpu> {
    let isa = Isa::from_name(isa).ok()?;
    Some(Cpu::new(CpuOptions { threads: Some(threads), isa: Some(isa) }).expect("two threads"))
}

mod scalar {
    seq2seq_core::conformance_suite!(super::cpu("scalar", 2));
    seq2seq_core::training_suite!(super::cpu("scalar", 2));
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    seq2seq_core::conformance_suite!(super::cpu("avx2", 2));
    seq2seq_core::training_suite!(super::cpu("avx2", 2));
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    seq2seq_core::conformance_suite!(super::cpu("avx512", 2));
    seq2seq_core::training_suite!(super::cpu("avx512", 2));
}

#[cfg(target_arch = "aarch64")]
mod neon {
    seq2seq_core::conformance_suite!(super::cpu("neon", 2));
    seq2seq_core::training_suite!(super::cpu("neon", 2));
}

/// Levels that this target can have, each with a module above.
const LEVELS: &[&str] = if cfg!(target_arch = "x86_64") {
    &["scalar", "avx2", "avx512"]
} else if cfg!(target_arch = "aarch64") {
    &["scalar", "neon"]
} else {
    &["scalar"]
};

/// Tests of a level that this machine lacks pass without a check, so what was checked is said past the harness, which would
/// show it of failures alone.
#[test]
fn levels_are_all_tested() {
    let available: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
    for level in &available {
        assert!(LEVELS.contains(level), "{level} has no module here");
    }
    let (tested, lacking): (Vec<&str>, Vec<&str>) =
        LEVELS.iter().partition(|level| available.contains(level));
    let lacking = if lacking.is_empty() { "none".into() } else { lacking.join(", ") };
    writeln!(
        std::io::stderr(),
        "levels of instructions tested: {}; NOT tested, as this machine lacks them: {lacking}",
        tested.join(", ")
    )
    .expect("stderr");
}

#[test]
fn threads_change_no_bit() -> seq2seq_core::conformance::Outcome {
    for isa in Isa::available() {
        let cpu = |threads| cpu(isa.name(), threads).expect("it is available");
        seq2seq_core::conformance::same_bits(&cpu(1), &cpu(2))?;
        seq2seq_core::conformance::same_bits(&cpu(1), &cpu(3))?;
        seq2seq_core::conformance::train::same_bits(&cpu(1), &cpu(2))?;
        seq2seq_core::conformance::train::same_bits(&cpu(1), &cpu(3))?;
    }
    Ok(())
}
