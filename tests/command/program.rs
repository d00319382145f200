//! Running the program, and what every run owes its user.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The widest line that fits a terminal.
const COLUMNS: usize = 100;

/// What a run printed.
pub(crate) struct Printed {
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latent"));
    command.args(args).stdin(Stdio::null());
    command
}

fn printed(output: Output) -> Printed {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Printed { out: text(output.stdout), err: text(output.stderr) }
}

/// A run that exits with 0.
#[track_caller]
pub(crate) fn succeeds(args: &[&str]) -> Printed {
    let output = command(args).output().unwrap();
    let code = output.status.code();
    let printed = printed(output);
    assert_eq!(code, Some(0), "{args:?}: {}", printed.err);
    printed
}

/// As [`succeeds`], with text on standard input.
#[track_caller]
pub(crate) fn succeeds_on(input: &str, args: &[&str]) -> Printed {
    ends_on(input.as_bytes(), args, 0)
}

/// A run with `input` on standard input that exits with `code`.
#[track_caller]
pub(crate) fn ends_on(input: &[u8], args: &[&str], code: i32) -> Printed {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let found = output.status.code();
    let printed = printed(output);
    assert_eq!(found, Some(code), "{args:?}: {}", printed.err);
    printed
}

/// A run that exits with 1 for its data: nothing on standard output, and the error, one line,
/// last on standard error. Returns it.
#[track_caller]
pub(crate) fn refuses_data(args: &[&str]) -> String {
    let output = command(args).output().unwrap();
    let code = output.status.code();
    let Printed { out, err } = printed(output);
    assert_eq!(code, Some(1), "{args:?}: {err}");
    assert_eq!(out, "", "{args:?}");
    let (before, error) = err.trim_end().rsplit_once('\n').unwrap_or(("", err.trim_end()));
    assert!(before.lines().all(|line| line.starts_with("warning: ")), "{args:?}: {err}");
    error.strip_prefix("error: ").unwrap_or_else(|| panic!("{args:?}: {err}")).into()
}

/// A run that exits with 2 for its arguments, with nothing on standard output. Returns the error.
#[track_caller]
pub(crate) fn refuses_usage(args: &[&str]) -> String {
    let output = command(args).output().unwrap();
    let code = output.status.code();
    let Printed { out, err } = printed(output);
    assert_eq!(code, Some(2), "{args:?}: {err}");
    assert_eq!(out, "", "{args:?}");
    assert!(err.starts_with("error: "), "{args:?}: {err}");
    err
}

#[track_caller]
pub(crate) fn fits_the_terminal(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{} columns: {line}", line.chars().count());
    }
}
