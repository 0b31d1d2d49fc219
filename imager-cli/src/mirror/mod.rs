//! `imager mirror`: what a version needs goes to another registry, into a directory, or into one file.
//!
//! ```text
//! registry ── pull ──▶ store ──┬── push ───────▶ registry
//!             or what it has   ├── copy ───────▶ directory, a store of its own
//!                              └── describe ───▶ archive, streamed
//! ```

mod place;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::store::Store;
use anyhow::Context as _;
use cosign::Policy;
use extent::Digest;
use imager::{Factory, Offer, SOURCE_IMAGES, Version};
use remote::{Described, Pull, Signatures};
use serde::Serialize;

use self::place::{From, Prefix, Target};
use crate::exit::{Exit, Tag as _, refuse, refuse_hint};
use crate::output::{Output, Progress};
use crate::policy::PolicyFlags;
use crate::{store, transfer};

/// Where the catalogues of extensions are.
const CATALOGUE: &str = SOURCE_IMAGES[0].0;
/// The image whose tags are the versions that there are.
pub const VERSIONS: &str = SOURCE_IMAGES[SOURCE_IMAGES.len() - 1].0;

/// Copies what versions need, with signatures, to where no network reaches.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager mirror --version v13.1.0 --key cosign.pub --to mirror.tar
  imager mirror --version v13.1.0 --from ghcr.io --unsigned --to /media/stick/mirror/
  imager mirror --all-versions --extension siderolabs/iscsi-tools --key cosign.pub --to registry.example/mirror
  imager mirror --version v13.1.0 --unsigned --to mirror.tar --dry-run

The images of a version are imager, installer-base, the catalogues of extensions and of overlays, talosctl-all where there is
one, and the extensions: all of them, unless some are named. `--unsigned` copies signatures unjudged. What comes from a
registry passes through the store, but for a directory, which is a store itself. What the target has is not copied again.
`imager store load` takes a file or a directory in.")]
pub struct Mirror {
    #[command(flatten)]
    wanted: Wanted,
    /// Where from; logins are taken from Docker's configuration [default: the store]
    #[arg(long, value_name = "REGISTRY[/NAMESPACE]", value_parser = Prefix::parse)]
    from: Option<Prefix>,
    /// Where to: an image layout in a directory or in one file, or a registry
    #[arg(long, value_name = "DIR/|FILE.tar|REGISTRY[/NAMESPACE]", value_parser = Target::parse)]
    to: Target,
    #[command(flatten)]
    policy: PolicyFlags,
    /// Print what would be copied
    #[arg(long)]
    dry_run: bool,
    /// Speak plain HTTP, and not only on the loopback
    #[arg(long)]
    plain_http: bool,
}

/// Which images.
#[derive(clap::Args)]
struct Wanted {
    /// A version, with or without `v`; may be given again
    #[arg(long, required_unless_present = "all_versions", value_name = "VERSION")]
    version: Vec<Version>,
    /// All versions that are there
    #[arg(long, conflicts_with = "version")]
    all_versions: bool,
    /// Only this extension of each version; may be given again [default: all]
    #[arg(long, value_name = "NAME")]
    extension: Vec<String>,
    /// No extensions
    #[arg(long, conflicts_with = "extension")]
    no_extensions: bool,
}

/// An image that is copied.
#[derive(Clone, Debug, Serialize)]
struct Item {
    repository: String,
    tag: String,
    digest: Digest,
    size_bytes: u64,
}

/// What was copied, or would be.
#[derive(Serialize)]
struct Copied {
    images: Vec<Item>,
    /// Blobs that images share count once for each.
    size_bytes: u64,
    /// What was read from a registry.
    fetched_bytes: u64,
    /// What the target was given: nothing of what it had.
    written_bytes: u64,
    dry_run: bool,
}

/// A mirror that is being made.
struct Copy<'a> {
    from: From,
    /// Has what was taken from a registry.
    working: Store,
    policy: Option<Policy>,
    dry_run: bool,
    progress: &'a Progress,
    items: Vec<Item>,
    fetched_bytes: u64,
}

