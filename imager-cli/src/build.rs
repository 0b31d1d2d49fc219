//! `imager build`: makes an asset.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use crate::exit::{Exit, Tag as _, refuse_hint};
use crate::output::{Output, stdout};
use crate::plan::Wanted;
use crate::store;

/// Makes an asset of a version, for a schematic.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager build metal-amd64.raw.zst --version v13.1.0
  imager build metal-arm64.raw --version v13.1.0 --schematic schematic.yaml -o disk.raw
  imager build metal-amd64.raw.zst --version v13.1.0 --source registry.example/mirror --source-key mirror.pub
  imager build metal-amd64.raw.zst --version v13.1.0 -o - | zstd -d | ssh host 'dd of=/dev/sdb'

The file is whole or not there, whatever happens; one that was there is replaced. The schematic is kept in the store, so
that a factory over the same store serves the same bytes.")]
pub struct Build {
    #[command(flatten)]
    wanted: Wanted,
    /// The file to write; `-` is standard output [default: the asset's name, in this directory]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What was made.
#[derive(Serialize)]
struct Built {
    name: String,
    media_type: &'static str,
    path: PathBuf,
    size_bytes: u64,
    schematic: String,
    /// The identity of the description, a factory's entity tag.
    id: String,
    seconds: f64,
}

impl Build {
    /// Runs the command.
    pub async fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        if output.is_json() && self.output.as_deref() == Some(Path::new("-")) {
            let both = "`--json` and `--output -` both want standard output";
            return refuse_hint(Exit::Input, both, "name a file with `--output`");
        }
        let begun = Instant::now();
        let store = store::open(dir)?;
        let factory = self.wanted.source.factory(store.clone())?;
        let (schematic, _, artifact) = self.wanted.plan(&factory, output).await?;
        let id = factory.put_schematic(&schematic).await.context("keeping the schematic")?;
        let path = self.output.clone().unwrap_or_else(|| PathBuf::from(&artifact.name));
        let len = artifact.extents.len();
        if path == Path::new("-") {
            return written(store.write_to(&artifact.extents, &mut io::stdout().lock()));
        }
        let progress = output.progress();
        let what = format!("writing `{}`", path.display());
        store
            .write_file(&artifact.extents, &path, &|done| progress.at(&what, done, len))
            .with_context(|| what.clone())
            .exit(Exit::Io)?;
        progress.done();
        let built = Built {
            name: artifact.name,
            media_type: artifact.media_type,
            path,
            size_bytes: len,
            schematic: id.to_string(),
            id: artifact.extents.id().hex(),
            seconds: begun.elapsed().as_secs_f64(),
        };
        output.value(&built, |out| writeln!(out, "{}", built.path.display()))
    }
}

/// The outcome of writing an asset to standard output.
fn written(result: Result<(), ::store::Error>) -> anyhow::Result<()> {
    match result {
        // What the writer said is the source of what the store says.
        Err(::store::Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            stdout(Err::<(), _>(source))
        }
        other => other.context("writing to standard output").exit(Exit::Io),
    }
}
