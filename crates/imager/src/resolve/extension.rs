//! Extensions: from an image to what the planner carries.
//!
//! ```text
//! image ──▶ microcode │ firmware ──▶ cpio ──▶ zstd │ everything else ──▶ squashfs
//! ```
//!
//! All of it once per image, whoever asks for it.

use std::io::{Seek, SeekFrom};
use std::thread::available_parallelism;

use ::extensions::{Extension, Paths};
use extent::{Blobs, ExtentMap, read_all};
use formats::{cpio, squashfs, zstd};
use serde::{Deserialize, Serialize};
use store::{Descriptor, Store};

use super::image::Image;
use super::layers::Bytes;
use crate::lock::LockedExtension;
use crate::plan::{EPOCH, squashfs_options};
use crate::{Error, Quirks};

/// The longest firmware of one extension in bytes: all that Linux has. It is compressed in memory.
const FIRMWARE_LEN_MAX: u64 = 2 << 30;

/// The parts of the extension in `image`, known as `name`.
pub(super) fn extension(
    store: &Store,
    name: &str,
    image: &Image,
    quirks: Quirks,
) -> Result<LockedExtension, Error> {
    // What else decides the parts: where firmware lies, and how layers are compressed.
    let layout = if quirks.is_merged_usr() { "merged" } else { "split" };
    let codec = if quirks.reads_zstd() { "zstd" } else { "xz" };
    let parts: Parts = store.derive(&format!("extension-{layout}-{codec}"), 3, &[image.manifest], || {
        let failed = damaged(name);
        let extension = Extension::from_image(&image.tree(store)?, store).map_err(&failed)?;
        let parts = extension.split(&paths(quirks)).map_err(&failed)?;
        Ok::<_, Error>(Parts {
            layer: squashed(store, &parts.layer, quirks)?,
            firmware: firmware(store, &parts.firmware, quirks)?,
            intel_ucode: taken(store, parts.intel_ucode)?,
            amd_ucode: taken(store, parts.amd_ucode)?,
            has_modules: parts.module_releases.is_some(),
            manifest: parts.manifest,
        })
    })?;
    Ok(LockedExtension {
        name: name.to_owned(),
        image: image.manifest,
        manifest: parts.manifest,
        layer: parts.layer,
        firmware: parts.firmware,
        intel_ucode: parts.intel_ucode,
        amd_ucode: parts.amd_ucode,
        has_modules: parts.has_modules,
    })
}

/// Says of which extension a failure is.
pub(super) fn damaged(name: &str) -> impl Fn(::extensions::Error) -> Error {
    move |source| Error::Extension { name: name.to_owned(), source }
}

/// Where the version has firmware and modules.
pub(super) fn paths(quirks: Quirks) -> Paths {
    if quirks.is_merged_usr() { Paths::merged_usr() } else { Paths::split_usr() }
}

#[derive(Serialize, Deserialize)]
struct Parts {
    manifest: ::extensions::Manifest,
    layer: Descriptor,
    firmware: Option<Descriptor>,
    intel_ucode: Option<Descriptor>,
    amd_ucode: Option<Descriptor>,
    has_modules: bool,
}

/// The squashfs of `tree`, as a blob.
pub(super) fn squashed(store: &Store, tree: &extent::Tree, quirks: Quirks) -> Result<Descriptor, Error> {
    let mut options = squashfs_options(quirks);
    if let Ok(threads) = available_parallelism() {
        options.threads = threads;
    }
    let scratch = store.scratch("imager")?;
    let failed = |source| Error::Scratch { source };
    let mut file = tempfile::tempfile_in(scratch).map_err(failed)?;
    squashfs::write(tree, &options, store, &mut file)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(store.put(file)?)
}

/// The firmware as one archive that stands for itself behind an initramfs.
fn firmware(store: &Store, tree: &extent::Tree, quirks: Quirks) -> Result<Option<Descriptor>, Error> {
    if tree.is_empty() {
        return Ok(None);
    }
    let archive = cpio::archive(tree, EPOCH)?;
    if !quirks.reads_zstd() {
        // Kernels of that time may lack zstd; none lacks an archive that is not compressed.
        return taken(store, archive);
    }
    let bytes = read_all(&archive, store, FIRMWARE_LEN_MAX).map_err(|source| Error::Scratch { source })?;
    Ok(Some(store.put_bytes(&zstd::compress_blob(&bytes))?))
}

/// What `map` describes, as a blob of its own; none of nothing.
fn taken(store: &Store, map: ExtentMap) -> Result<Option<Descriptor>, Error> {
    if map.is_empty() {
        return Ok(None);
    }
    let blobs: &dyn Blobs = store;
    Ok(Some(store.put(Bytes::new(map, blobs))?))
}
