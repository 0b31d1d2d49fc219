//! `imager store`: the store itself.

use std::path::PathBuf;

use ::store::Store;
use anyhow::Context as _;
use clap::Subcommand;
use extent::Digest;
use serde::Serialize;

use crate::exit::{Exit, Tag as _, refuse, refuse_hint};
use crate::output::Output;
use crate::{load, transfer};

/// Nearest names that are shown for one that is not there.
const NEAREST_MAX: usize = 3;

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
    /// Print the digest that a tag names
    Resolve {
        /// What is to be found, e.g. `siderolabs/imager:v13.1.0`
        #[arg(value_name = "REPOSITORY:TAG")]
        reference: String,
    },
    /// Pull an image from a registry into the store, under its name there
    Pull(transfer::Pull),
    /// Push an image of the store to a registry
    Push(transfer::Push),
    Load(load::Load),
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
        match &self.task {
            Task::Verify => verify(store, output),
            Task::Resolve { reference } => resolve(reference, store, output),
            Task::Pull(command) => command.run(store, output),
            Task::Push(command) => command.run(store, output),
            Task::Load(command) => command.run(store, output),
        }
    }
}

fn verify(store: &Store, output: &Output) -> anyhow::Result<()> {
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

fn resolve(reference: &str, store: &Store, output: &Output) -> anyhow::Result<()> {
    let Some((repository, tag)) = reference.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
        return refuse(Exit::Input, format!("{reference:?} has no tag: a reference is `REPOSITORY:TAG`"));
    };
    let found = match store.resolve_tag(repository, tag) {
        Err(error @ ::store::Error::BadName { .. }) => return Err(error).exit(Exit::Input),
        found => found.exit(Exit::Io)?,
    };
    let Some(descriptor) = found else {
        let tags = store.tags(repository).exit(Exit::Io)?;
        let (missing, names) = if tags.is_empty() {
            (format!("there is no repository `{repository}`"), nearest(repository, store.repositories()?))
        } else {
            (format!("`{repository}` has no tag `{tag}`"), nearest(tag, tags))
        };
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let hint = match names.len() {
            0 => "`imager seed debian` makes source images".to_owned(),
            1 => format!("the nearest is {}", names[0]),
            _ => format!("the nearest are {}", names.join(", ")),
        };
        return refuse_hint(Exit::Input, missing, hint);
    };
    output.value(&descriptor, |out| writeln!(out, "{}", descriptor.digest()))
}

/// The names that look most like `text`, the nearest first.
fn nearest(text: &str, mut names: Vec<String>) -> Vec<String> {
    // Far names are as well shown as none: of tags there is always something to choose from.
    names.sort_by(|a, b| strsim::jaro_winkler(text, b).total_cmp(&strsim::jaro_winkler(text, a)));
    names.truncate(NEAREST_MAX);
    names
}
