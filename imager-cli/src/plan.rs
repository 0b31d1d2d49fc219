//! `imager plan`: what an asset is made of, without making it.

use std::path::PathBuf;

use anyhow::Context as _;
use extent::Digest;
use imager::{Artifact, Asset, Factory, Resolved, Row, Version};
use schematics::Schematic;
use serde::Serialize;

use crate::output::Output;
use crate::source::Source;
use crate::{schematic, store};

/// What is asked for.
#[derive(clap::Args)]
pub struct Wanted {
    /// The asset, named as in a factory's paths: `metal-amd64.raw.zst`, `kernel-arm64`, `cmdline-metal-amd64` …
    asset: Asset,
    /// The version, with or without `v`
    #[arg(long)]
    version: Version,
    /// The schematic, YAML or JSON; `-` is standard input [default: the empty schematic]
    #[arg(long, value_name = "FILE")]
    schematic: Option<PathBuf>,
    #[command(flatten)]
    pub source: Source,
}

/// Prints the extent table of an asset: where each of its bytes comes from.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager plan metal-amd64.raw --version v13.1.0
  imager plan metal-arm64.raw.zst --version v13.1.0 --schematic schematic.yaml --json

`ours` is computed for this image, `blob` is a range of a blob of the store, `zero` is nothing.")]
pub struct Plan {
    #[command(flatten)]
    wanted: Wanted,
}

/// A plan, for scripts.
#[derive(Serialize)]
struct Planned<'a> {
    name: &'a str,
    media_type: &'a str,
    size_bytes: u64,
    /// The identity of the description, a factory's entity tag.
    id: String,
    /// The digest of the lock: everything that decides the bytes.
    lock: Digest,
    extents: &'a [Row],
}

impl Wanted {
    /// Resolves and plans. Progress is shown: what an extension needs is computed when it is first asked for.
    pub async fn plan(
        &self,
        factory: &Factory,
        output: &Output,
    ) -> anyhow::Result<(Schematic, Resolved, Artifact)> {
        let schematic = match &self.schematic {
            Some(file) => schematic::read(file)?,
            None => Schematic::default(),
        };
        let progress = output.progress();
        progress.step(&format!("resolving `{}`", self.asset));
        let resolving = || format!("resolving `{}` of version {}", self.asset, self.version);
        let resolved =
            factory.resolve(&schematic, &self.version, &self.asset).await.with_context(resolving)?;
        progress.step(&format!("planning `{}`", self.asset));
        let artifact = imager::plan(&resolved).with_context(|| format!("planning `{}`", self.asset))?;
        progress.done();
        Ok((schematic, resolved, artifact))
    }
}

impl Plan {
    /// Runs the command.
    pub async fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        let factory = self.wanted.source.factory(store::open(dir)?)?;
        let (_, resolved, artifact) = self.wanted.plan(&factory, output).await?;
        let rows = imager::rows(&artifact, &resolved.lock);
        let planned = Planned {
            name: &artifact.name,
            media_type: artifact.media_type,
            size_bytes: artifact.extents.len(),
            id: artifact.extents.id().hex(),
            lock: resolved.lock.digest(),
            extents: &rows,
        };
        output.value(&planned, |out| {
            writeln!(out, "{}: {} bytes, {}", planned.name, planned.size_bytes, planned.media_type)?;
            writeln!(out, "id {}\n", planned.id)?;
            out.write_all(imager::table(&rows).as_bytes())
        })
    }
}
