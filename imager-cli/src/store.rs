//! `imager store`: the store itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use extent::Digest;
use serde::Serialize;
use store::Store;

use crate::exit::{Exit, Tag as _, refuse, refuse_hint};
use crate::output::Output;

/// Looks after the store.
#[derive(clap::Args)]
pub struct Care {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Hash every blob and name those that are corrupt (exit code 6)
    Verify,
}

/// The outcome of hashing every blob.
#[derive(Serialize)]
struct Scrub {
    blobs: usize,
    size_bytes: u64,
    corrupt: Vec<Digest>,
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
        let digests = store.digests().exit(Exit::Io)?;
        let mut lens = Vec::with_capacity(digests.len());
        for digest in &digests {
            lens.push(store.stat(digest).exit(Exit::Io)?.unwrap_or(0));
        }
        let total = lens.iter().sum();
        let mut scrub = Scrub { blobs: digests.len(), size_bytes: total, corrupt: Vec::new() };
        let progress = output.progress();
        let mut done = 0;
        for (digest, len) in digests.iter().zip(lens) {
            progress.at("hashing blobs", done, total);
            match store.verify(digest) {
                Ok(()) => {}
                Err(store::Error::Corrupt { digest }) => scrub.corrupt.push(digest),
                Err(error) => return Err(error).exit(Exit::Io),
            }
            done += len;
        }
        progress.done();
        output.value(&scrub, |out| {
            writeln!(
                out,
                "{} blobs, {} bytes, {} corrupt",
                scrub.blobs,
                scrub.size_bytes,
                scrub.corrupt.len()
            )?;
            scrub.corrupt.iter().try_for_each(|digest| writeln!(out, "{digest}"))
        })?;
        if scrub.corrupt.is_empty() {
            return Ok(());
        }
        refuse(Exit::Io, format!("{} of {} blobs are corrupt", scrub.corrupt.len(), scrub.blobs))
    }
}
