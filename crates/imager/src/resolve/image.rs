//! Source images: OCI manifests and the trees of their layers.
//!
//! Reads what the store has; pulls nothing. Layers are uncompressed tar archives, or become that once.
//!
//! Source: OCI image specification 1.1, image index, manifest and layer.

use std::io::{self, BufReader, Read};

use extent::{Blobs, Digest, ExtentMap, Tree, TreePath, read_at};
use flate2::read::MultiGzDecoder;
use formats::tar;
use oci_spec::image::{self as oci, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use store::{Descriptor, Store};

use crate::{Arch, Error};

/// The longest manifest, index or configuration in bytes: what registries must at least take.
///
/// Source: OCI distribution specification 1.1, pushing manifests.
const DOCUMENT_LEN_MAX: u64 = 4 << 20;
/// The longest layer in bytes, unpacked: many times the largest extension, few enough not to fill a disk.
const LAYER_LEN_MAX: u64 = 32 << 30;
/// Bytes read at once.
const CHUNK_LEN: usize = 256 << 10;

/// An image for one architecture.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// The name to say when something is wrong with it.
    pub name: String,
    /// Its manifest.
    pub manifest: Digest,
    config: oci::Descriptor,
    layers: Vec<oci::Descriptor>,
}

impl Image {
    /// The image `digest`, an index or a manifest, for `arch`.
    pub fn open(store: &Store, name: &str, digest: Digest, arch: Arch) -> Result<Self, Error> {
        let bytes = store.bytes(&digest, DOCUMENT_LEN_MAX)?;
        let no_platform = || Error::NoPlatform { image: name.to_owned(), arch };
        let wrong = |source| Error::Document { image: name.to_owned(), what: "manifest", source };
        // A document says what it is, or is told by what it has.
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrong)?;
        let (manifest, bytes) = if value.get("manifests").is_some() {
            let index: ImageIndex = serde_json::from_value(value).map_err(wrong)?;
            let fits = |entry: &&oci::Descriptor| {
                entry.platform().as_ref().is_some_and(|platform| {
                    *platform.os() == oci::Os::Linux && platform.architecture().to_string() == arch.name()
                })
            };
            let entry = index.manifests().iter().find(fits).ok_or_else(no_platform)?;
            let manifest = digest_of(name, entry)?;
            (manifest, store.bytes(&manifest, DOCUMENT_LEN_MAX)?)
        } else {
            (digest, bytes)
        };
        let parsed: ImageManifest = serde_json::from_slice(&bytes).map_err(wrong)?;
        if manifest == digest {
            let config = store.bytes(&digest_of(name, parsed.config())?, DOCUMENT_LEN_MAX)?;
            let config: ImageConfiguration = serde_json::from_slice(&config).map_err(|source| {
                Error::Document { image: name.to_owned(), what: "configuration", source }
            })?;
            if config.architecture().to_string() != arch.name() {
                return Err(no_platform());
            }
        }
        let (config, layers) = (parsed.config().clone(), parsed.layers().clone());
        Ok(Self { name: name.to_owned(), manifest, config, layers })
    }

    /// The descriptors of the layers, bottom first.
    pub fn layer_descriptors(&self) -> &[oci::Descriptor] {
        &self.layers
    }

    /// The configuration.
    pub fn config(&self, store: &Store) -> Result<ImageConfiguration, Error> {
        let bytes = store.bytes(&digest_of(&self.name, &self.config)?, DOCUMENT_LEN_MAX)?;
        let wrong = |source| Error::Document { image: self.name.clone(), what: "configuration", source };
        serde_json::from_slice(&bytes).map_err(wrong)
    }

    /// The trees of the layers, bottom first. Their files are ranges of blobs.
    pub fn layers(&self, store: &Store) -> Result<Vec<Tree>, Error> {
        self.layers.iter().map(|layer| self.layer(store, layer)).collect()
    }

    fn layer(&self, store: &Store, descriptor: &oci::Descriptor) -> Result<Tree, Error> {
        let packed = digest_of(&self.name, descriptor)?;
        let blob = match descriptor.media_type() {
            MediaType::ImageLayer => packed,
            MediaType::ImageLayerGzip => unpacked(store, packed)?,
            MediaType::Other(name) if name == "application/vnd.docker.image.rootfs.diff.tar" => packed,
            MediaType::Other(name) if name == "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
                unpacked(store, packed)?
            }
            other => {
                let media_type = crate::error::shown(other.as_ref());
                return Err(Error::LayerMediaType { image: self.name.clone(), media_type });
            }
        };
        let len = store.stat(&blob)?.ok_or(store::Error::NotFound { digest: blob })?;
        let reader = BufReader::with_capacity(CHUNK_LEN, Bytes::new(ExtentMap::blob(blob, 0, len), store));
        tar::read(reader, blob).map_err(|source| Error::Layer { image: self.name.clone(), source })
    }

    /// The content of the file `path` of the image.
    pub fn file<'a>(&self, layers: &'a [Tree], path: &str) -> Result<&'a ExtentMap, Error> {
        file(layers, path)
            .ok_or_else(|| Error::MissingFile { image: self.name.clone(), path: path.to_owned() })
    }
}

