//! Stores between processes: shared, killed, out of space.
//!
//! A test starts this executable again, as a child that runs one function: the test of that name, which does
//! nothing when it is not told a directory.

// Clippy knows test functions, but not that all of this is one.
#![allow(clippy::unwrap_used)]

mod derive;
mod full_disk;
mod kill;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Names the directory that a child works in, and makes a child of a process.
const DIRECTORY: &str = "STORE_TEST_DIRECTORY";
/// What a child does differently from its siblings.
const VARIANT: &str = "STORE_TEST_VARIANT";
/// The line by which a child says that it is at work.
const READY: &str = "child: ready";

/// The directory and variant if this process is a child.
fn child() -> Option<(PathBuf, u64)> {
    let dir = std::env::var_os(DIRECTORY)?;
    Some((dir.into(), std::env::var(VARIANT).unwrap().parse().unwrap()))
}

/// A child that runs `test`.
fn command(program: &Path, test: &str, dir: &Path, variant: u64) -> Command {
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, dir).env(VARIANT, variant.to_string());
    command
}

/// Starts a child that runs `test` and waits until it is at work.
fn spawn(test: &str, dir: &Path, variant: u64) -> Child {
    let mut command = command(&std::env::current_exe().unwrap(), test, dir, variant);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let ready = output.by_ref().lines().map(Result::unwrap).any(|line| line.contains(READY));
    assert!(ready, "the child comes to work");
    // Its test harness still has something to say.
    child.stdout = Some(output.into_inner());
    child
}
