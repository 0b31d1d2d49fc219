//! Images come in.

use std::sync::atomic::{AtomicU64, Ordering};

use cosign::Policy;
use extent::Digest;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use oci_spec::image::Descriptor;
use store::Store;

use crate::image::Image;
use crate::signature::Found;
use crate::source::Source;
use crate::{Client, Error, Layout, Options, Platform, Reference};

/// How far a pull is. Bytes of configurations and layers; what the store had counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes of all.
    pub total: u64,
}

/// A pull that is about to be made.
pub struct Pull<'a> {
    store: &'a Store,
    source: Source<'a>,
    tag: Option<&'a str>,
    name: &'a str,
    digest: Option<Digest>,
    options: Options,
    policy: Option<&'a Policy>,
    with_signatures: bool,
    platforms: &'a [Platform],
    progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
}

/// An image that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// The digest of its index or manifest.
    pub digest: Digest,
    /// Bytes that came over the network for it: manifests, blobs and what is kept of signatures. What was read to
    /// judge signatures is not counted.
    pub fetched_len: u64,
}

/// Pulls `reference` into `store`, all platforms, if `policy` believes a signature of it.
///
/// # Errors
/// As [`Pull::run`].
pub async fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    policy: Option<&Policy>,
) -> Result<Pulled, Error> {
    let pull = Pull::new(store, client, reference);
    match policy {
        Some(policy) => pull.verified_by(policy).run().await,
        None => pull.run().await,
    }
}

impl<'a> Pull<'a> {
    /// A pull of all platforms of `reference`, signed or not.
    pub fn new(store: &'a Store, client: &'a Client, reference: &'a Reference) -> Self {
        let source = Source::Registry(client, reference, store);
        Self::out_of(store, source, reference.name(), reference.tag(), client.options().clone())
    }

    /// A pull of all platforms of the image that `tag` of `repository` names in `layout`, signed or not.
    pub fn from_layout(store: &'a Store, layout: &'a Layout, repository: &'a str, tag: &'a str) -> Self {
        let source = Source::Layout(layout, repository);
        Self::out_of(store, source, repository, Some(tag), Options::default())
    }

    /// The same, from another store.
    pub fn from_store(store: &'a Store, from: &'a Store, repository: &'a str, tag: &'a str) -> Self {
        let source = Source::Store(from, repository);
        Self::out_of(store, source, repository, Some(tag), Options::default())
    }

    fn out_of(
        store: &'a Store,
        source: Source<'a>,
        name: &'a str,
        tag: Option<&'a str>,
        options: Options,
    ) -> Self {
        let (policy, progress, digest, platforms) = (None, None, None, &[]);
        let with_signatures = false;
        Self { store, source, tag, name, digest, options, policy, with_signatures, platforms, progress }
    }

    /// Of this digest, whatever the tag names where it comes from.
    pub fn of_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// With all signatures that there are, believed or not: for who judges them later. A policy keeps those that it
    /// believes.
    pub fn with_signatures(mut self) -> Self {
        self.with_signatures = true;
        self
    }

    /// Only if `policy` believes a signature. Those that it believes are kept in the store, under the tags that they
    /// have in the registry.
    pub fn verified_by(mut self, policy: &'a Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Only these platforms of an index. The index stays as it is and lists the others too. An image without an index
    /// is taken for what it is.
    pub fn platforms(mut self, platforms: &'a [Platform]) -> Self {
        self.platforms = platforms;
        self
    }

    /// Under `name` in the store, and not under that of the repository.
    pub fn named(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// Calls `progress` whenever bytes have come.
    pub fn on_progress(mut self, progress: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Pulls. The tag, if the reference has one, names the image in the store when all of it is there; also where a digest
    /// decides which image that is.
    ///
    /// # Errors
    /// `Unverified` before anything of the image is read; `BadManifest`, `Malformed`, `TooLong`, `DigestMismatch` for
    /// what is not an image as it should be; `Denied`, `NotFound`; and all that networks and disks have. Then no tag
    /// was written; blobs that came whole stay for the next pull.
    pub async fn run(self) -> Result<Pulled, Error> {
        let (store, source) = (self.store, self.source);
        let (digest, signatures, image) = self.found().await?;
        let mut fetched = image.fetched + self.blobs(&image).await?;
        let (tags, len) = signatures.keep(source, store, &digest).await?;
        fetched += len;
        let name = self.name.to_owned();
        let image_tag = self.tag.map(|tag| (tag.to_owned(), image.top.clone()));
        let (writer, manifests) = (store.clone(), image.manifests);
        let write = move || {
            // From the bottom up: a manifest that the store has is one whose blobs it has, but for platforms that
            // nobody wanted.
            for document in manifests.iter().rev() {
                writer.put_expected(&document.bytes[..], document.digest)?;
            }
            // The image last: who sees it sees its signatures.
            for (tag, descriptor) in tags.iter().chain(&image_tag) {
                writer.tag(&name, tag, descriptor)?;
            }
            Ok::<_, store::Error>(())
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        tracing::info!(repository = self.name, %digest, fetched_bytes = fetched, "pulled");
        Ok(Pulled { descriptor: image.top, digest, fetched_len: fetched })
    }

    /// The digest of what would come, and its length: manifests are read and signatures judged, and nothing is written.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn look(&self) -> Result<(Digest, u64), Error> {
        let (digest, _, image) = self.found().await?;
        let manifests: u64 = image.manifests.iter().map(|document| document.bytes.len() as u64).sum();
        Ok((digest, manifests + image.blobs_len()))
    }

    async fn found(&self) -> Result<(Digest, Found, Image), Error> {
        let (source, policy) = (self.source, self.policy);
        let digest = match (self.digest, source) {
            (Some(digest), _) => digest,
            (None, Source::Registry(client, reference, _)) => client.resolve(reference).await?,
            (None, _) => source.resolve(self.tag.unwrap_or_default())?,
        };
        let signatures = if policy.is_some() || self.with_signatures {
            Found::look(source, &digest, policy).await?
        } else {
            Found::default()
        };
        let image = Image::read(source, digest, self.platforms, self.options.max_image_len).await?;
        if image.blobs.values().any(|&len| len > self.options.max_blob_len) {
            return Err(Error::BadManifest { digest, wanted: "no blob is longer than is allowed here" });
        }
        Ok((digest, signatures, image))
    }

    /// Fetches what the store lacks.
    async fn blobs(&self, image: &Image) -> Result<u64, Error> {
        let total = image.blobs_len();
        let mut done = 0;
        let mut missing = Vec::new();
        for (&digest, &len) in &image.blobs {
            if self.store.stat(&digest)? == Some(len) {
                done += len;
            } else {
                missing.push(store::Descriptor { digest, len });
            }
        }
        // The largest first: the last to finish is not one that began last.
        missing.sort_by_key(|blob| std::cmp::Reverse(blob.len));
        let done = AtomicU64::new(done);
        let heard = |len: u64| {
            let done = done.fetch_add(len, Ordering::Relaxed) + len;
            if let Some(progress) = self.progress {
                progress(Progress { done: done.min(total), total });
            }
        };
        heard(0);
        let fetches = missing.into_iter().map(|blob| self.source.fetch(self.store, blob, &heard));
        stream::iter(fetches)
            .buffer_unordered(self.options.parallel_blobs.max(1))
            .try_fold(0, |sum, len| std::future::ready(Ok(sum + len)))
            .await
    }
}