impl Mirror {
    /// Runs the command.
    pub async fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        let policy = self.policy.policy()?;
        let scratch = tempfile::tempdir().context("making a directory").exit(Exit::Io)?;
        let working = match (&self.from, &self.to) {
            // Only catalogues are read.
            (Some(_), _) if self.dry_run => Store::open(scratch.path().join("store")).exit(Exit::Io)?,
            (Some(_), Target::Directory(target)) => opened(target)?,
            _ => store::open(dir)?,
        };
        let from = From::new(self.from.as_ref(), &working, self.plain_http)?;
        let progress = output.progress();
        let (dry_run, items) = (self.dry_run, Vec::new());
        let mut copy = Copy { from, working, policy, dry_run, progress: &progress, items, fetched_bytes: 0 };
        for version in &self.versions(&copy.from).await? {
            self.version(&mut copy, version, output).await?;
        }
        let written_bytes = if self.dry_run { 0 } else { self.bring(&copy).await? };
        let Copy { items: images, fetched_bytes, .. } = copy;
        progress.done();
        let size_bytes = images.iter().map(|item| item.size_bytes).sum();
        let copied = Copied { images, size_bytes, fetched_bytes, written_bytes, dry_run };
        output.value(&copied, |out| {
            for Item { repository, tag, digest, size_bytes } in &copied.images {
                writeln!(out, "{repository}:{tag}  {digest}  {size_bytes}")?;
            }
            let verb = if dry_run { "would be copied" } else { "copied" };
            writeln!(out, "{} images, {size_bytes} bytes {verb}", copied.images.len())
        })
    }

    async fn versions(&self, from: &From) -> anyhow::Result<Vec<Version>> {
        if !self.wanted.all_versions {
            return Ok(self.wanted.version.clone());
        }
        let tags = from.tags(VERSIONS).await?;
        let mut versions: Vec<Version> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        versions.sort();
        if versions.is_empty() {
            return refuse(
                Exit::Input,
                format!("there are no versions: `{VERSIONS}` has no tag that is one"),
            );
        }
        Ok(versions)
    }

    /// Takes the images of `version`. Its tag in `imager`, which says that there is such a version, comes last.
    async fn version(&self, copy: &mut Copy<'_>, version: &Version, output: &Output) -> anyhow::Result<()> {
        let tag = version.to_string();
        // A registry says so itself; not every one lists its tags.
        if let From::Store(store) = &copy.from
            && !store.tags(VERSIONS).exit(Exit::Io)?.contains(&tag)
        {
            let hint = "`imager versions` lists those that are there; `--from` takes others from a registry";
            return refuse_hint(Exit::Input, format!("the store has no version {version}"), hint);
        }
        for (repository, is_needed) in SOURCE_IMAGES {
            let taken = copy.take(repository, &tag, None).await;
            if !is_needed && taken.as_ref().is_err_and(is_absent) {
                output.note(&format!("there is no `{repository}:{tag}`"));
                continue;
            }
            taken?;
            if repository != CATALOGUE || self.wanted.no_extensions {
                continue;
            }
            // The catalogue has come: what does it offer?
            let factory = Factory::open(copy.working.clone());
            let reading = || format!("reading the catalogue of {version}");
            let offers = if self.wanted.extension.is_empty() {
                factory.extensions(version).await.with_context(reading)?
            } else {
                factory.extensions_named(version, &self.wanted.extension).await.with_context(reading)?
            };
            for Offer { name, reference, digest, .. } in offers {
                let tag = reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
                copy.take(&name, tag, Some(digest)).await?;
            }
        }
        Ok(())
    }

    /// Brings what was taken to the target; the bytes that it was given.
    async fn bring(&self, copy: &Copy<'_>) -> anyhow::Result<u64> {
        match &self.to {
            Target::Directory(_) if self.from.is_some() => Ok(copy.fetched_bytes),
            Target::Directory(target) => {
                let target = opened(target)?;
                let mut written = 0;
                for item in &copy.items {
                    let what = format!("copying `{}:{}`", item.repository, item.tag);
                    let at = |now: remote::Progress| copy.progress.at(&what, now.done, now.total);
                    let pull = Pull::from_store(&target, &copy.working, &item.repository, &item.tag);
                    let pull = copy.judged(pull.of_digest(item.digest).on_progress(&at));
                    written += pull.run().await.with_context(|| what.clone()).exit(Exit::Io)?.fetched_len;
                }
                Ok(written)
            }
            Target::File(path) => {
                let mut images = BTreeMap::new();
                for item in &copy.items {
                    let (image, signatures) = copy.described(item).await?;
                    for (tag, signature) in signatures.tagged(&item.digest) {
                        images.insert(format!("{}:{tag}", item.repository), signature);
                    }
                    images.insert(format!("{}:{}", item.repository, item.tag), image);
                }
                let archive = remote::archive(&images).context("describing the archive")?;
                let (what, len) = (format!("writing `{}`", path.display()), archive.len());
                let at = |done| copy.progress.at(&what, done, len);
                copy.working.write_file(&archive, path, &at).with_context(|| what.clone()).exit(Exit::Io)?;
                Ok(len)
            }
            Target::Registry(prefix) => {
                let client = transfer::client(self.plain_http, &[])?;
                let mut written = 0;
                for item in &copy.items {
                    let (image, signatures) = copy.described(item).await?;
                    let reference = prefix.reference(&item.repository, &item.tag, None).exit(Exit::Input)?;
                    let what = format!("pushing `{reference}`");
                    let at = |now: remote::Progress| copy.progress.at(&what, now.done, now.total);
                    let push = remote::Push::new(&copy.working, &client, &reference, &image);
                    let push = push.signed(item.digest, &signatures).on_progress(&at);
                    let pushed = push.run().await.with_context(|| what.clone());
                    written += pushed.exit(Exit::Dependency)?.sent_len;
                }
                Ok(written)
            }
        }
    }
}

