//! A real set: trixie for amd64, from the mirror of this machine, checked against the layout that the factory
//! consumes, and booted.
//!
//! `IMAGER_TEST_STORE` names a store to seed once and to use again.

// Clippy knows test functions, but not that all of this is one.
#![allow(clippy::unwrap_used)]

mod boot;
mod full_disk;
mod images;
mod runs;

use std::path::PathBuf;
use std::sync::OnceLock;

use extent::{Digest, Tree};
use oci_spec::image::{ImageIndex, ImageManifest};
use seed::{Arch, Error, Options, Progress, Suite};
use store::Store;

/// The store with the set, and the set's version.
struct Seeded {
    store: Store,
    dir: PathBuf,
    version: String,
}

fn options() -> Options {
    let mut options = Options::default();
    options.suites = vec![Suite::Trixie];
    options.archs = vec![Arch::Amd64];
    options
}

/// The set, seeded by whichever test asks first. None, said aloud, where the machine cannot seed.
fn seeded() -> Option<&'static Seeded> {
    static SEEDED: OnceLock<Option<Seeded>> = OnceLock::new();
    SEEDED.get_or_init(seed_or_reuse).as_ref()
}

fn seed_or_reuse() -> Option<Seeded> {
    ci::tool("apt-get")?;
    ci::tool("depmod")?;
    let given = std::env::var_os("IMAGER_TEST_STORE").map(PathBuf::from);
    // Kept between runs: what does not change is not made again. `runs` makes a set from nothing.
    let dir =
        given.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("trixie-amd64"));
    let store = Store::open(&dir).unwrap();
    let tags = store.tags("siderolabs/imager").unwrap();
    if given.is_some()
        && let Some(version) = tags.into_iter().rfind(|tag| tag.starts_with("v13."))
    {
        return Some(Seeded { store, dir, version });
    }
    match seed::debian(&store, &options(), &tell) {
        Ok(sets) => Some(Seeded { store, dir, version: sets[0].version.clone() }),
        Err(error @ (Error::Lists { .. } | Error::KeyringMissing { .. } | Error::KeyMissing { .. })) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            eprintln!("SKIPPED: this machine cannot seed: {error}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn tell(progress: &Progress) {
    if progress.done == 0 {
        eprintln!("{}", progress.what);
    }
}

impl Seeded {
    fn digest(&self, repository: &str, tag: &str) -> Digest {
        let descriptor = self.store.resolve_tag(repository, tag).unwrap();
        descriptor.unwrap_or_else(|| panic!("no {repository}:{tag}")).digest().to_string().parse().unwrap()
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
        self.layer(layer.digest().as_ref())
    }

    fn layer(&self, digest: &str) -> Tree {
        let digest: Digest = digest.parse().unwrap();
        let file = std::fs::File::open(self.dir.join("blobs/sha256").join(digest.hex())).unwrap();
        formats::tar::read(std::io::BufReader::new(file), digest).unwrap()
    }

    /// The boot files of amd64.
    fn boot_files(&self) -> Tree {
        let manifest = self.manifest(&self.digest("siderolabs/imager", &self.version).to_string());
        let is_amd64 = |layer: &&oci_spec::image::Descriptor| {
            let annotations = layer.annotations().as_ref().unwrap();
            annotations["dev.imager.arch"] == "amd64"
        };
        self.layer(manifest.layers().iter().find(is_amd64).unwrap().digest().as_ref())
    }

    fn bytes(&self, tree: &Tree, path: &str) -> Vec<u8> {
        let content = tree.content(path).unwrap_or_else(|| panic!("no {path}"));
        extent::read_all(content, &self.store, 1 << 30).unwrap()
    }

    /// The text of a file of a catalogue.
    fn catalogue(&self, repository: &str, path: &str) -> String {
        let manifest = self.manifest(&self.digest(repository, &self.version).to_string());
        String::from_utf8(self.bytes(&self.tree(&manifest), path)).unwrap()
    }
}
