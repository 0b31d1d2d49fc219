//! The catalogues: which extensions and which overlays a version offers.
//!
//! ```text
//! siderolabs/extensions      image-digests       <registry>/siderolabs/<name>:<tag>@sha256:<hex>, a line each
//!                            descriptions.yaml   that line → author, description
//! siderolabs/overlays        overlays.yaml       the list of boards, empty here
//! ```
//!
//! What a line says beside the digest is kept as annotations of the extension's index, so that a catalogue can be
//! made anew from the indexes alone: when another architecture is added, or an extension.
//!
//! Source: factory behaviour, §6; imager specification, §15.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use extent::{Digest, ExtentMap, Tree, read_all};
use oci_spec::image as oci;
use store::Store;

use crate::Error;
use crate::extension::{About, quoted};
use crate::oci::{self as images, Annotations};

/// The registry in the lines of `image-digests`, which have to name one and whose readers put their own in its
/// place. Nobody can own a name in `.invalid` (RFC 2606, §2).
const REGISTRY: &str = "debian.invalid";
/// The owner of all repositories: clients ask for extensions by it.
pub(crate) const OWNER: &str = "siderolabs";
/// The list of overlays where there are none.
const NO_OVERLAYS: &str = "overlays: []\n";
/// Longest catalogue that is read back.
const FILE_LEN_MAX: u64 = 4 << 20;

const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
const AUTHORS: &str = "org.opencontainers.image.authors";
const DESCRIPTION: &str = "org.opencontainers.image.description";

/// The extensions of one version: names, and the indexes of their images.
pub(crate) type Extensions = BTreeMap<String, Digest>;

/// What the index of an extension says of it.
pub(crate) fn annotations(about: &About) -> Annotations {
    Annotations::from([
        (TITLE, about.name.to_owned()),
        (VERSION, about.tag.clone()),
        (AUTHORS, about.author.clone()),
        (DESCRIPTION, about.description.clone()),
    ])
}

/// The tree of the catalogue of `extensions`. One whose index cannot be read is not offered.
pub(crate) fn extensions(store: &Store, extensions: &Extensions) -> Tree {
    let mut digests = String::new();
    let mut descriptions = String::new();
    for (name, digest) in extensions {
        let Some(index) = images::read_index(store, *digest) else {
            tracing::warn!(name, %digest, "extension cannot be read, leaving it out of the catalogue");
            continue;
        };
        let annotations = index.annotations().clone().unwrap_or_default();
        let text = |key| annotations.get(key).map_or("", String::as_str);
        let line = format!("{REGISTRY}/{OWNER}/{name}:{}@{digest}", text(VERSION));
        let _ = writeln!(digests, "{line}");
        let _ = writeln!(descriptions, "{line}:");
        let _ = writeln!(descriptions, "    author: {}", quoted(text(AUTHORS)));
        let _ = writeln!(descriptions, "    description: {}", quoted(text(DESCRIPTION)));
    }
    if descriptions.is_empty() {
        descriptions.push_str("{}\n");
    }
    tree(&[("descriptions.yaml", descriptions), ("image-digests", digests)])
}

/// The tree of the catalogue of overlays.
pub(crate) fn overlays() -> Tree {
    tree(&[("overlays.yaml", NO_OVERLAYS.to_owned())])
}

/// The extensions in the catalogue image that `descriptor` names; none where that cannot be read.
pub(crate) fn read(store: &Store, descriptor: &oci::Descriptor) -> Extensions {
    let read = || {
        let manifest = images::read_manifest(store, descriptor)?;
        let layer = images::digest(manifest.layers().first()?)?;
        let bytes = store.bytes(&layer, FILE_LEN_MAX).ok()?;
        let tree = formats::tar::read(&*bytes, layer).ok()?;
        let lines = read_all(tree.content("image-digests")?, store, FILE_LEN_MAX).ok()?;
        Some(parse(&String::from_utf8(lines).ok()?))
    };
    read().unwrap_or_else(|| {
        tracing::warn!(digest = %descriptor.digest(), "catalogue cannot be read, making a new one");
        Extensions::new()
    })
}

fn parse(lines: &str) -> Extensions {
    let entry = |line: &str| {
        let (reference, digest) = line.split_once('@')?;
        let name = reference.strip_prefix(&format!("{REGISTRY}/{OWNER}/"))?.split(':').next()?;
        Some((name.to_owned(), digest.parse().ok()?))
    };
    lines.lines().filter_map(entry).collect()
}

