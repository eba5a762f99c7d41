//! Runs the program on the fixtures.

use serde_json::Value;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, deaf to the environment and cut off from the hub.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seq2seq"));
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("HF_") || n == "SEQ2SEQ_LOG") {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", "http://127.0.0.1:1").env("HF_HOME", "/nonexistent");
    command
}

/// Runs the program with `input` on its standard input.
pub(crate) fn run_with<A: AsRef<std::ffi::OsStr>>(
    args: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Done {
    let mut child = command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that fails early need not read its input.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().unwrap();
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

/// Runs the program.
pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Done {
    run_with(args, b"")
}

impl Done {
    /// Standard output of a run that went well and had nothing to say on stderr.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }

    /// The lines of JSON of a run that went well.
    #[track_caller]
    pub(crate) fn lines(self) -> Vec<Value> {
        json_lines(&self.ok())
    }

    /// The one line on stderr of a run that failed with this code and wrote nothing.
    #[track_caller]
    pub(crate) fn error(self, code: i32) -> String {
        self.error_behind(0, code)
    }

    /// The same of a run that had written so many lines before.
    #[track_caller]
    pub(crate) fn error_behind(self, lines: usize, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.ends_with('\n'), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert_eq!(self.stdout.lines().count(), lines, "{self:?}");
        self.stderr["error: ".len()..].trim_end().to_owned()
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The folder of a fixture.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// A file of a fixture.
pub(crate) fn fixture_json(name: &str, file: &str) -> Value {
    let bytes = std::fs::read(fixture(name).join(file)).expect(file);
    serde_json::from_slice(&bytes).expect(file)
}

/// `--model` and the folder of a fixture.
pub(crate) fn model(name: &str) -> [String; 2] {
    ["--model".into(), fixture(name).display().to_string()]
}

pub(crate) fn close(got: &Value, expected: f64) -> bool {
    let got = got.as_f64().unwrap_or(f64::NAN);
    (got - expected).abs() <= 1e-4 * expected.abs().max(1.0)
}