/// The content of the file `path` in a stack of layers: the topmost, unless a layer above takes it away.
fn file<'a>(layers: &'a [Tree], path: &str) -> Option<&'a ExtentMap> {
    for layer in layers.iter().rev() {
        if let Some(content) = layer.content(path) {
            return Some(content);
        }
        let mut above = TreePath::parse(path).ok()?;
        loop {
            let parent = above.parent()?;
            let beside = |name: &str| {
                let path = format!("{parent}/{name}");
                TreePath::parse(&path).is_ok_and(|path| layer.get(&path).is_some())
            };
            if beside(&format!(".wh.{}", above.name())) || beside(".wh..wh..opq") {
                return None;
            }
            if parent == TreePath::root() {
                break;
            }
            above = parent;
        }
    }
    None
}

/// The tar archive in the gzipped layer `packed`, as a blob of its own.
fn unpacked(store: &Store, packed: Digest) -> Result<Digest, Error> {
    let descriptor: Descriptor = store.derive("unpacked-layer", 1, &[packed], || {
        let len = store.stat(&packed)?.ok_or(store::Error::NotFound { digest: packed })?;
        let reader = BufReader::with_capacity(CHUNK_LEN, Bytes::new(ExtentMap::blob(packed, 0, len), store));
        let stored = store.put(MultiGzDecoder::new(reader).take(LAYER_LEN_MAX + 1))?;
        if stored.len > LAYER_LEN_MAX {
            return Err(Error::LayerTooLarge { digest: packed, max: LAYER_LEN_MAX });
        }
        Ok::<_, Error>(stored)
    })?;
    Ok(descriptor.digest)
}

/// The digest in `descriptor`.
pub(super) fn digest_of(image: &str, descriptor: &oci::Descriptor) -> Result<Digest, Error> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|source| Error::ImageDigest { image: image.to_owned(), source })
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
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, content) in files {
            tree.file(path, content.as_bytes().to_vec(), 0o644).unwrap();
        }
        tree
    }

    #[test]
    fn the_topmost_file_counts_unless_it_is_taken_away() {
        let bottom = tree(&[("a/b/c", "1"), ("a/d", "1"), ("e", "1"), ("f/g", "1")]);
        let middle = tree(&[("a/b/.wh.c", ""), ("e", "2"), ("f/.wh..wh..opq", "")]);
        let layers = [bottom, middle, tree(&[(".wh.zz", "")])];
        let text = |path: &str| {
            file(&layers, path)
                .map(|map| extent::read_all(map, &std::collections::HashMap::new(), 9).unwrap())
                .map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(text("a/b/c"), None);
        assert_eq!(text("a/d").as_deref(), Some("1"));
        assert_eq!(text("e").as_deref(), Some("2"));
        assert_eq!(text("f/g"), None);
        assert_eq!(text("nowhere"), None);
    }
}
