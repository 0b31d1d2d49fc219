//! What an installer image is built on.

use extent::{Digest, ExtentMap};
use store::{Descriptor, Store};

use super::image::{Image, digest_of};
use crate::lock::{LockedInstaller, LockedLayer};
use crate::{Checksum, Error};

/// A base with two layers carries boot files of its own in the second.
const WITH_BOOT_FILES: usize = 2;

/// The layers and the configuration of the image `base`, and `boot` over them.
pub fn installer(store: &Store, base: &Image, boot: &ExtentMap) -> Result<LockedInstaller, Error> {
    let config = base.config(store)?;
    let diff_ids = config.rootfs().diff_ids();
    let mut layers = Vec::new();
    for (index, layer) in base.layer_descriptors().iter().enumerate() {
        let digest = digest_of(&base.name, layer)?;
        let len = store.stat(&digest)?.ok_or(store::Error::NotFound { digest })?;
        let diff_id: Digest = diff_ids
            .get(index)
            .ok_or_else(|| Error::DiffIds { image: base.name.clone() })?
            .parse()
            .map_err(|source| Error::ImageDigest { image: base.name.clone(), source })?;
        let media_type = layer.media_type().to_string();
        layers.push(LockedLayer { media_type, blob: Descriptor { digest, len }, diff_id });
    }
    if layers.len() == WITH_BOOT_FILES {
        layers.truncate(1);
    }
    // By way of a value, whose keys are sorted.
    let config = serde_json::to_value(config.config()).expect("a configuration has text for keys");
    let digest = Checksum::Sha256.of(boot, store)?;
    let digest = Digest::from_hex(&digest).expect("a checksum is a digest");
    Ok(LockedInstaller { base: base.manifest, config, layers, boot: Descriptor { digest, len: boot.len() } })
}
