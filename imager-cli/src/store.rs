//! `imager store`: the store itself.

use std::path::PathBuf;

use ::store::Store;
use anyhow::Context as _;
use clap::Subcommand;
use extent::Digest;
use serde::Serialize;

use crate::exit::{Exit, Tag as _, refuse_hint};
use crate::output::Output;

/// Looks after the store.
#[derive(clap::Args)]
pub struct Care {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Hash every blob and follow every reference; findings are named (exit code 6)
    Verify,
}

/// What a scrub found.
#[derive(Serialize)]
struct Findings<'a> {
    blobs: u64,
    size_bytes: u64,
    corrupt: &'a [Digest],
    unreadable: &'a [Digest],
    dangling: Vec<String>,
}

/// The store in `dir`, else in the default place.
pub fn open(dir: Option<PathBuf>) -> anyhow::Result<Store> {
    let Some(dir) = dir.or_else(store::default_dir) else {
        return refuse_hint(
            Exit::Environment,
            "there is no place for a store: no `$HOME`",
            format!("say where with `--store DIR` or `${}`", store::VARIABLE),
        );
    };
    Store::open(&dir).with_context(|| format!("opening the store `{}`", dir.display())).exit(Exit::Io)
}

impl Care {
    /// Runs the command.
    pub fn run(&self, store: &Store, output: &Output) -> anyhow::Result<()> {
        let Task::Verify = self.task;
        let total = store.disk_usage().exit(Exit::Io)?.len;
        let progress = output.progress();
        let scrub = store.scrub(&|done| progress.at("hashing blobs", done, total)).exit(Exit::Io)?;
        progress.done();
        let findings = Findings {
            blobs: scrub.blobs,
            size_bytes: scrub.len,
            corrupt: &scrub.corrupt,
            unreadable: &scrub.unreadable,
            dangling: scrub.dangling.iter().map(|(repository, tag)| format!("{repository}:{tag}")).collect(),
        };
        output.value(&findings, |out| {
            writeln!(out, "{} blobs, {} bytes", findings.blobs, findings.size_bytes)?;
            findings.corrupt.iter().try_for_each(|digest| writeln!(out, "corrupt     {digest}"))?;
            findings.unreadable.iter().try_for_each(|digest| writeln!(out, "unreadable  {digest}"))?;
            findings.dangling.iter().try_for_each(|name| writeln!(out, "dangling    {name}"))
        })?;
        if scrub.is_clean() {
            return Ok(());
        }
        let (corrupt, unreadable) = (findings.corrupt.len(), findings.unreadable.len());
        let dangling = findings.dangling.len();
        refuse_hint(
            Exit::Io,
            format!(
                "the store has {corrupt} corrupt and {unreadable} unreadable blobs, {dangling} dangling references"
            ),
            "`imager seed` puts the blobs of source images again",
        )
    }
}
