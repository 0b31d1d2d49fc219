//! Publishing: from layers to images and tags.
//!
//! Everything is in the store before the first tag is given. Tags come in the order in which images refer to each
//! other, that of `imager` last: its tags are the versions that there are.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image as spec;
use store::Store;

use crate::catalogue::{self, Extensions, OWNER};
use crate::oci::{self, Annotations};
use crate::part::{Layer, Part};
use crate::progress::Step;
use crate::{Arch, Error, Set, Suite, extension, installer};

/// Tells the architecture of a layer of the `imager` image, which has one for each.
const ARCH: &str = "dev.imager.arch";
/// Tells which packages are in a layer or an image.
const PACKAGES: &str = "dev.imager.packages";

/// Images that have no tag yet: repository, tag, descriptor.
type Untagged = Vec<(String, String, spec::Descriptor)>;

/// Makes the images of `parts`, with what earlier runs have made for other architectures, and tags them.
///
/// # Errors
/// `Store`, `Layer`.
pub(crate) fn publish(store: &Store, suite: Suite, version: &str, parts: &[Part]) -> Result<Set, Error> {
    let mut untagged = Untagged::new();
    let extensions = extensions(store, version, parts, &mut untagged)?;
    for (name, tree) in
        [("extensions", catalogue::extensions(store, &extensions)), ("overlays", catalogue::overlays())]
    {
        let silent = Step::begin(&|_| {}, name, 0);
        let layers = [(oci::layer(store, &tree, &HashMap::new(), &silent)?, Annotations::new())];
        let image = oci::image(store, Arch::Amd64, &layers, None, &Annotations::new())?;
        untagged.push((repository(name), version.to_owned(), image));
    }
    untagged.push((repository("installer-base"), version.to_owned(), installer_base(store, version, parts)?));
    let (archs, imager) = imager(store, version, parts)?;
    untagged.push((repository("imager"), version.to_owned(), imager));
    for (repository, tag, mut descriptor) in untagged {
        // What a tag names has its platforms inside.
        descriptor.set_platform(None);
        store.tag(&repository, &tag, &descriptor)?;
    }
    let extensions = extensions.into_keys().map(|name| repository(&name)).collect();
    Ok(Set { suite, version: version.to_owned(), archs, extensions })
}

/// The extensions of the version: those of earlier runs, with those of `parts` in their place or among them.
fn extensions(
    store: &Store,
    version: &str,
    parts: &[Part],
    untagged: &mut Untagged,
) -> Result<Extensions, Error> {
    let mut extensions = match store.resolve_tag(&repository("extensions"), version)? {
        Some(descriptor) => catalogue::read(store, &descriptor),
        None => Extensions::new(),
    };
    let mut made: BTreeMap<&str, (&extension::About, Vec<spec::Descriptor>)> = BTreeMap::new();
    for part in parts {
        for (about, layer) in &part.extensions {
            let manifest = image(store, part.arch, layer, None)?;
            made.entry(about.name).or_insert((about, Vec::new())).1.push(manifest);
        }
    }
    for (name, (about, manifests)) in made {
        let annotations = catalogue::annotations(about);
        let index = catalogue::index(store, extensions.get(name), manifests, &annotations)?;
        extensions.extend(oci::digest(&index).map(|digest| (name.to_owned(), digest)));
        untagged.push((repository(name), about.tag.clone(), index));
    }
    Ok(extensions)
}

fn installer_base(store: &Store, version: &str, parts: &[Part]) -> Result<spec::Descriptor, Error> {
    let mut manifests = Vec::new();
    for part in parts {
        manifests.push(image(store, part.arch, &part.installer, Some(installer::ENTRYPOINT))?);
    }
    let before = store.resolve_tag(&repository("installer-base"), version)?;
    let before = before.and_then(|descriptor| oci::digest(&descriptor));
    catalogue::index(store, before.as_ref(), manifests, &Annotations::new())
}

/// The `imager` image, a layer for each architecture, and those architectures.
fn imager(store: &Store, version: &str, parts: &[Part]) -> Result<(Vec<Arch>, spec::Descriptor), Error> {
    let mut layers = BTreeMap::new();
    let before = store.resolve_tag(&repository("imager"), version)?;
    if let Some(manifest) = before.and_then(|descriptor| oci::read_manifest(store, &descriptor)) {
        for layer in manifest.layers() {
            let annotations = layer.annotations().clone().unwrap_or_default();
            let text = |key| annotations.get(key).cloned().unwrap_or_default();
            let (Ok(arch), Some(digest)) = (text(ARCH).parse::<Arch>(), oci::digest(layer)) else { continue };
            if let Some(len) = store.stat(&digest)? {
                layers.insert(
                    arch,
                    (store::Descriptor { digest, len }, boot_annotations(arch, text(PACKAGES))),
                );
            }
        }
    }
    for Part { arch, boot, .. } in parts {
        layers.insert(*arch, (boot.blob, boot_annotations(*arch, boot.packages.clone())));
    }
    let archs = layers.keys().copied().collect();
    let layers: Vec<_> = layers.into_values().collect();
    // One image for all: it is a box of files, published for amd64.
    Ok((archs, oci::image(store, Arch::Amd64, &layers, None, &Annotations::new())?))
}