impl Copy<'_> {
    /// Takes an image, if its signature is believed; not its blobs where nothing is to be copied.
    async fn take(&mut self, repository: &str, tag: &str, digest: Option<Digest>) -> anyhow::Result<()> {
        let what = format!("taking `{repository}:{tag}`");
        let at = |now: remote::Progress| self.progress.at(&what, now.done, now.total);
        let reference;
        let pull = match &self.from {
            From::Store(store) => {
                let pull = Pull::from_store(&self.working, store, repository, tag);
                digest.into_iter().fold(pull, Pull::of_digest)
            }
            From::Registry(client, prefix) => {
                reference = prefix.reference(repository, tag, digest).exit(Exit::Input)?;
                Pull::new(&self.working, client, &reference).named(repository)
            }
        };
        let pull = self.judged(pull).on_progress(&at);
        let taking = || what.clone();
        let (digest, size_bytes) = pull.look().await.with_context(taking).exit(Exit::Dependency)?;
        let is_catalogue = repository == CATALOGUE;
        if matches!(self.from, From::Registry(..)) && (is_catalogue || !self.dry_run) {
            let pulled = pull.of_digest(digest).run().await.with_context(taking).exit(Exit::Dependency)?;
            self.fetched_bytes += pulled.fetched_len;
        }
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        let is_new = |item: &Item| (&item.repository, &item.tag) != (&repository, &tag);
        // Versions may share an extension.
        if self.items.iter().all(is_new) {
            self.items.push(Item { repository, tag, digest, size_bytes });
        }
        Ok(())
    }

    fn judged<'a>(&'a self, pull: Pull<'a>) -> Pull<'a> {
        match &self.policy {
            Some(policy) => pull.verified_by(policy),
            None => pull.with_signatures(),
        }
    }

    /// An image of the store, and its signatures.
    async fn described(&self, item: &Item) -> anyhow::Result<(Described, Signatures)> {
        let Item { repository, tag, digest, .. } = item;
        let reading = || format!("reading `{repository}:{tag}`");
        let found = async {
            let signatures =
                Signatures::in_store(&self.working, repository, digest, self.policy.as_ref()).await?;
            Ok::<_, remote::Error>((Described::of_digest(&self.working, *digest).await?, signatures))
        };
        found.await.with_context(reading).exit(Exit::Io)
    }
}

/// The store that a directory is or becomes.
fn opened(dir: &std::path::Path) -> anyhow::Result<Store> {
    Store::open(dir).with_context(|| format!("opening `{}`", dir.display())).exit(Exit::Io)
}

/// Whether it is not there, and nothing is wrong.
fn is_absent(error: &anyhow::Error) -> bool {
    let absent = |error: &remote::Error| matches!(error, remote::Error::NotFound { .. });
    error.chain().any(|error| error.downcast_ref().is_some_and(absent))
}
