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

/// The same on one thread as on two and on three. Tests of their own, as they take long and a machine has several cores.
mod threads_change_no_bit {
    use super::Cpu;
    use seq2seq_core::conformance::{Outcome, same_bits, train};

    /// Whether backends of that level are the `same` on one thread and on so many, where this machine has it.
    fn on(threads: usize, isa: &str, same: fn(&Cpu, &Cpu) -> Outcome) -> Outcome {
        match (super::cpu(isa, 1), super::cpu(isa, threads)) {
            (Some(one), Some(more)) => same(&one, &more),
            _ => Ok(()),
        }
    }

    macro_rules! level {
        ($isa:ident) => {
            mod $isa {
                use super::*;

                #[test]
                fn two() -> Outcome {
                    on(2, stringify!($isa), same_bits)
                }

                #[test]
                fn three() -> Outcome {
                    on(3, stringify!($isa), same_bits)
                }

                #[test]
                fn two_in_training() -> Outcome {
                    on(2, stringify!($isa), train::same_bits)
                }

                #[test]
                fn three_in_training() -> Outcome {
                    on(3, stringify!($isa), train::same_bits)
                }
            }
        };
    }

    level!(scalar);
    #[cfg(target_arch = "x86_64")]
    level!(avx2);
    #[cfg(target_arch = "x86_64")]
    level!(avx512);
    #[cfg(target_arch = "aarch64")]
    level!(neon);
}
