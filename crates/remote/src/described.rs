//! An image that is described: its documents as bytes, its configurations and layers as maps over a store.
//!
//! An image that lies in a store is one whose maps have an extent each.

use std::collections::BTreeMap;

use bytes::Bytes;
use extent::{Digest, ExtentMap};
use oci_spec::image::{Descriptor, MediaType};
use store::Store;

use crate::Error;
use crate::image::{Document, Image, sha256};
use crate::source::Source;

/// An image, described.
#[derive(Debug, Clone)]
pub struct Described {
    /// Manifests and indexes, the top first, each before those that it lists.
    pub(crate) documents: Vec<Document>,
    /// Configurations and layers.
    pub(crate) blobs: BTreeMap<Digest, ExtentMap>,
}

impl Described {
    /// The image whose manifest or index is `top`, with the documents below it and the blobs that these list. Who makes
    /// it answers for its being whole.
    pub fn new(
        top: (MediaType, Bytes),
        below: impl IntoIterator<Item = (MediaType, Bytes)>,
        blobs: BTreeMap<Digest, ExtentMap>,
    ) -> Self {
        let document = |(media_type, bytes): (MediaType, Bytes)| {
            let digest = Digest::of(&bytes);
            Document { digest, media_type, bytes }
        };
        Self { documents: std::iter::once(top).chain(below).map(document).collect(), blobs }
    }

    /// The image of `descriptor`, which is in `store` with all its platforms.
    ///
    /// # Errors
    /// `Store` when a document is not in the store; `BadManifest` and `Malformed` for what is no image.
    pub async fn in_store(store: &Store, descriptor: &Descriptor) -> Result<Self, Error> {
        let text = descriptor.digest().as_ref();
        let wanted = "an image in the store is named by its SHA-256";
        let top: Digest = text.parse().map_err(|_| Error::BadReference { text: text.to_owned(), wanted })?;
        Self::of_digest(store, sha256(top, descriptor)?).await
    }

    /// The same, by its digest.
    ///
    /// # Errors
    /// As [`Self::in_store`].
    pub async fn of_digest(store: &Store, top: Digest) -> Result<Self, Error> {
        let image = Image::read(Source::store(store), top, &[], u64::MAX).await?;
        let blobs = image.blobs.iter().map(|(&digest, &len)| (digest, ExtentMap::blob(digest, 0, len)));
        Ok(Self { blobs: blobs.collect(), documents: image.manifests })
    }

    /// The digest of its index or manifest: its name.
    pub fn digest(&self) -> Digest {
        self.documents[0].digest
    }

    /// The descriptor of its index or manifest.
    pub fn descriptor(&self) -> Descriptor {
        self.documents[0].descriptor()
    }

    /// The bytes of all documents and blobs.
    pub fn len(&self) -> u64 {
        let documents: u64 = self.documents.iter().map(|document| document.bytes.len() as u64).sum();
        documents + self.blobs_len()
    }

    /// Never: it has a manifest.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes of all blobs.
    pub(crate) fn blobs_len(&self) -> u64 {
        self.blobs.values().map(ExtentMap::len).sum()
    }

    /// Every part by its digest, as it lies in a layout.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Digest, ExtentMap)> {
        let documents = self.documents.iter();
        let documents = documents.map(|one| (one.digest, ExtentMap::inline(one.bytes.clone())));
        documents.chain(self.blobs.iter().map(|(digest, map)| (*digest, map.clone())))
    }
}
