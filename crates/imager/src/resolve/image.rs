//! Source images: OCI indexes, manifests and configurations.
//!
//! Reads what the store has; pulls nothing.
//!
//! Source: OCI image specification 1.1, image index, manifest.

use extent::Digest;
use oci_spec::image::{self as oci, ImageConfiguration, ImageIndex, ImageManifest};
use store::Store;

use crate::{Arch, Error};

/// The longest manifest, index or configuration in bytes: what registries must at least take.
///
/// Source: OCI distribution specification 1.1, pushing manifests.
const DOCUMENT_LEN_MAX: u64 = 4 << 20;

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
}

/// The digest in `descriptor`.
pub(super) fn digest_of(image: &str, descriptor: &oci::Descriptor) -> Result<Digest, Error> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|source| Error::ImageDigest { image: image.to_owned(), source })
}
