//! Where images are read: in a registry, in a store, in a layout.

use std::io::{self, Read};

use bytes::Bytes;
use extent::{Blobs as _, Digest};
use store::{Descriptor, Store};

use crate::blob::Heard;
use crate::{Client, Error, Layout, MAX_MANIFEST_LEN, Reference, flight};

/// A repository, wherever it is.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Of a registry. What the store has is not fetched.
    Registry(&'a Client, &'a Reference, &'a Store),
    /// Of a store, by its name there.
    Store(&'a Store, &'a str),
    /// Of a layout, by its name there.
    Layout(&'a Layout, &'a str),
}

impl<'a> Source<'a> {
    /// A store of which nothing is asked by tag.
    pub(crate) fn store(store: &'a Store) -> Self {
        Self::Store(store, "")
    }

    /// The manifest `digest`, what is said of its media type, and how many bytes came over a network for it.
    pub(crate) async fn manifest(self, digest: Digest) -> Result<(Bytes, Option<String>, u64), Error> {
        let (client, repository, store) = match self {
            Self::Store(store, _) => return Ok((store.bytes(&digest, MAX_MANIFEST_LEN)?, None, 0)),
            Self::Layout(layout, _) => {
                return Ok((layout.bytes(&digest, "manifest", MAX_MANIFEST_LEN)?, None, 0));
            }
            Self::Registry(client, repository, store) => (client, repository, store),
        };
        match store.bytes(&digest, MAX_MANIFEST_LEN) {
            Ok(bytes) => return Ok((bytes, None, 0)),
            // What is corrupt is fetched again, and that mends it.
            Err(store::Error::NotFound { .. } | store::Error::Corrupt { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let manifest = client.manifest(&repository.with_digest(digest)).await?;
        let len = manifest.bytes.len() as u64;
        Ok((manifest.bytes, manifest.media_type, len))
    }

    /// The manifest that `tag` names.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn tagged(self, tag: &str) -> Result<Bytes, Error> {
        match self {
            Self::Registry(client, repository, _) => {
                Ok(client.manifest(&repository.with_tag(tag)?).await?.bytes)
            }
            Self::Store(..) | Self::Layout(..) => {
                let digest = self.resolve(tag)?;
                Ok(self.manifest(digest).await?.0)
            }
        }
    }

    /// The digest that `tag` names in a store or a layout.
    pub(crate) fn resolve(self, tag: &str) -> Result<Digest, Error> {
        let (found, repository) = match self {
            Self::Registry(..) => (None, ""),
            Self::Store(store, repository) => (store.resolve_tag(repository, tag)?, repository),
            Self::Layout(layout, repository) => (layout.resolve_tag(repository, tag).cloned(), repository),
        };
        let found = found.and_then(|descriptor| descriptor.digest().as_ref().parse().ok());
        found.ok_or_else(|| Error::NotFound { at: format!("{repository}:{tag}") })
    }

    /// The index of what refers to `image`.
    ///
    /// # Errors
    /// `NotFound` where nothing does, or an index of nothing.
    pub(crate) async fn referrers(self, image: &Digest) -> Result<Bytes, Error> {
        match self {
            Self::Registry(client, repository, _) => client.referrers(repository, image).await,
            Self::Store(..) | Self::Layout(..) => self.tagged(&cosign::referrers_tag(image)).await,
        }
    }

    /// All the bytes of a small blob.
    pub(crate) async fn small_blob(
        self,
        digest: &Digest,
        what: &'static str,
        max: u64,
    ) -> Result<Bytes, Error> {
        match self {
            Self::Registry(client, repository, _) => client.small_blob(repository, digest, what, max).await,
            Self::Store(store, _) => Ok(store.bytes(digest, max)?),
            Self::Layout(layout, _) => layout.bytes(digest, what, max),
        }
    }

    /// Takes a blob into `store`, unless it is there. Gives the bytes that were read for it.
    pub(crate) async fn fetch(self, store: &Store, blob: Descriptor, heard: Heard<'_>) -> Result<u64, Error> {
        if let Self::Registry(client, repository, _) = self {
            return client.fetch(repository, store, blob, heard).await;
        }
        let _flight = flight::board(blob.digest).await;
        if store.stat(&blob.digest)? == Some(blob.len) {
            return Ok(0);
        }
        let (target, digest) = (store.clone(), blob.digest);
        let reading: Box<dyn Read + Send> = match self {
            Self::Layout(layout, _) => Box::new(layout.reader(&blob)?),
            Self::Store(from, _) => Box::new(Blob { store: from.clone(), digest, len: blob.len, offset: 0 }),
            Self::Registry(..) => Box::new(io::empty()),
        };
        let put = tokio::task::spawn_blocking(move || target.put_expected(reading, digest)).await;
        match put.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(_) => {
                heard(blob.len);
                Ok(blob.len)
            }
            Err(store::Error::DigestMismatch { expected, actual }) => {
                Err(Error::DigestMismatch { at: format!("blob {digest}"), expected, actual })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A blob of a store, read from its beginning.
struct Blob {
    store: Store,
    digest: Digest,
    len: u64,
    offset: u64,
}

impl Read for Blob {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.offset).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        if count > 0 {
            self.store.read_at(&self.digest, self.offset, &mut buf[..count])?;
        }
        self.offset += count as u64;
        Ok(count)
    }
}
