//! OCI images as the seed writes them: uncompressed layers, one time, sorted keys.
//!
//! The same layers make the same image, down to its digest: documents are written by way of a value whose maps
//! are sorted, and `created` is the epoch.
//!
//! Source: OCI image specification 1.1.

use std::collections::{BTreeMap, HashMap};

use extent::{Blobs, Digest, Tree};
use oci_spec::image::{
    self as oci, ConfigBuilder, ImageConfigurationBuilder, ImageIndex, ImageIndexBuilder, ImageManifest,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Descriptor, Store};

use crate::progress::Step;
use crate::scratch::reader;
use crate::{Arch, EPOCH, Error};

/// [`EPOCH`], as documents write it.
const CREATED: &str = "2019-06-01T21:34:52Z";
/// Longest document that is read back: what registries must at least take.
///
/// Source: OCI distribution specification 1.1, pushing manifests.
const DOCUMENT_LEN_MAX: u64 = 4 << 20;

/// Texts beside a descriptor or a manifest.
pub(crate) type Annotations = BTreeMap<&'static str, String>;

/// Puts the layer of `tree` into the store.
///
/// # Errors
/// `Tar` for a tree that no layer can hold; `Store`.
pub(crate) fn layer(
    store: &Store,
    tree: &Tree,
    blobs: &dyn Blobs,
    step: &Step<'_>,
) -> Result<Descriptor, Error> {
    let archive = formats::tar::archive(tree, EPOCH).map_err(Error::Layer)?;
    let watched = crate::progress::Watched::new(blobs, step);
    Ok(store.put(reader(&archive, &watched))?)
}

/// Puts the image of `layers`, which runs `entrypoint`, into the store; gives the descriptor of its manifest, platform and all.
///
/// # Errors
/// `Store`.
pub(crate) fn image(
    store: &Store,
    arch: Arch,
    layers: &[(Descriptor, Annotations)],
    entrypoint: Option<&str>,
    annotations: &Annotations,
) -> Result<oci::Descriptor, Error> {
    let mut config = ConfigBuilder::default();
    if let Some(entrypoint) = entrypoint {
        config =
            config.entrypoint(vec![entrypoint.to_owned()]).env(vec!["PATH=/usr/sbin:/usr/bin".to_owned()]);
    }
    let rootfs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(layers.iter().map(|(layer, _)| layer.digest.to_string()).collect::<Vec<_>>());
    let config = ImageConfigurationBuilder::default()
        .created(CREATED)
        .os(Os::Linux)
        .architecture(architecture(arch))
        .config(config.build().expect("all of it is optional"))
        .rootfs(rootfs.build().expect("both fields are given"));
    let config = put(store, &config.build().expect("all that is required is given"))?;
    let layers = layers.iter().map(|(layer, annotations)| {
        let mut descriptor = layer.oci(MediaType::ImageLayer);
        descriptor.set_annotations(written(annotations));
        descriptor
    });
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config.oci(MediaType::ImageConfig))
        .layers(layers.collect::<Vec<_>>())
        .build()
        .expect("all that is required is given");
    manifest.set_annotations(written(annotations));
    let mut descriptor = put(store, &manifest)?.oci(MediaType::ImageManifest);
    let platform = PlatformBuilder::default().os(Os::Linux).architecture(architecture(arch));
    descriptor.set_platform(Some(platform.build().expect("both fields are given")));
    Ok(descriptor)
}

/// Puts the index of `manifests` into the store.
///
/// # Errors
/// `Store`.
pub(crate) fn index(
    store: &Store,
    manifests: Vec<oci::Descriptor>,
    annotations: &Annotations,
) -> Result<oci::Descriptor, Error> {
    let mut index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .expect("all that is required is given");
    index.set_annotations(written(annotations));
    Ok(put(store, &index)?.oci(MediaType::ImageIndex))
}

/// The manifest that `descriptor` names, if it can be read.
pub(crate) fn read_manifest(store: &Store, descriptor: &oci::Descriptor) -> Option<ImageManifest> {
    read(store, digest(descriptor)?)
}

/// The index `digest`, if it can be read.
pub(crate) fn read_index(store: &Store, digest: Digest) -> Option<ImageIndex> {
    read(store, digest)
}

/// The digest that `descriptor` names.
pub(crate) fn digest(descriptor: &oci::Descriptor) -> Option<Digest> {
    descriptor.digest().to_string().parse().ok()
}

/// The architecture of an entry of an index.
pub(crate) fn arch(descriptor: &oci::Descriptor) -> Option<Arch> {
    descriptor.platform().as_ref()?.architecture().to_string().parse().ok()
}

fn architecture(arch: Arch) -> oci::Arch {
    match arch {
        Arch::Amd64 => oci::Arch::Amd64,
        Arch::Arm64 => oci::Arch::ARM64,
    }
}

fn written(annotations: &Annotations) -> Option<HashMap<String, String>> {
    let owned = annotations.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    (!annotations.is_empty()).then(|| owned.collect())
}

fn put(store: &Store, document: &impl Serialize) -> Result<Descriptor, Error> {
    let value = serde_json::to_value(document).expect("documents have string keys");
    Ok(store.put_bytes(&serde_json::to_vec(&value).expect("a value can be written"))?)
}

fn read<T: DeserializeOwned>(store: &Store, digest: Digest) -> Option<T> {
    serde_json::from_slice(&store.bytes(&digest, DOCUMENT_LEN_MAX).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_layers_make_the_same_image() {
        let digests = [(); 2].map(|()| {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let mut tree = Tree::new();
            tree.file("a", vec![1], 0o644).unwrap();
            let step = Step::begin(&|_| {}, "layer", 1);
            let layer = layer(&store, &tree, &HashMap::new(), &step).unwrap();
            let annotations =
                Annotations::from([("a", "1".to_owned()), ("b", "2".to_owned()), ("c", "3".to_owned())]);
            let image =
                image(&store, Arch::Arm64, &[(layer, annotations.clone())], Some("/bin/x"), &annotations)
                    .unwrap();
            let index = index(&store, vec![image], &annotations).unwrap();
            let read = read_index(&store, digest(&index).unwrap()).unwrap();
            assert_eq!(arch(&read.manifests()[0]), Some(Arch::Arm64));
            let manifest = read_manifest(&store, &read.manifests()[0]).unwrap();
            assert_eq!(*manifest.layers()[0].media_type(), MediaType::ImageLayer);
            assert_eq!(digest(&manifest.layers()[0]), Some(layer.digest));
            digest(&index).unwrap()
        });
        assert_eq!(digests[0], digests[1]);
    }
}
