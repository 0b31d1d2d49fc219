//! Source images, as the store has them: other factories and machines may pull them from here.

use axum::response::Response;
use extent::{Digest, ExtentMap};

use super::name::Wanted;
use super::published::Document;
use super::{Request, unknown_blob, unknown_manifest};
use crate::cache;
use crate::error::Error;

/// The longest manifest: what registries must at least take.
///
/// Source: OCI distribution specification 1.1, pushing manifests.
const MANIFEST_LEN_MAX: u64 = 4 << 20;

/// The one field that every manifest must have to be given out as one.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: String,
}

impl Request {
    /// Answers for a source image.
    pub(super) async fn source(&self, repository: &str, wanted: Wanted) -> Result<Response, Error> {
        let store = self.factory.store().clone();
        let name = repository.to_owned();
        let tags = tokio::task::spawn_blocking(move || store.tags(&name)).await??;
        if tags.is_empty() {
            let text = format!("there is no repository `{repository}`");
            return Err(Error::not_found(text).because("name-unknown"));
        }
        match wanted {
            Wanted::Tag(tag) => {
                let digest = self.tagged(repository, tag.clone()).await?.ok_or_else(|| {
                    Error::not_found(format!("there is no tag `{tag}`")).because("manifest-unknown")
                })?;
                self.stream(self.manifest(digest).await?, digest, cache::CATALOGUE).await
            }
            Wanted::Manifest(digest) => {
                self.stream(self.manifest(digest).await?, digest, cache::IMMUTABLE).await
            }
            Wanted::Blob(digest) => {
                let store = self.factory.store().clone();
                let len = tokio::task::spawn_blocking(move || store.stat(&digest)).await??;
                let len = len.ok_or_else(|| unknown_blob(&digest))?;
                let extents = ExtentMap::blob(digest, 0, len);
                let media_type = "application/octet-stream".to_owned();
                let blob = Document { media_type, extents, is_manifest: false };
                self.stream(blob, digest, cache::IMMUTABLE).await
            }
            // As a pull keeps them: under the tag that stands for them where there is no such path.
            Wanted::Referrers(digest) => {
                let tag = cosign::referrers_tag(&digest);
                let index = match self.tagged(repository, tag).await? {
                    Some(index) => Some(self.bytes(index).await?),
                    None => None,
                };
                self.referrers(index.as_deref()).await
            }
            Wanted::Tags => self.tags(repository, &tags).await,
        }
    }

    /// What the tag names in the store.
    async fn tagged(&self, repository: &str, tag: String) -> Result<Option<Digest>, Error> {
        let (store, name) = (self.factory.store().clone(), repository.to_owned());
        let found = tokio::task::spawn_blocking(move || store.resolve_tag(&name, &tag)).await??;
        Ok(found.and_then(|descriptor| descriptor.digest().to_string().parse().ok()))
    }

    /// The bytes of the manifest `digest`.
    async fn bytes(&self, digest: Digest) -> Result<bytes::Bytes, Error> {
        let store = self.factory.store().clone();
        let read = tokio::task::spawn_blocking(move || store.bytes(&digest, MANIFEST_LEN_MAX)).await?;
        read.map_err(|error| match error {
            store::Error::NotFound { .. } | store::Error::TooLarge { .. } => unknown_manifest(&digest),
            error => error.into(),
        })
    }

    /// The manifest `digest`: a blob that says it is one.
    async fn manifest(&self, digest: Digest) -> Result<Document, Error> {
        let bytes = self.bytes(digest).await?;
        let typed: Typed = serde_json::from_slice(&bytes).map_err(|_| unknown_manifest(&digest))?;
        Ok(Document { media_type: typed.media_type, extents: ExtentMap::inline(bytes), is_manifest: true })
    }
}
