//! `imager versions` and `imager extensions`: what a store can make images of.

use std::path::PathBuf;

use imager::Version;

use crate::output::Output;
use crate::source::Source;
use crate::store;

/// Lists the versions that images can be made of, ascending.
#[derive(clap::Args)]
pub struct Versions {
    #[command(flatten)]
    source: Source,
}

/// Lists the extensions of a version, in the order of its catalogue.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager extensions v13.1.0
  imager extensions 13.1.0 --json | jq -r '.[].name'

The names are what a schematic lists below `customization.systemExtensions.officialExtensions`.")]
pub struct Extensions {
    /// The version, with or without `v`
    version: Version,
    #[command(flatten)]
    source: Source,
}

impl Versions {
    /// Runs the command.
    pub async fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        let factory = self.source.factory(store::open(dir)?)?;
        // Those of now; what was known before is better than nothing.
        let asked = factory.refresh_versions().await;
        let versions = factory.versions().await?;
        if let Err(error) = asked {
            output.note(&format!("these are the versions that were known before: {error}"));
        }
        if versions.is_empty() {
            output.note("the store has no versions; `imager seed debian` makes some");
        }
        output.value(&versions, |out| versions.iter().try_for_each(|version| writeln!(out, "{version}")))
    }
}

impl Extensions {
    /// Runs the command.
    pub async fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        let offers = self.source.factory(store::open(dir)?)?.extensions(&self.version).await?;
        let width = offers.iter().map(|offer| offer.name.chars().count()).max().unwrap_or(0);
        output.value(&offers, |out| {
            offers.iter().try_for_each(|offer| {
                // The rest of a description is for whoever asks for JSON.
                let about = offer.description.lines().next().unwrap_or_default();
                writeln!(out, "{}", format!("{:width$}  {about}", offer.name).trim_end())
            })
        })
    }
}
