//! Real sets, checked against the layout that the factory consumes, and booted.
//!
//! Trixie is seeded from the mirror of this machine, or is in the store that `IMAGER_TEST_STORE` names, with whatever
//! other sets there are.

// Clippy knows test functions, but not that all of this is one.
#![allow(clippy::unwrap_used)]

mod boot;
mod full_disk;
mod images;
mod runs;

use std::path::PathBuf;
use std::sync::OnceLock;

use extent::{Digest, Tree};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use seed::Suite;
use store::Store;

/// A store with sets.
struct Seeded {
    store: Store,
    dir: PathBuf,
}

/// One architecture of one version.
struct Set<'a> {
    seeded: &'a Seeded,
    version: String,
    arch: String,
}

/// The sets. None, said aloud, where the machine cannot seed.
fn seeded() -> Option<&'static Seeded> {
    static SEEDED: OnceLock<Option<Seeded>> = OnceLock::new();
    let open = || {
        let dir = ci::seeded(Suite::Trixie)?.dir;
        Some(Seeded { store: Store::open(&dir).unwrap(), dir })
    };
    SEEDED.get_or_init(open).as_ref()
}

/// All sets of the store; none, said aloud, where the machine cannot seed.
fn sets() -> Vec<Set<'static>> {
    let Some(seeded) = seeded() else { return Vec::new() };
    let mut sets = Vec::new();
    for version in seeded.store.tags("siderolabs/imager").unwrap() {
        for layer in seeded.manifest(&seeded.digest("siderolabs/imager", &version)).layers() {
            sets.push(Set { seeded, version: version.clone(), arch: arch_of(layer) });
        }
    }
    assert!(!sets.is_empty());
    sets
}

/// The architecture of a layer of an `imager` image.
fn arch_of(layer: &Descriptor) -> String {
    layer.annotations().as_ref().unwrap()["dev.imager.arch"].clone()
}

impl Seeded {
    fn digest(&self, repository: &str, tag: &str) -> String {
        let descriptor = self.store.resolve_tag(repository, tag).unwrap();
        descriptor.unwrap_or_else(|| panic!("no {repository}:{tag}")).digest().to_string()
    }

    fn read<T: serde::de::DeserializeOwned>(&self, digest: &str) -> T {
        serde_json::from_slice(&self.store.bytes(&digest.parse().unwrap(), 4 << 20).unwrap()).unwrap()
    }

    fn index(&self, digest: &str) -> ImageIndex {
        self.read(digest)
    }

    fn manifest(&self, digest: &str) -> ImageManifest {
        self.read(digest)
    }

    /// The tree of the only layer of a manifest.
    fn tree(&self, manifest: &ImageManifest) -> Tree {
        let [layer] = &manifest.layers()[..] else { panic!("one layer") };
        self.layer(layer)
    }

    fn layer(&self, layer: &Descriptor) -> Tree {
        let digest: Digest = layer.digest().as_ref().parse().unwrap();
        let file = std::fs::File::open(self.dir.join("blobs/sha256").join(digest.hex())).unwrap();
        formats::tar::read(std::io::BufReader::new(file), digest).unwrap()
    }

    fn bytes(&self, tree: &Tree, path: &str) -> Vec<u8> {
        let content = tree.content(path).unwrap_or_else(|| panic!("no {path}"));
        extent::read_all(content, &self.store, 1 << 30).unwrap()
    }
}

impl Set<'_> {
    /// The tree of the boot files.
    fn boot_files(&self) -> Tree {
        let manifest = self.seeded.manifest(&self.seeded.digest("siderolabs/imager", &self.version));
        self.seeded.layer(manifest.layers().iter().find(|layer| arch_of(layer) == self.arch).unwrap())
    }

    /// One of the boot files.
    fn boot_file(&self, name: &str) -> Vec<u8> {
        self.seeded.bytes(&self.boot_files(), &format!("usr/install/{}/{name}", self.arch))
    }

    /// The text of a file of a catalogue.
    fn catalogue(&self, repository: &str, path: &str) -> String {
        let manifest = self.seeded.manifest(&self.seeded.digest(repository, &self.version));
        String::from_utf8(self.seeded.bytes(&self.seeded.tree(&manifest), path)).unwrap()
    }
}
