//! A program that is ended from outside leaves nothing half written.

use crate::support::{command, fixture};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn unfinished(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().starts_with(".seq2seq-")).count()
}

/// Waits until it is writing into `folder`, and sends the signal.
fn ended(mut child: Child, folder: &Path, name: &str, signal: i32) {
    // Its input does not end before it does.
    let _stdin = child.stdin.take();
    let begin = Instant::now();
    while unfinished(folder) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "it writes nothing");
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().signal(), Some(signal));
    assert_eq!(unfinished(folder), 0);
}

#[test]
fn files_that_are_not_finished_are_removed() {
    for (name, signal) in [("-INT", 2), ("-TERM", 15)] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.jsonl");
        // It waits for its input.
        let child = command()
            .args(["generate", "--input=-", "--output", output.to_str().unwrap()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        ended(child, folder.path(), name, signal);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn folders_that_are_not_finished_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (model, work) = (folder.path().join("model"), folder.path().join("work"));
    fs::create_dir(&model).unwrap();
    fs::create_dir(&work).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture("gpt2").join(name), model.join(name)).unwrap();
    }
    // A file that it carries over, and never gets to read.
    let pipe = Command::new("mkfifo").arg(model.join("vocab.txt")).status().unwrap();
    assert!(pipe.success());
    let child = command()
        .args(["convert", "--format=int8", "--model", model.to_str().unwrap()])
        .args(["--output", work.join("out").to_str().unwrap()])
        .spawn()
        .unwrap();
    ended(child, &work, "-TERM", 15);
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
}
