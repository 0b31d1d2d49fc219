//! What a command shows: its result on standard output, its progress on standard error.
//!
//! A result is text for people, or one JSON value with `--json`. Progress is drawn on a terminal, written in plain lines
//! elsewhere, and left out with `--json` and `--quiet`.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::{Closed, Exit, Tag as _};

/// What takes longer than this is worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where results and progress go.
pub struct Output {
    json: bool,
    quiet: bool,
}

/// Something that takes time; silent unless it does.
pub struct Task {
    bar: Option<ProgressBar>,
    name: String,
    begun: Instant,
    plain: bool,
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

    /// Says one line of progress.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// Begins something that takes time.
    pub fn task(&self, name: &str) -> Task {
        let terminal = !self.quiet && io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is valid");
            let bar = ProgressBar::new_spinner().with_style(style).with_message(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Task { bar, name: name.to_owned(), begun: Instant::now(), plain: !self.quiet && !terminal }
    }
}

impl Task {
    /// Ends it well.
    pub fn done(self) {
        let elapsed = self.begun.elapsed();
        if self.plain && elapsed > PATIENCE {
            eprintln!("{} ({:.1} s)", self.name, elapsed.as_secs_f64());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The outcome of writing to standard output, where a reader that has gone is no failure.
pub fn stdout<T>(written: io::Result<T>) -> anyhow::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => other.context("writing to standard output").exit(Exit::Io),
    }
}
