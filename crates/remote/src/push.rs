//! Images go out.
//!
//! ```text
//! HEAD manifest ── there? nothing but the tag is written
//! HEAD blob     ── there? skipped
//! POST uploads/ ─▶ Location ─▶ PUT …?digest=…       several blobs at a time, streamed out of their maps
//! PUT manifests, from the bottom up, by digest
//! signatures in both shapes                          and the tag last
//! ```
//!
//! Source: OCI distribution specification 1.1, pushing manifests and blobs, listing referrers.

use std::sync::atomic::{AtomicU64, Ordering};

use ::http::Method;
use ::http::header::{CONTENT_TYPE, LOCATION};
use extent::{Digest, ExtentMap};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use store::Store;

use crate::client::{Access, CONTENT_DIGEST};
use crate::http::{Ask, Sent, at, target};
use crate::image::Document;
use crate::signature::list;
use crate::{Client, Described, Error, Progress, Reference, Signatures};

/// An image that is in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The digest of its index or manifest.
    pub digest: Digest,
    /// Bytes of blobs and manifests that were sent.
    pub sent_len: u64,
}

/// A push that is about to be made.
pub struct Push<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    image: &'a Described,
    signatures: Vec<(Digest, &'a Signatures)>,
    progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
}

/// Pushes `image`, whose blobs are in `store`, to `reference`. Its tag, if it has one, names the image when all of it is
/// there.
///
/// # Errors
/// As [`Push::run`].
pub async fn push(
    store: &Store,
    client: &Client,
    reference: &Reference,
    image: &Described,
) -> Result<Pushed, Error> {
    Push::new(store, client, reference, image).run().await
}

impl<'a> Push<'a> {
    /// A push without signatures.
    pub fn new(store: &'a Store, client: &'a Client, reference: &'a Reference, image: &'a Described) -> Self {
        Self { store, client, reference, image, signatures: Vec::new(), progress: None }
    }

    /// With `signatures` of `subject`, which is the image or one of its platforms. They are there before the tag is.
    pub fn signed(mut self, subject: Digest, signatures: &'a Signatures) -> Self {
        self.signatures.push((subject, signatures));
        self
    }

