//! Source images, as the store has them: other factories and machines may pull them from here.

use axum::response::Response;
use extent::{Digest, ExtentMap};
use remote::MAX_MANIFEST_LEN;

use super::name::Wanted;
use super::published::Document;
use super::{Request, unknown_blob, unknown_manifest};
use crate::cache;
use crate::error::Error;

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
                let (digest, said) = self.tagged(repository, tag.clone()).await?.ok_or_else(|| {
                    Error::not_found(format!("there is no tag `{tag}`")).because("manifest-unknown")
                })?;
                self.stream(self.manifest(digest, Some(said)).await?, digest, cache::CATALOGUE).await
            }
            Wanted::Manifest(digest) => {
                self.stream(self.manifest(digest, None).await?, digest, cache::IMMUTABLE).await
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
                    Some((index, _)) => Some(self.bytes(index).await?),
                    None => None,
                };
                self.referrers(index.as_deref()).await
            }
            Wanted::Tags => self.tags(repository, &tags).await,
        }
    }

    /// What the tag names in the store, and the media type that it has there.
    async fn tagged(&self, repository: &str, tag: String) -> Result<Option<(Digest, String)>, Error> {
        let (store, name) = (self.factory.store().clone(), repository.to_owned());
        let found = tokio::task::spawn_blocking(move || store.resolve_tag(&name, &tag)).await??;
        Ok(found.and_then(|descriptor| {
            Some((descriptor.digest().to_string().parse().ok()?, descriptor.media_type().to_string()))
        }))
    }

    /// The bytes of the manifest `digest`.
    async fn bytes(&self, digest: Digest) -> Result<bytes::Bytes, Error> {
        let store = self.factory.store().clone();
        let read = tokio::task::spawn_blocking(move || store.bytes(&digest, MAX_MANIFEST_LEN)).await?;
        read.map_err(|error| match error {
            store::Error::NotFound { .. } | store::Error::TooLarge { .. } => unknown_manifest(&digest),
            error => error.into(),
        })
    }

    /// The manifest or index `digest`, which a tag `said` to have this media type. No blob is one because somebody asks for
    /// it as one.
    async fn manifest(&self, digest: Digest, said: Option<String>) -> Result<Document, Error> {
        let bytes = self.bytes(digest).await?;
        let media_type = remote::media_type(digest, &bytes, said).map_err(|_| unknown_manifest(&digest))?;
        let media_type = media_type.to_string();
        Ok(Document { media_type, extents: ExtentMap::inline(bytes), is_manifest: true })
    }
}
