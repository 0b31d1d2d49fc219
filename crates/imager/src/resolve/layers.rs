//! Layers of source images: unpacked, read, and laid one over the other.
//!
//! ```text
//! tar ──────────────────┐
//! tar+gzip, tar+zstd ──▶ tar, a blob of its own, once ──▶ layer ──▶ stack ──▶ tree: ranges of these blobs
//! ```
//!
//! Source: OCI image specification 1.1, layer; Docker image manifest version 2, schema 2, media types.

use std::io::{self, BufReader, Read};

use extensions::Stack;
use extent::{Blobs, Digest, ExtentMap, Tree, read_at};
use flate2::read::MultiGzDecoder;
use formats::tar;
use oci_spec::image as oci;
use store::{Descriptor, Store};

use super::image::{Image, digest_of};
use crate::Error;

/// The most layers of an image: what `remote` pulls at most.
const LAYERS_MAX: usize = 512;
/// The longest layer in bytes, unpacked: many times the largest extension, few enough not to fill a disk.
const LAYER_LEN_MAX: u64 = 32 << 30;
/// The longest image in bytes, all its layers unpacked.
const IMAGE_LEN_MAX: u64 = 64 << 30;
/// How many times longer than packed a layer may be. Layers of text shrink to a tenth; zstd can say 32 KiB of one
/// character with each byte.
const RATIO_MAX: u64 = 200;
/// What a layer may have whatever its ratio: small layers of large, empty files are honest.
const RATIO_FREE_LEN: u64 = 64 << 20;
/// The largest window of zstd, as the power of two: 128 MiB, the most that `zstd -d` takes unless told otherwise. The
/// window is memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes read at once.
const CHUNK_LEN: usize = 256 << 10;

/// How the archive of a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// What `media_type` says, if it is that of a layer that is read.
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
                Some(Self::Plain)
            }
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Self::Gzip),
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Image {
    /// The tree that the layers make. Its files are ranges of blobs.
    pub fn tree(&self, store: &Store) -> Result<Tree, Error> {
        let damaged = |source| Error::Layers { image: self.name.clone(), source };
        let layers = self.layer_descriptors();
        if layers.len() > LAYERS_MAX {
            return Err(Error::TooManyLayers { image: self.name.clone(), max: LAYERS_MAX });
        }
        let mut stack = Stack::new();
        let mut image_len = 0;
        for descriptor in layers {
            let blob = self.unpacked(store, descriptor)?;
            let len = store.stat(&blob)?.ok_or(store::Error::NotFound { digest: blob })?;
            image_len += len;
            if len > LAYER_LEN_MAX || image_len > IMAGE_LEN_MAX {
                let max = if len > LAYER_LEN_MAX { LAYER_LEN_MAX } else { IMAGE_LEN_MAX };
                return Err(Error::LayerTooLarge { digest: blob, max });
            }
            let reader =
                BufReader::with_capacity(CHUNK_LEN, Bytes::new(ExtentMap::blob(blob, 0, len), store));
            let layer = tar::layer(reader, blob)
                .map_err(|source| Error::Layer { image: self.name.clone(), source })?;
            stack.lay(&layer).map_err(damaged)?;
        }
        stack.into_tree().map_err(damaged)
    }

    /// The content of the file `path` in the tree of the image.
    pub fn file<'a>(&self, tree: &'a Tree, path: &str) -> Result<&'a ExtentMap, Error> {
        tree.content(path)
            .ok_or_else(|| Error::MissingFile { image: self.name.clone(), path: path.to_owned() })
    }

    /// The archive of a layer, as a blob of its own.
    fn unpacked(&self, store: &Store, descriptor: &oci::Descriptor) -> Result<Digest, Error> {
        let packed = digest_of(&self.name, descriptor)?;
        let media_type = descriptor.media_type().to_string();
        let derivation = match Packing::of(&media_type) {
            None => {
                let media_type = crate::error::shown(&media_type);
                return Err(Error::LayerMediaType { image: self.name.clone(), media_type });
            }
            Some(Packing::Plain) => return Ok(packed),
            Some(Packing::Gzip) => "unpacked-layer",
            Some(Packing::Zstd) => "unpacked-layer-zstd",
        };
        let descriptor: Descriptor = store.derive(derivation, 1, &[packed], || {
            let len = store.stat(&packed)?.ok_or(store::Error::NotFound { digest: packed })?;
            let reader =
                BufReader::with_capacity(CHUNK_LEN, Bytes::new(ExtentMap::blob(packed, 0, len), store));
            let decoder: Box<dyn Read + '_> = if derivation == "unpacked-layer" {
                Box::new(MultiGzDecoder::new(reader))
            } else {
                Box::new(zstd_decoder(reader).map_err(|source| Error::Scratch { source })?)
            };
            let max = LAYER_LEN_MAX.min(len.saturating_mul(RATIO_MAX).max(RATIO_FREE_LEN));
            let mut unpacking = Unpacking { decoder, left: max, failure: None };
            let stored = store.put(&mut unpacking);
            match unpacking.failure {
                None => Ok(stored?),
                Some(Failure::TooLarge) => Err(Error::LayerTooLarge { digest: packed, max }),
                Some(Failure::Read(source)) => Err(Error::LayerPacking { digest: packed, source }),
            }
        })?;
        Ok(descriptor.digest)
    }
}

fn zstd_decoder<'a>(reader: impl io::BufRead + 'a) -> io::Result<impl Read + 'a> {
    let mut decoder = zstd::Decoder::with_buffer(reader)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// A decoder of which so much is taken and no more. The store does not tell its own failures from those of what it
/// reads, so these are kept here.
struct Unpacking<R> {
    decoder: R,
    left: u64,
    failure: Option<Failure>,
}

enum Failure {
    TooLarge,
    Read(io::Error),
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(buf) {
            Ok(len) if len as u64 > self.left => {
                self.failure = Some(Failure::TooLarge);
                Err(io::ErrorKind::InvalidData.into())
            }
            Ok(len) => {
                self.left -= len as u64;
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(Failure::Read(error));
                Err(kind.into())
            }
        }
    }
}

/// The bytes of a map, to be read one after the other.
pub(super) struct Bytes<'a> {
    map: ExtentMap,
    offset: u64,
    blobs: &'a dyn Blobs,
}

impl<'a> Bytes<'a> {
    pub fn new(map: ExtentMap, blobs: &'a dyn Blobs) -> Self {
        Self { map, offset: 0, blobs }
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.map.len() - self.offset).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        read_at(&self.map, self.offset, &mut buf[..count], self.blobs)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