    /// Calls `progress` whenever a blob is there.
    pub fn on_progress(mut self, progress: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Pushes. What the registry has is not sent.
    ///
    /// # Errors
    /// `Store` when a blob is not in the store; `DigestMismatch` when `reference` has another digest or the registry names
    /// what it was given otherwise; `Denied`; and all that a network has. Then the tag is what it was.
    pub async fn run(self) -> Result<Pushed, Error> {
        let Self { client, reference, image, .. } = self;
        let top = image.digest();
        if let Some(&expected) = reference.digest().filter(|&&expected| expected != top) {
            return Err(Error::DigestMismatch { at: reference.to_string(), expected, actual: top });
        }
        let mut sent = self.push_image(image, self.progress).await?;
        for (subject, signatures) in &self.signatures {
            sent += self.push_signatures(subject, signatures).await?;
        }
        if let Some(tag) = reference.tag() {
            sent += push_tag(client, &reference.with_tag(tag)?, &image.documents[0]).await?;
        }
        tracing::info!(%reference, digest = %top, sent_bytes = sent, "pushed");
        Ok(Pushed { digest: top, sent_len: sent })
    }

    /// Pushes all of `image` by digest, unless it is there. Gives the bytes that were sent.
    async fn push_image(
        &self,
        image: &Described,
        progress: Option<&(dyn Fn(Progress) + Send + Sync)>,
    ) -> Result<u64, Error> {
        let Self { store, client, reference, .. } = self;
        let (done, total) = (AtomicU64::new(0), image.blobs_len());
        let heard = |len: u64| {
            let done = done.fetch_add(len, Ordering::Relaxed) + len;
            if let Some(progress) = progress {
                progress(Progress { done, total });
            }
        };
        if names(client, &reference.with_digest(image.digest())).await?.is_some() {
            heard(total);
            return Ok(0);
        }
        heard(0);
        let mut blobs = Vec::new();
        for (&digest, map) in &image.blobs {
            let heard = &heard;
            blobs.push(async move {
                let sent = push_blob(store, client, reference, digest, map).await;
                sent.inspect(|_| heard(map.len()))
            });
        }
        let mut sent = stream::iter(blobs)
            .buffer_unordered(client.options().parallel_blobs.max(1))
            .try_fold(0, |sum, len| std::future::ready(Ok(sum + len)))
            .await?;
        for document in image.documents.iter().rev() {
            sent += push_manifest(client, &reference.with_digest(document.digest), document).await?;
        }
        Ok(sent)
    }

    async fn push_signatures(&self, subject: &Digest, signatures: &Signatures) -> Result<u64, Error> {
        let Self { client, reference, .. } = self;
        let mut sent = 0;
        if let Some(image) = &signatures.image {
            sent += self.push_image(image, None).await?;
            let tagged = reference.with_tag(&cosign::signature_tag(subject))?;
            sent += push_tag(client, &tagged, &image.documents[0]).await?;
        }
        for (_, referrer) in &signatures.referrers {
            sent += self.push_image(referrer, None).await?;
        }
        if signatures.referrers.is_empty() {
            return Ok(sent);
        }
        // A registry that knows what refers to what lists them by now. For one that does not, a tag stands for the list,
        // in which others may be already.
        let mut listed = match client.referrers(reference, subject).await {
            Ok(bytes) => {
                let digest = Digest::of(&bytes);
                let malformed = |source| Error::Malformed { what: "list of referrers", digest, source };
                let index: ImageIndex = serde_json::from_slice(&bytes).map_err(malformed)?;
                index.manifests().clone()
            }
            Err(Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let missing: Vec<Descriptor> = signatures
            .referrers
            .iter()
            .map(|(descriptor, _)| descriptor)
            .filter(|ours| listed.iter().all(|theirs| theirs.digest() != ours.digest()))
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(sent);
        }
        listed.extend(missing);
        let bytes = list(listed);
        let index = Document { digest: Digest::of(&bytes), media_type: MediaType::ImageIndex, bytes };
        let tagged = reference.with_tag(&cosign::referrers_tag(subject))?;
        Ok(sent + push_manifest(client, &tagged, &index).await?)
    }
}

/// The digest of what is at `reference`; none of its own where the registry says none.
async fn names(client: &Client, reference: &Reference) -> Result<Option<Option<Digest>>, Error> {
    match client.head_manifest(reference).await {
        Ok(digest) => Ok(Some(digest)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends a blob, unless it is there. Gives the bytes that were sent.
async fn push_blob(
    store: &Store,
    client: &Client,
    repository: &Reference,
    digest: Digest,
    map: &ExtentMap,
) -> Result<u64, Error> {
    let mut retry = client.retry();
    loop {
        // From the start each time: nobody knows what has become of the upload that broke.
        match push_blob_once(store, client, repository, digest, map).await {
            Ok(sent) => return Ok(sent),
            Err(error) => retry.after(error).await?,
        }
    }
}

async fn push_blob_once(
    store: &Store,
    client: &Client,
    repository: &Reference,
    digest: Digest,
    map: &ExtentMap,
) -> Result<u64, Error> {
    let url = client.url(repository, &format!("blobs/{digest}"))?;
    let head = Ask { method: Method::HEAD, ..Ask::get(url, &[]) };
    match client.ask(repository, Access::Push, head).await {
        Ok(_) => return Ok(0),
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    // What it is made of is there and is what it should be: no upload is begun that cannot end.
    drop(store.stream(map.clone()).await?);
    let start = client.url(repository, "blobs/uploads/")?;
    let post = Ask { method: Method::POST, ..Ask::get(start, &[]) };
    let answer = client.ask(repository, Access::Push, post).await?;
    let bad = |wanted| Error::BadAnswer { at: at(&answer.url), wanted };
    let location = answer.header(LOCATION).ok_or_else(|| bad("an upload has a Location"))?;
    let mut url = target(&answer.url, location, answer.url.scheme() == "http")?;
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    let headers = [(CONTENT_TYPE, "application/octet-stream")];
    let body = Sent::Extents { store: store.clone(), map: map.clone() };
    let put = Ask { method: Method::PUT, body, ..Ask::get(url, &headers) };
    client.ask(repository, Access::Push, put).await?;
    Ok(map.len())
}

/// Writes the tag of `reference`, unless it names the document already.
async fn push_tag(client: &Client, reference: &Reference, document: &Document) -> Result<u64, Error> {
    match names(client, reference).await? {
        Some(Some(digest)) if digest == document.digest => Ok(0),
        _ => push_manifest(client, reference, document).await,
    }
}

async fn push_manifest(client: &Client, reference: &Reference, document: &Document) -> Result<u64, Error> {
    let url = client.manifest_url(reference)?;
    let place = at(&url);
    let headers = [(CONTENT_TYPE, document.media_type.as_ref())];
    let body = Sent::Bytes(document.bytes.clone());
    let put = Ask { method: Method::PUT, body, ..Ask::get(url, &headers) };
    let answer = client.ask_patiently(reference, Access::Push, put).await?;
    let expected = document.digest;
    match answer.header(CONTENT_DIGEST).and_then(|digest| digest.parse().ok()) {
        Some(actual) if actual != expected => Err(Error::DigestMismatch { at: place, expected, actual }),
        _ => Ok(document.bytes.len() as u64),
    }
}
