//! Boot files: kernel, initramfs and loaders out of the `imager` image of a version.
//!
//! Source: the layout of `siderolabs/imager` as published: `usr/install/<arch>/…`, both architectures in one image.

use extent::{Digest, Tree, TreePath};
use formats::{linux, zstd};
use serde::{Deserialize, Serialize};
use store::{Descriptor, Store};

use super::image::Image;
use super::layers::Bytes;
use crate::lock::BootFiles;
use crate::{Arch, Error};

/// The longest kernel in bytes that is looked into: ten times the largest of a distribution.
const KERNEL_LEN_MAX: u64 = 512 << 20;
/// The longest stub in bytes: ten times the largest of systemd.
const STUB_LEN_MAX: u64 = 4 << 20;

/// The boot files of `image` for `arch`, each a blob of its own from now on.
pub(super) fn boot_files(store: &Store, image: &Image, arch: Arch) -> Result<BootFiles, Error> {
    let files: Files = store.derive(&format!("boot-files-{arch}"), 2, &[image.manifest], || {
        let tree = image.tree(store)?;
        // One image for all architectures may be made of some.
        let dir = TreePath::parse(&format!("usr/install/{arch}"))?;
        if tree.get(&dir).is_none() {
            return Err(Error::NoPlatform { image: image.name.clone(), arch });
        }
        let path = |name: &str| format!("usr/install/{arch}/{name}");
        let required = |name| take(store, image, &tree, &path(name));
        let optional = |name| match take(store, image, &tree, &path(name)) {
            Err(Error::MissingFile { .. }) => Ok(None),
            taken => taken.map(Some),
        };
        Ok::<_, Error>(Files {
            kernel: required("vmlinuz")?,
            initramfs: required("initramfs.xz")?,
            systemd_stub: optional("systemd-stub.efi")?,
            systemd_boot: optional("systemd-boot.efi")?,
        })
    })?;
    Ok(BootFiles {
        image: image.manifest,
        kernel: files.kernel,
        kernel_form: None,
        kernel_release: release(store, &files.kernel)?,
        initramfs: files.initramfs,
        systemd_stub: files.systemd_stub,
        systemd_boot: files.systemd_boot,
    })
}

#[derive(Serialize, Deserialize)]
struct Files {
    kernel: Descriptor,
    initramfs: Descriptor,
    systemd_stub: Option<Descriptor>,
    systemd_boot: Option<Descriptor>,
}

fn take(store: &Store, image: &Image, tree: &Tree, path: &str) -> Result<Descriptor, Error> {
    let content = image.file(tree, path)?;
    Ok(store.put(Bytes::new(content.clone(), store))?)
}

/// What the kernel says it is. A kernel that does not say boots as well; its UKI then has no `.uname`.
fn release(store: &Store, kernel: &Descriptor) -> Result<Option<String>, Error> {
    store.derive("kernel-release", 1, &[kernel.digest], || {
        linux::release(&store.bytes(&kernel.digest, KERNEL_LEN_MAX)?).or_else(|error| {
            tracing::warn!(%error, kernel = %kernel.digest, "the release of the kernel cannot be told");
            Ok(None)
        })
    })
}

/// The compressed form of the blob `content`, unless compressing it gains less than a thirty-second.
pub(super) fn form(store: &Store, content: &Descriptor) -> Result<Option<zstd::Form>, Error> {
    store.derive("zstd-form", 1, &[content.digest], || {
        let bytes = store.bytes(&content.digest, KERNEL_LEN_MAX)?;
        let compressed = zstd::compress_blob(&bytes);
        if compressed.len() >= bytes.len() - bytes.len() / 32 {
            return Ok(None);
        }
        let form = zstd::form(&compressed, Digest::of(&compressed))?;
        store.put_bytes(&compressed)?;
        Ok::<_, Error>(Some(form))
    })
}

/// The stub itself, which a planner must look into.
pub(super) fn stub(store: &Store, stub: &Descriptor) -> Result<bytes::Bytes, Error> {
    Ok(store.bytes(&stub.digest, STUB_LEN_MAX)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_shrinks_has_a_form() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let text = store.put_bytes(&b"kernel ".repeat(100_000)).unwrap();
        let form = form(&store, &text).unwrap().unwrap();
        let compressed = store.bytes(&form.digest, 1 << 20).unwrap();
        assert_eq!(form.content_len, text.len);
        assert!((compressed.len() as u64) < text.len / 10);
        let noise: Vec<u8> = (0..1000_u32).flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes()).collect();
        let noise = store.put_bytes(&noise).unwrap();
        assert_eq!(super::form(&store, &noise).unwrap(), None);
    }

    #[test]
    fn a_kernel_that_is_none_has_no_release() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let kernel = store.put_bytes(b"no kernel").unwrap();
        assert_eq!(release(&store, &kernel).unwrap(), None);
        let map = extent::ExtentMap::blob(kernel.digest, 0, kernel.len);
        assert_eq!(extent::read_all(&map, &store, 99).unwrap(), b"no kernel");
    }
}
