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
                let store = self.factory.store().clone();
                let (name, asked) = (repository.to_owned(), tag.clone());
                let found = tokio::task::spawn_blocking(move || store.resolve_tag(&name, &asked)).await??;
                let digest = found.and_then(|descriptor| descriptor.digest().to_string().parse().ok());
                let digest: Digest = digest.ok_or_else(|| {
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
            Wanted::Referrers(_) => Ok(self.referrers(None)),
            Wanted::Tags => Ok(self.tags(repository, &tags)),
        }
    }

    /// The manifest `digest`: a blob that says it is one.
    async fn manifest(&self, digest: Digest) -> Result<Document, Error> {
        let store = self.factory.store().clone();
        let read = tokio::task::spawn_blocking(move || store.bytes(&digest, MANIFEST_LEN_MAX)).await?;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(store::Error::NotFound { .. } | store::Error::TooLarge { .. }) => {
                return Err(unknown_manifest(&digest));
            }
            Err(error) => return Err(error.into()),
        };
        let typed: Typed = serde_json::from_slice(&bytes).map_err(|_| unknown_manifest(&digest))?;
        Ok(Document { media_type: typed.media_type, extents: ExtentMap::inline(bytes), is_manifest: true })
    }
}
