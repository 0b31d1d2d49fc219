//! Stores with small made source images in the reference's layout.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "only tests are built on this")]

use extent::{Digest, Tree};
use formats::tar;
use imager::{Arch, Factory};
use oci_spec::image::{self as oci, MediaType};
use serde_json::json;
use store::{Descriptor, Store};

/// A directory that goes when the test ends, a store in it and a factory over that.
pub struct Made {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub factory: Factory,
}

pub fn made() -> Made {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let factory = Factory::open(store.clone());
    Made { dir, store, factory }
}

/// A tree of files.
pub fn tree(files: &[(&str, &[u8])]) -> Tree {
    let mut tree = Tree::new();
    for (path, content) in files {
        tree.file(path, content.to_vec(), 0o644).unwrap();
    }
    tree
}

/// Bytes that do not compress, the same each time.
pub fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend(Digest::of(format!("{seed} {n}").as_bytes()).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Made {
    /// The manifest of an image for `arch` with the layers `layers`.
    pub fn manifest(&self, arch: Arch, layers: &[Tree]) -> Descriptor {
        let config = json!({
            "architecture": arch.name(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        });
        let config = self.document(&config);
        let layers: Vec<_> = layers
            .iter()
            .map(|tree| {
                let mut bytes = Vec::new();
                self.store.write_to(&tar::archive(tree, 0).unwrap(), &mut bytes).unwrap();
                descriptor(&self.store.put_bytes(&bytes).unwrap(), "application/vnd.oci.image.layer.v1.tar")
            })
            .collect();
        self.document(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        }))
    }

    /// An index of manifests.
    pub fn index(&self, manifests: &[(Arch, Descriptor)]) -> Descriptor {
        let entries: Vec<_> = manifests
            .iter()
            .map(|(arch, manifest)| {
                let mut entry = descriptor(manifest, "application/vnd.oci.image.manifest.v1+json");
                entry["platform"] = json!({"os": "linux", "architecture": arch.name()});
                entry
            })
            .collect();
        self.document(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
        }))
    }

    pub fn tag(&self, repository: &str, tag: &str, descriptor: &Descriptor) {
        let media_type = MediaType::from("application/vnd.oci.image.manifest.v1+json");
        self.store.tag(repository, tag, &descriptor.oci(media_type)).unwrap();
    }

    /// The `imager` image of `version`, with `files` below `usr/install/`.
    pub fn imager(&self, version: &str, files: &[(&str, &[u8])]) -> Descriptor {
        let paths: Vec<String> = files.iter().map(|(path, _)| format!("usr/install/{path}")).collect();
        let files: Vec<(&str, &[u8])> =
            paths.iter().map(String::as_str).zip(files.iter().map(|(_, content)| *content)).collect();
        let manifest = self.manifest(Arch::Amd64, &[tree(&files)]);
        self.tag("siderolabs/imager", version, &manifest);
        manifest
    }

    /// The catalogue of `version`.
    pub fn catalogue(&self, version: &str, extensions: &[(&str, Descriptor)]) {
        let mut digests = String::new();
        let mut descriptions = String::new();
        for (name, image) in extensions {
            let line = format!("ghcr.io/siderolabs/{name}:1.0@{}", image.digest);
            let description = format!("{line}:\n  author: Nobody\n  description: About {name}\n");
            descriptions += &description;
            digests += &line;
            digests.push('\n');
        }
        if descriptions.is_empty() {
            descriptions.push_str("{}\n");
        }
        let files = [("image-digests", digests.as_bytes()), ("descriptions.yaml", descriptions.as_bytes())];
        let manifest = self.manifest(Arch::Amd64, &[tree(&files)]);
        self.tag("siderolabs/extensions", version, &manifest);
    }

    fn document(&self, value: &serde_json::Value) -> Descriptor {
        self.store.put_bytes(&serde_json::to_vec(value).unwrap()).unwrap()
    }

    /// The path of a blob, for tests that break it.
    pub fn blob_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.dir.path().join("blobs/sha256").join(digest.hex())
    }
}

fn descriptor(descriptor: &Descriptor, media_type: &str) -> serde_json::Value {
    let oci: oci::Descriptor = descriptor.oci(MediaType::from(media_type));
    serde_json::to_value(oci).unwrap()
}
