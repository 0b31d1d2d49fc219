//! Installer images: the base, and over it a layer with the boot files of one schematic.
//!
//! ```text
//! index ─┬─ manifest amd64 ─┬─ config               what to run, from the base
//!        │                  ├─ layers of the base   as they are
//!        │                  └─ boot layer           usr/install/amd64/{systemd-boot.efi,vmlinuz.efi}
//!        └─ manifest arm64 ─ …
//! ```
//!
//! The boot layer is a tar archive that is not compressed: what is in it is, and so it is described and streamed as every
//! asset is. Its digest is all that must be computed, when a lock is made.
//!
//! Source: OCI image specification 1.1 (manifest, configuration, index, image layout); `outInstaller` of the reference's
//! imager, as facts.

use std::collections::BTreeMap;

use bytes::Bytes;
use extent::{Digest, ExtentMap, Tree, TreePath};
use formats::tar;
use serde_json::{Value, json};
use store::Descriptor;

use super::EPOCH;
use crate::lock::LockedInstaller;
use crate::{Arch, Error};

/// [`EPOCH`], as documents write it.
const CREATED: &str = "2019-06-01T21:34:52Z";
/// The media type of a configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of the boot layer.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image for one architecture, described.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Installer {
    /// The architecture.
    pub arch: Arch,
    /// The manifest, as JSON.
    pub manifest: Bytes,
    /// The configuration, as JSON.
    pub config: Bytes,
    /// The layers, bottom first.
    pub layers: Vec<InstallerLayer>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstallerLayer {
    /// The media type.
    pub media_type: String,
    /// Digest and length of its bytes.
    pub descriptor: Descriptor,
    /// The bytes.
    pub extents: ExtentMap,
}

/// The archive with the boot files for `arch`.
pub(crate) fn boot_layer(arch: Arch, systemd_boot: ExtentMap, uki: ExtentMap) -> Result<ExtentMap, Error> {
    let mut tree = Tree::new();
    tree.file(&format!("usr/install/{arch}/systemd-boot.efi"), systemd_boot, 0o644)?;
    tree.file(&format!("usr/install/{arch}/vmlinuz.efi"), uki, 0o644)?;
    Ok(tar::archive(&tree, EPOCH)?)
}

/// The image of `locked`, whose boot layer has the bytes `boot`.
pub(crate) fn installer(arch: Arch, locked: &LockedInstaller, boot: ExtentMap) -> Installer {
    let diff_ids: Vec<String> = locked
        .layers
        .iter()
        .map(|layer| layer.diff_id)
        .chain([locked.boot.digest])
        .map(|id| id.to_string())
        .collect();
    let config = document(&json!({
        "architecture": arch.name(),
        "config": locked.config,
        "created": CREATED,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }));
    let mut layers: Vec<InstallerLayer> = locked
        .layers
        .iter()
        .map(|layer| InstallerLayer {
            media_type: layer.media_type.clone(),
            descriptor: layer.blob,
            extents: super::blob(&layer.blob),
        })
        .collect();
    layers.push(InstallerLayer { media_type: LAYER.to_owned(), descriptor: locked.boot, extents: boot });
    let described: Vec<Value> =
        layers.iter().map(|layer| descriptor(&layer.media_type, &layer.descriptor)).collect();
    let manifest = document(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &of(&config)),
        "layers": described,
    }));
    Installer { arch, manifest, config, layers }
}

/// An image for several architectures, described.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstallerImage {
    /// The index, as JSON.
    pub index: Bytes,
    /// The image for each architecture, in the order of the index.
    pub installers: Vec<Installer>,
}

impl InstallerImage {
    /// The image of all `installers`.
    pub fn of(installers: Vec<Installer>) -> Self {
        let manifests: Vec<Value> = installers
            .iter()
            .map(|installer| {
                let mut entry = descriptor(MANIFEST, &of(&installer.manifest));
                entry["platform"] = json!({"architecture": installer.arch.name(), "os": "linux"});
                entry
            })
            .collect();
        let index = document(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}));
        Self { index, installers }
    }

    /// The digest of the index: the name of the image.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.index)
    }

    /// The index and the manifests, the index first, each behind its media type.
    pub fn manifests(&self) -> impl Iterator<Item = (&'static str, &Bytes)> {
        let manifests = self.installers.iter().map(|installer| (MANIFEST, &installer.manifest));
        std::iter::once((INDEX, &self.index)).chain(manifests)
    }

    /// Configurations and layers.
    pub fn blobs(&self) -> BTreeMap<Digest, ExtentMap> {
        let configs = self
            .installers
            .iter()
            .map(|installer| (Digest::of(&installer.config), ExtentMap::inline(installer.config.clone())));
        let layers = self.installers.iter().flat_map(|installer| &installer.layers);
        configs.chain(layers.map(|layer| (layer.descriptor.digest, layer.extents.clone()))).collect()
    }
}

/// The image as one file: an OCI image layout, and beside it what makes the same file a `docker save` archive, so that
/// the tools of either kind load it.
///
/// ```text
/// oci-layout  index.json  manifest.json  blobs/sha256/{manifest, config, layers}
/// ```
///
/// Source: OCI image specification 1.1, image layout; Docker image specification 1.2, combined with it since Docker 25.
pub(crate) fn archive(installer: &Installer, name: &str) -> Result<ExtentMap, Error> {
    let (manifest, config) = (of(&installer.manifest), of(&installer.config));
    let path = |descriptor: &Descriptor| format!("blobs/sha256/{}", descriptor.digest.hex());
    let mut entry = descriptor(MANIFEST, &manifest);
    entry["platform"] = json!({"architecture": installer.arch.name(), "os": "linux"});
    let (_, tag) = name.rsplit_once(':').unwrap_or_default();
    entry["annotations"] =
        json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    let index = document(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}));
    let layers: Vec<String> = installer.layers.iter().map(|layer| path(&layer.descriptor)).collect();
    let docker = document(&json!([{"Config": path(&config), "RepoTags": [name], "Layers": layers}]));

    let mut tree = Tree::new();
    let mut put = |path: &str, content: ExtentMap| -> Result<(), Error> {
        // The base may have a layer twice.
        if tree.get(&TreePath::parse(path)?).is_none() {
            tree.file(path, content, 0o644)?;
        }
        Ok(())
    };
    put("oci-layout", ExtentMap::inline(&br#"{"imageLayoutVersion":"1.0.0"}"#[..]))?;
    put("index.json", ExtentMap::inline(index))?;
    put("manifest.json", ExtentMap::inline(docker))?;
    put(&path(&manifest), ExtentMap::inline(installer.manifest.clone()))?;
    put(&path(&config), ExtentMap::inline(installer.config.clone()))?;
    for layer in &installer.layers {
        put(&path(&layer.descriptor), layer.extents.clone())?;
    }
    Ok(tar::archive(&tree, EPOCH)?)
}

impl Installer {
    /// The digest of the manifest: the name of the image.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

fn of(document: &Bytes) -> Descriptor {
    Descriptor { digest: Digest::of(document), len: document.len() as u64 }
}

fn descriptor(media_type: &str, blob: &Descriptor) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.len})
}

/// JSON with sorted keys.
fn document(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a value can be written").into()
}
