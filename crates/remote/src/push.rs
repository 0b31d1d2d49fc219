//! Images go out.
//!
//! ```text
//! HEAD manifest ── there? nothing but the tag is written
//! HEAD blob     ── there? skipped
//! POST uploads/ ─▶ Location ─▶ PUT …?digest=…       several blobs at a time
//! PUT manifests, from the bottom up, by digest       and the tag last
//! ```
//!
//! Source: OCI distribution specification 1.1, pushing manifests and blobs.

use ::http::Method;
use ::http::header::{CONTENT_TYPE, LOCATION};
use extent::Digest;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use oci_spec::image::Descriptor;
use store::Store;

use crate::client::{Access, CONTENT_DIGEST};
use crate::http::{Ask, Sent, at, target};
use crate::image::{Document, Image, Source, sha256};
use crate::{Client, Error, Reference};

/// An image that is in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The digest of its index or manifest.
    pub digest: Digest,
    /// Bytes of blobs and manifests that were sent.
    pub sent_len: u64,
}

/// Pushes the image of `descriptor`, which is in `store` with all its platforms, to `reference`. Its tag, if it has
/// one, names the image when all of it is there.
///
/// Signatures are images too: `store.resolve_tag(name, "sha256-<hex>.sig")` gives what to push under that tag.
///
/// # Errors
/// `Store` when a part is not in the store; `DigestMismatch` when `reference` has another digest or the registry names
/// what it was given otherwise; `Denied`; and all that a network has. Then the tag is what it was.
pub async fn push(
    store: &Store,
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Pushed, Error> {
    let top = descriptor.digest().as_ref();
    let wanted = "an image in the store is named by its SHA-256";
    let top: Digest = top.parse().map_err(|_| Error::BadReference { text: top.to_owned(), wanted })?;
    if let Some(&expected) = reference.digest().filter(|&&expected| expected != top) {
        return Err(Error::DigestMismatch { at: reference.to_string(), expected, actual: top });
    }
    let top = sha256(top, descriptor)?;
    let image = Image::read(Source::Store(store), top, &[], u64::MAX).await?;
    let by_digest = reference.with_digest(top);
    let mut sent = 0;
    if !is_there(client, &by_digest).await? {
        let blobs =
            image.blobs.iter().map(|(&digest, &len)| push_blob(store, client, reference, digest, len));
        sent = stream::iter(blobs)
            .buffer_unordered(client.options().parallel_blobs.max(1))
            .try_fold(0, |sum, len| std::future::ready(Ok(sum + len)))
            .await?;
        for document in image.manifests.iter().rev() {
            sent += push_manifest(client, &reference.with_digest(document.digest), document).await?;
        }
    }
    if let Some(tag) = reference.tag() {
        sent += push_manifest(client, &reference.with_tag(tag)?, &image.manifests[0]).await?;
    }
    tracing::info!(%reference, digest = %top, sent_bytes = sent, "pushed");
    Ok(Pushed { digest: top, sent_len: sent })
}

async fn is_there(client: &Client, reference: &Reference) -> Result<bool, Error> {
    match client.head_manifest(reference).await {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sends a blob, unless it is there. Gives the bytes that were sent.
async fn push_blob(
    store: &Store,
    client: &Client,
    repository: &Reference,
    digest: Digest,
    len: u64,
) -> Result<u64, Error> {
    let mut retry = client.retry();
    loop {
        // From the start each time: nobody knows what has become of the upload that broke.
        match push_blob_once(store, client, repository, digest, len).await {
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
    len: u64,
) -> Result<u64, Error> {
    let url = client.url(repository, &format!("blobs/{digest}"))?;
    let head = Ask { method: Method::HEAD, ..Ask::get(url, &[]) };
    match client.ask(repository, Access::Push, head).await {
        Ok(_) => return Ok(0),
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let start = client.url(repository, "blobs/uploads/")?;
    let post = Ask { method: Method::POST, ..Ask::get(start, &[]) };
    let answer = client.ask(repository, Access::Push, post).await?;
    let bad = |wanted| Error::BadAnswer { at: at(&answer.url), wanted };
    let location = answer.header(LOCATION).ok_or_else(|| bad("an upload has a Location"))?;
    let mut url = target(&answer.url, location, answer.url.scheme() == "http")?;
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    let headers = [(CONTENT_TYPE, "application/octet-stream")];
    let body = Sent::Blob { store: store.clone(), digest, len };
    let put = Ask { method: Method::PUT, body, ..Ask::get(url, &headers) };
    client.ask(repository, Access::Push, put).await?;
    Ok(len)
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