fn tree(files: &[(&str, String)]) -> Tree {
    let mut tree = Tree::new();
    for (path, text) in files {
        tree.file(path, ExtentMap::inline(text.clone().into_bytes()), 0o644).expect("a name is a valid path");
    }
    tree
}

/// Puts the index of `manifests`, and of what the index `before` has for other architectures.
///
/// # Errors
/// `Store`.
pub(crate) fn index(
    store: &Store,
    before: Option<&Digest>,
    manifests: Vec<oci::Descriptor>,
    annotations: &Annotations,
) -> Result<oci::Descriptor, Error> {
    let mut all: BTreeMap<_, oci::Descriptor> = BTreeMap::new();
    let before = before.and_then(|digest| images::read_index(store, *digest));
    let kept = before.map(|index| index.manifests().clone()).unwrap_or_default();
    for manifest in kept.into_iter().chain(manifests) {
        // What was kept may be gone from the store by now.
        let is_there =
            images::digest(&manifest).is_some_and(|digest| matches!(store.stat(&digest), Ok(Some(_))));
        if let Some(arch) = images::arch(&manifest).filter(|_| is_there) {
            all.insert(arch, manifest);
        }
    }
    images::index(store, all.into_values().collect(), annotations)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Arch;
    use crate::progress::Step;

    fn about(version: &str) -> About {
        About {
            name: "iscsi-tools",
            version: version.to_owned(),
            tag: format!("{version}-v13.2.0"),
            author: "Team: \"iSCSI\"".to_owned(),
            description: "initiator\ntools".to_owned(),
        }
    }

    fn manifest(store: &Store, arch: Arch, content: &str) -> oci::Descriptor {
        let layer = store.put_bytes(content.as_bytes()).unwrap();
        let layers = [(layer, Annotations::new())];
        images::image(store, arch, &layers, None, &Annotations::new()).unwrap()
    }

    #[test]
    fn a_catalogue_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let amd64 = manifest(&store, Arch::Amd64, "a");
        let index = index(&store, None, vec![amd64], &annotations(&about("2.1"))).unwrap();
        let digest = images::digest(&index).unwrap();
        let offered = Extensions::from([
            ("iscsi-tools".to_owned(), digest),
            ("lost".to_owned(), Digest::of(b"not there")),
        ]);
        let tree = extensions(&store, &offered);
        let text = |path| {
            let bytes = read_all(tree.content(path).unwrap(), &HashMap::new(), 9999).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let line = format!("debian.invalid/siderolabs/iscsi-tools:2.1-v13.2.0@{digest}");
        assert_eq!(text("image-digests"), format!("{line}\n"));
        assert_eq!(
            text("descriptions.yaml"),
            format!("{line}:\n    author: \"Team: \\\"iSCSI\\\"\"\n    description: \"initiator\\ntools\"\n")
        );

        let step = Step::begin(&|_| {}, "layer", 0);
        let layer = images::layer(&store, &tree, &HashMap::new(), &step).unwrap();
        let layers = [(layer, Annotations::new())];
        let image = images::image(&store, Arch::Amd64, &layers, None, &Annotations::new()).unwrap();
        assert_eq!(read(&store, &image), Extensions::from([("iscsi-tools".to_owned(), digest)]));
        assert_eq!(read(&store, &index), Extensions::new());
    }

    #[test]
    fn an_index_keeps_the_other_architecture_and_replaces_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let [old, new] = ["old", "new"].map(|text| manifest(&store, Arch::Amd64, text));
        let arm64 = manifest(&store, Arch::Arm64, "arm");
        let annotations = annotations(&about("1"));
        let first = index(&store, None, vec![old.clone(), arm64.clone()], &annotations).unwrap();
        let second = index(&store, images::digest(&first).as_ref(), vec![new.clone()], &annotations).unwrap();
        let read = images::read_index(&store, images::digest(&second).unwrap()).unwrap();
        let digests: Vec<_> = read.manifests().iter().map(images::digest).collect();
        assert_eq!(digests, [images::digest(&new), images::digest(&arm64)]);
        let again = index(&store, None, vec![arm64, new], &annotations).unwrap();
        assert_eq!(again.digest(), second.digest());
    }
}
