//! `imager seed`: makes source images.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use ::seed::{Arch, Options, Suite};
use clap::Subcommand;
use serde::Serialize;

use crate::exit::{Exit, Tag as _};
use crate::output::Output;
use crate::store;

/// Fills the store with source images.
#[derive(clap::Args)]
pub struct Seeding {
    #[command(subcommand)]
    source: Source,
}

#[derive(Subcommand)]
enum Source {
    Debian(Debian),
}

/// Makes a complete set of source images from Debian packages.
///
/// Fetches with apt in a state of its own: needs no root and touches nothing of the host's configuration. Signatures are
/// checked by apt. The first time takes minutes; what was fetched or made is used again.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager seed debian
  imager seed debian --suite bookworm --suite trixie --arch amd64 --arch arm64
  imager seed debian --mirror http://mirror.example/debian")]
struct Debian {
    /// bookworm or trixie; may be repeated [default: the newest]
    #[arg(long = "suite", value_name = "SUITE")]
    suites: Vec<Suite>,
    /// amd64 or arm64; may be repeated [default: this machine's]
    #[arg(long = "arch", value_name = "ARCH")]
    archs: Vec<Arch>,
    /// Where to fetch from [default: the mirrors of the host's apt configuration]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Threads that compress; the images are the same with any number [default: one for each processor]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
}

/// A set that is in the store now.
#[derive(Serialize)]
struct Seeded {
    version: String,
    suite: String,
    archs: Vec<String>,
    extensions: Vec<String>,
    seconds: f64,
}

impl Seeding {
    /// Runs the command.
    pub fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        let Source::Debian(debian) = &self.source;
        debian.run(dir, output)
    }
}

impl Debian {
    fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut options = Options::default();
        if !self.suites.is_empty() {
            options.suites.clone_from(&self.suites);
        }
        if !self.archs.is_empty() {
            options.archs.clone_from(&self.archs);
        }
        options.mirror.clone_from(&self.mirror);
        options.threads = self.threads.unwrap_or(options.threads);
        let store = store::open(dir)?;
        let progress = output.progress();
        let sets = ::seed::debian(&store, &options, &|step| progress.at(&step.what, step.done, step.total));
        let sets = sets.map_err(|error| {
            let exit = exit_of(&error);
            Err::<(), _>(error).exit(exit).expect_err("it is an error")
        })?;
        progress.done();
        let seconds = begun.elapsed().as_secs_f64();
        let seeded: Vec<Seeded> = sets
            .into_iter()
            .map(|set| Seeded {
                version: set.version,
                suite: set.suite.to_string(),
                archs: set.archs.iter().map(ToString::to_string).collect(),
                extensions: set.extensions,
                seconds,
            })
            .collect();
        output.value(&seeded, |out| {
            seeded.iter().try_for_each(|Seeded { version, suite, archs, extensions, .. }| {
                writeln!(out, "{version}  {suite}  {}  {} extensions", archs.join(" "), extensions.len())
            })
        })
    }
}

/// The exit code of an error of the seed.
const fn exit_of(error: &::seed::Error) -> Exit {
    use ::seed::Error as E;
    match error {
        E::Mirror { .. } => Exit::Input,
        E::NoMirror | E::ToolMissing { .. } | E::KeyringMissing { .. } | E::KeyMissing { .. } => {
            Exit::Environment
        }
        E::Io { .. } | E::Full { .. } | E::Store(_) => Exit::Io,
        // apt, the archive, its packages.
        _ => Exit::Dependency,
    }
}
