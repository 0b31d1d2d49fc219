//! `imager store load`: images come in from a directory or a file.

use std::path::PathBuf;

use ::store::Store;
use anyhow::Context as _;
use extent::Digest;
use remote::{Layout, Pull};
use serde::Serialize;

use crate::exit::{Exit, Tag as _, refuse};
use crate::mirror::VERSIONS;
use crate::output::Output;
use crate::policy::PolicyFlags;
use crate::wait;

/// Takes all images of an image layout: a directory, or a tar archive of one, as `imager mirror` makes them.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager store load mirror.tar --key cosign.pub
  imager store load /media/stick/mirror --unsigned

Each image is judged by its own signature before anything of it is looked at, hashed while it comes in, and named when all of
it is there. Images without a name of the form `REPOSITORY:TAG` are passed over.")]
pub struct Load {
    /// The directory or the archive
    path: PathBuf,
    #[command(flatten)]
    policy: PolicyFlags,
}

#[derive(Serialize)]
struct Loaded {
    images: Vec<Image>,
    written_bytes: u64,
}

#[derive(Serialize)]
struct Image {
    repository: String,
    tag: String,
    digest: Digest,
}

impl Load {
    /// Runs the command.
    pub fn run(&self, store: &Store, output: &Output) -> anyhow::Result<()> {
        let policy = self.policy.policy()?;
        let shown = self.path.display();
        let progress = output.progress();
        progress.step(&format!("reading `{shown}`"));
        let layout =
            Layout::open(&self.path).with_context(|| format!("reading `{shown}`")).exit(Exit::Input)?;
        let mut names: Vec<(&str, &str)> = layout.images().collect();
        if names.is_empty() {
            return refuse(Exit::Input, format!("`{shown}` has no image with a name `REPOSITORY:TAG`"));
        }
        // Its tags are the versions that there are: they come when all else has.
        names.sort_by_key(|(repository, _)| *repository == VERSIONS);
        let mut loaded = Loaded { images: Vec::new(), written_bytes: 0 };
        wait(async {
            for (repository, tag) in names {
                let what = format!("loading `{repository}:{tag}`");
                let at = |now: remote::Progress| progress.at(&what, now.done, now.total);
                let mut pull =
                    Pull::from_layout(store, &layout, repository, tag).with_signatures().on_progress(&at);
                if let Some(policy) = &policy {
                    pull = pull.verified_by(policy);
                }
                let pulled = pull.run().await.with_context(|| what.clone()).exit(Exit::Dependency)?;
                loaded.written_bytes += pulled.fetched_len;
                let (repository, tag) = (repository.to_owned(), tag.to_owned());
                loaded.images.push(Image { repository, tag, digest: pulled.digest });
            }
            Ok(())
        })?;
        progress.done();
        output.value(&loaded, |out| {
            loaded
                .images
                .iter()
                .try_for_each(|image| writeln!(out, "{}:{}  {}", image.repository, image.tag, image.digest))
        })
    }
}
