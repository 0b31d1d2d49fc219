//! What a command shows: its result on standard output, everything else on standard error.
//!
//! A result is text for people, or one JSON value with `--json`.

mod progress;

use std::io::{self, Write};

use anyhow::Context as _;
pub use progress::Progress;
use serde::Serialize;

use crate::exit::{Closed, Exit, Tag as _};

/// Where results and progress go.
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Results as JSON if `json`, no progress if either.
    pub const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet: quiet || json }
    }

    /// Writes the result: `value` as JSON, or `text`.
    pub fn value<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = if self.json {
            serde_json::to_writer(&mut out, value).map_err(io::Error::from).and_then(|()| writeln!(out))
        } else {
            text(&mut out)
        };
        stdout(written.and_then(|()| out.flush()))
    }

    /// Says one line.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// Whether the result is JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only the result is wanted.
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Begins something that takes time.
    pub fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }
}

/// The outcome of writing to standard output, where a reader that has gone is no failure.
pub fn stdout<T>(written: io::Result<T>) -> anyhow::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => other.context("writing to standard output").exit(Exit::Io),
    }
}