fn boot_annotations(arch: Arch, packages: String) -> Annotations {
    Annotations::from([(ARCH, arch.to_string()), (PACKAGES, packages)])
}

/// The image of one layer.
fn image(
    store: &Store,
    arch: Arch,
    layer: &Layer,
    entrypoint: Option<&str>,
) -> Result<spec::Descriptor, Error> {
    let annotations = Annotations::from([(PACKAGES, layer.packages.clone())]);
    oci::image(store, arch, &[(layer.blob, Annotations::new())], entrypoint, &annotations)
}

fn repository(name: &str) -> String {
    format!("{OWNER}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::About;

    fn layer(store: &Store, text: &str) -> Layer {
        Layer { blob: store.put_bytes(text.as_bytes()).unwrap(), packages: format!("{text}=1") }
    }

    fn part(store: &Store, arch: Arch, names: &[&'static str]) -> Part {
        let about = |name: &'static str| About {
            name,
            version: "1".to_owned(),
            tag: "1-v13.2.0".to_owned(),
            author: "a".to_owned(),
            description: "d".to_owned(),
        };
        let extensions =
            names.iter().map(|&name| (about(name), layer(store, &format!("{name}-{arch}")))).collect();
        let [boot, installer] = ["boot", "installer"].map(|name| layer(store, &format!("{name}-{arch}")));
        Part { arch, boot, installer, extensions }
    }

    #[test]
    fn a_second_architecture_joins_and_the_first_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let amd64 = part(&store, Arch::Amd64, &["intel-ucode", "iscsi-tools"]);
        let arm64 = part(&store, Arch::Arm64, &["iscsi-tools"]);
        let publish = |parts: &[Part]| publish(&store, Suite::Trixie, "v13.2.0", parts).unwrap();
        let first = publish(std::slice::from_ref(&amd64));
        assert_eq!(first.archs, [Arch::Amd64]);
        let second = publish(std::slice::from_ref(&arm64));
        assert_eq!(second.archs, Arch::ALL);
        assert_eq!(second.extensions, ["siderolabs/intel-ucode", "siderolabs/iscsi-tools"]);

        let resolve = |name: &str, tag: &str| store.resolve_tag(&repository(name), tag).unwrap().unwrap();
        let archs = |name: &str, tag: &str| {
            let index = oci::read_index(&store, oci::digest(&resolve(name, tag)).unwrap()).unwrap();
            index.manifests().iter().filter_map(oci::arch).collect::<Vec<_>>()
        };
        assert_eq!(archs("iscsi-tools", "1-v13.2.0"), Arch::ALL);
        assert_eq!(archs("intel-ucode", "1-v13.2.0"), [Arch::Amd64]);
        assert_eq!(archs("installer-base", "v13.2.0"), Arch::ALL);
        let imager = oci::read_manifest(&store, &resolve("imager", "v13.2.0")).unwrap();
        let layers: Vec<_> = imager.layers().iter().filter_map(oci::digest).collect();
        assert_eq!(layers, [amd64.boot.blob.digest, arm64.boot.blob.digest]);

        // Both at once, in another store, are the same images.
        let other_dir = tempfile::tempdir().unwrap();
        let other = Store::open(other_dir.path()).unwrap();
        let parts = [
            part(&other, Arch::Amd64, &["intel-ucode", "iscsi-tools"]),
            part(&other, Arch::Arm64, &["iscsi-tools"]),
        ];
        super::publish(&other, Suite::Trixie, "v13.2.0", &parts).unwrap();
        for name in ["imager", "extensions", "overlays", "installer-base"] {
            let theirs = other.resolve_tag(&repository(name), "v13.2.0").unwrap();
            assert_eq!(theirs, Some(resolve(name, "v13.2.0")), "{name}");
        }
    }

    #[test]
    fn two_suites_do_not_take_each_others_tags() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let part = part(&store, Arch::Amd64, &["iscsi-tools"]);
        publish(&store, Suite::Bookworm, "v12.5.0", std::slice::from_ref(&part)).unwrap();
        publish(&store, Suite::Trixie, "v13.2.0", std::slice::from_ref(&part)).unwrap();
        assert_eq!(store.tags("siderolabs/imager").unwrap(), ["v12.5.0", "v13.2.0"]);
        assert_eq!(store.tags("siderolabs/extensions").unwrap(), ["v12.5.0", "v13.2.0"]);
    }
}
