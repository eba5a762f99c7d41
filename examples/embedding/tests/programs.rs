//! The programs do what they say, with the default model.

use std::process::Command;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../seq2seq-cli/default-model");

/// What a program prints; it must end well.
fn printed(program: &str, texts: &[&str]) -> String {
    let done = Command::new(program).arg(MODEL).args(texts).output().expect("the program starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn one_call() {
    let out = printed(env!("CARGO_BIN_EXE_library"), &["speak: 42"]);
    assert_eq!(out, "forty two\n");
}

#[test]
fn tasks_share_a_model_and_one_is_given_up() {
    let out = printed(env!("CARGO_BIN_EXE_service"), &["speak: 42", "speak: 7", "write: ten"]);
    assert_eq!(out, "speak: 42 -> forty two\nspeak: 7 -> seven\nwrite: ten -> 10\ngiven up\n");
}

#[test]
fn a_backend_counts_what_its_layers_compute() {
    let count = |text| {
        let out = printed(env!("CARGO_BIN_EXE_custom_backend"), &[text]);
        let (written, count) = out.split_once('\n').expect("two lines");
        let count: f64 = count.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        (written.to_owned(), count)
    };
    let (short, long) = (count("speak: 7"), count("speak: 1234567"));
    assert_eq!(short.0, "seven");
    assert!(long.1 > short.1 && short.1 > 1.0, "{short:?} {long:?}");
}
