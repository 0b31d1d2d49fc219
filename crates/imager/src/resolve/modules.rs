//! The index of kernel modules over a base and the extensions that add to them.

use ::extensions::{Extension, Parts, layer_order, modules_dep};
use extent::{Digest, ExtentMap};
use serde::{Deserialize, Serialize};
use store::{Descriptor, Store};

use super::extension::{damaged, paths, squashed};
use super::image::Image;
use crate::lock::{LockedExtension, LockedModules};
use crate::{Arch, Error, Quirks};

/// The modules of `initramfs` and of `extensions` together; none when no extension has any.
pub(super) fn modules(
    store: &Store,
    initramfs: &Descriptor,
    extensions: &[LockedExtension],
    arch: Arch,
    quirks: Quirks,
) -> Result<Option<LockedModules>, Error> {
    // Upper layers win, so their order is part of the question; of one that is there twice the lower says nothing.
    let mut with_modules: Vec<&LockedExtension> = Vec::new();
    for index in layer_order(extensions.len()).into_iter().rev() {
        let extension = &extensions[index];
        if extension.has_modules && with_modules.iter().all(|upper| upper.image != extension.image) {
            with_modules.push(extension);
        }
    }
    with_modules.reverse();
    if with_modules.is_empty() {
        return Ok(None);
    }
    let mut inputs: Vec<Digest> = vec![initramfs.digest];
    inputs.extend(with_modules.iter().map(|extension| extension.image));
    let layout = if quirks.is_merged_usr() { "merged" } else { "split" };
    let codec = if quirks.reads_zstd() { "zstd" } else { "xz" };
    let index: Index = store.derive(&format!("modules-{layout}-{codec}"), 2, &inputs, || {
        let mut parts = Vec::new();
        for extension in &with_modules {
            parts.push(split(store, extension, arch, quirks)?);
        }
        let base = ExtentMap::blob(initramfs.digest, 0, initramfs.len);
        let scratch = store.scratch("imager")?;
        let parts: Vec<&Parts> = parts.iter().collect();
        let Extension { manifest, rootfs } =
            modules_dep(&base, &parts, &paths(quirks), store, &scratch).map_err(Error::Modules)?;
        Ok::<_, Error>(Index { manifest, layer: squashed(store, &rootfs, quirks)? })
    })?;
    Ok(Some(LockedModules { manifest: index.manifest, layer: index.layer }))
}

#[derive(Serialize, Deserialize)]
struct Index {
    manifest: ::extensions::Manifest,
    layer: Descriptor,
}

/// The parts of an extension, from its image once more: only what they name is kept, not the trees.
fn split(store: &Store, locked: &LockedExtension, arch: Arch, quirks: Quirks) -> Result<Parts, Error> {
    let image = Image::open(store, &locked.name, locked.image, arch)?;
    let failed = damaged(&locked.name);
    let extension = Extension::from_image(&image.tree(store)?, store).map_err(&failed)?;
    extension.split(&paths(quirks)).map_err(&failed)
}
