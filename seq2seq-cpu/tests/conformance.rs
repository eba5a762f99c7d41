//! The conformance suite at every level of instructions, and the same bits on any number of threads.

use seq2seq_cpu::{Cpu, CpuOptions, Isa};

/// A backend of that level; none where this machine or target lacks it.
fn cpu(isa: &str, threads: usize) -> Option<Cpu> {
    let isa = Isa::from_name(isa).ok()?;
    Some(Cpu::new(CpuOptions { threads: Some(threads), isa: Some(isa) }).expect("two threads"))
}

mod scalar {
    seq2seq_core::conformance_suite!(super::cpu("scalar", 2));
    seq2seq_core::training_suite!(super::cpu("scalar", 2));
}

mod avx2 {
    seq2seq_core::conformance_suite!(super::cpu("avx2", 2));
    seq2seq_core::training_suite!(super::cpu("avx2", 2));
}

mod avx512 {
    seq2seq_core::conformance_suite!(super::cpu("avx512", 2));
    seq2seq_core::training_suite!(super::cpu("avx512", 2));
}

mod neon {
    seq2seq_core::conformance_suite!(super::cpu("neon", 2));
    seq2seq_core::training_suite!(super::cpu("neon", 2));
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
