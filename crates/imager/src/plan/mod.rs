//! Planning: from a lock to extents. Pure, synchronous, a few milliseconds whatever the size.
//!
//! ```text
//! profile ──▶ command line ─┐
//! boot files, layers ──▶ initramfs ─┴─▶ UKI ──▶ EFI partition ──▶ disk ──▶ frame
//! ```

mod disk;
mod initramfs;
mod installer;
mod uki;

use std::collections::HashMap;

use ::extensions::{
    Extension, Layer, MODULES_IMAGE, Manifest, embedded_config, image, layer_order, layers_yaml, schematic,
};
use bytes::Bytes;
use extent::{Digest, ExtentMap, Kind};
use formats::{squashfs, zstd};

use self::disk::{BootFiles, Disk, disk};
use self::initramfs::{Initramfs, initramfs};
pub use self::installer::{CONFIG, INDEX, Installer, InstallerImage, InstallerLayer, MANIFEST};
use self::uki::{Uki, profiles, uki};
use crate::profile::OutFormat;
use crate::{
    AssetKind, Distribution, Error, Lock, Quirks, Resolved, command_line, loader_conf, lock, meta, os_release,
};

/// Changes whenever the same lock would give other bytes.
pub const PLANNER_REVISION: u32 = 2;

/// A virtual layer with as much content is not compressed: either way it takes the same page of 4 KiB.
const STORED_MAX: u64 = 2 << 10;

/// The time of everything that has one: 1 June 2019, 21:34:52 UTC, which is the reference's.
pub const EPOCH: u32 = 1_559_424_892;

/// An asset, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The name of the file.
    pub name: String,
    /// The media type.
    pub media_type: &'static str,
    /// The bytes.
    pub extents: ExtentMap,
}

/// The asset that `resolved` describes. Reads nothing.
///
/// # Errors
/// `NotYet`; the errors of the formats when something does not fit.
pub fn plan(resolved: &Resolved) -> Result<Artifact, Error> {
    let lock = &resolved.lock;
    let planner = Planner::new(resolved)?;
    let extents = match lock.asset.kind() {
        AssetKind::Cmdline => ExtentMap::inline(planner.command_line()?.into_bytes()),
        AssetKind::Kernel => blob(&planner.files()?.kernel),
        AssetKind::Initramfs => planner.initramfs()?,
        AssetKind::Uki => planner.uki()?,
        AssetKind::Image { packing, .. } => {
            let disk = planner.disk()?;
            if packing == OutFormat::Zst { planner.frame(&disk)? } else { disk }
        }
        AssetKind::Installer => {
            let name = format!("{}:{}", lock.installer_name(), lock.version);
            installer::archive(&planner.installer()?, &name)?
        }
        AssetKind::Iso => return Err(Error::NotYet { what: format!("`{}`", lock.asset) }),
    };
    Ok(Artifact { name: lock.asset.to_string(), media_type: lock.asset.media_type(), extents })
}

/// The installer image that `resolved` describes, in parts. Reads nothing.
///
/// # Errors
/// Those of [`plan`]; `Missing` when something else was resolved.
pub fn installer(resolved: &Resolved) -> Result<Installer, Error> {
    Planner::new(resolved)?.installer()
}

/// The layer with the boot files, before its digest is known.
pub(crate) fn boot_layer(resolved: &Resolved) -> Result<ExtentMap, Error> {
    Planner::new(resolved)?.boot_layer()
}

/// A lock being planned.
struct Planner<'a> {
    lock: &'a Lock,
    stub: &'a Bytes,
    distribution: &'static Distribution,
    quirks: Quirks,
}

impl<'a> Planner<'a> {
    fn new(Resolved { lock, stub }: &'a Resolved) -> Result<Self, Error> {
        let distribution = Distribution::of(&lock.version)?;
        Ok(Self { lock, stub, distribution, quirks: distribution.quirks(&lock.version) })
    }

    fn files(&self) -> Result<&'a lock::BootFiles, Error> {
        self.lock.boot_files.as_ref().ok_or(Error::Missing { what: "boot files" })
    }

    fn command_line(&self) -> Result<String, Error> {
        Ok(command_line(&self.lock.profile, &[])?.to_string())
    }

    fn initramfs(&self) -> Result<ExtentMap, Error> {
        let parts = self.parts();
        let mut intel_ucode = ExtentMap::new();
        let mut amd_ucode = ExtentMap::new();
        let mut firmware = Vec::new();
        let mut layers = Vec::new();
        for index in layer_order(parts.len()) {
            let part = &parts[index];
            if let Part::Locked(extension) = part {
                intel_ucode.append(optional_blob(extension.intel_ucode.as_ref()));
                amd_ucode.append(optional_blob(extension.amd_ucode.as_ref()));
                firmware.extend(extension.firmware.as_ref().map(blob));
            }
            layers.push((image(index), part.manifest(), part.squashfs(self.quirks)?));
        }
        if let Some(modules) = &self.lock.modules {
            layers.push((MODULES_IMAGE.to_owned(), &modules.manifest, blob(&modules.layer)));
        }
        let listed: Vec<Layer<'_>> =
            layers.iter().map(|(image, manifest, _)| Layer { image, manifest }).collect();
        let extensions_yaml = layers_yaml(&listed);
        let layers = layers.into_iter().map(|(image, _, content)| (image, content)).collect();
        let base = blob(&self.files()?.initramfs);
        initramfs(Initramfs { base, intel_ucode, amd_ucode, firmware, layers, extensions_yaml })
    }

    /// What is added to the version's own initramfs, in the order of the schematic: its extensions, then the
    /// machine configuration, then the schematic itself.
    fn parts(&self) -> Vec<Part<'a>> {
        let mut parts: Vec<_> = self.lock.extensions.iter().map(Part::Locked).collect();
        let config = &self.lock.profile.customization.embedded_machine_configuration;
        if !config.is_empty() {
            parts.push(Part::Virtual(embedded_config(config.as_bytes())));
        }
        if let Some(lock::LockedSchematic { canonical, author }) = &self.lock.schematic {
            let with_yaml = self.quirks.has_schematic_extra_info();
            parts.push(Part::Virtual(schematic(canonical, author, with_yaml)));
        }
        parts
    }

    fn uki(&self) -> Result<ExtentMap, Error> {
        let files = self.files()?;
        uki(Uki {
            stub: self.stub,
            os_release: os_release(self.distribution, &self.lock.version),
            command_line: self.command_line()?,
            release: files.kernel_release.as_deref(),
            kernel: blob(&files.kernel),
            initramfs: self.initramfs()?,
            profiles: profiles(self.lock.profile.output.kind, self.quirks),
        })
    }

    fn systemd_boot(&self) -> Result<ExtentMap, Error> {
        Ok(blob(self.files()?.systemd_boot.as_ref().ok_or(Error::Missing { what: "systemd-boot" })?))
    }

    fn boot_layer(&self) -> Result<ExtentMap, Error> {
        installer::boot_layer(self.lock.asset.arch(), self.systemd_boot()?, self.uki()?)
    }

    fn installer(&self) -> Result<Installer, Error> {
        let locked = self.lock.installer.as_ref().ok_or(Error::Missing { what: "installer base" })?;
        Ok(installer::installer(self.lock.asset.arch(), locked, self.boot_layer()?))
    }

    fn disk(&self) -> Result<ExtentMap, Error> {
        let profile = &self.lock.profile;
        let options =
            profile.output.image_options.as_ref().ok_or(Error::Missing { what: "image options" })?;
        let sector_size = match options.sector_size {
            0 => 512,
            size => u32::try_from(size).unwrap_or(u32::MAX),
        };
        disk(Disk {
            len: options.disk_len,
            sector_size,
            quirks: self.quirks,
            boot: BootFiles {
                arch: self.lock.asset.arch(),
                systemd_boot: self.systemd_boot()?,
                uki: self.uki()?,
                uki_name: &format!("{}-{}", self.distribution.name, self.lock.version),
                // Keys are enrolled only where there are keys.
                loader_conf: loader_conf(None),
            },
            meta: meta::partition(&profile.customization.meta_contents)?,
        })
    }

    fn frame(&self, disk: &ExtentMap) -> Result<ExtentMap, Error> {
        let files = self.files()?;
        Ok(zstd::frame(disk, &|digest| files.kernel_form.clone().filter(|_| *digest == files.kernel.digest)))
    }
}

/// A layer to be, in its place in the list.
enum Part<'a> {
    /// Out of an image.
    Locked(&'a lock::LockedExtension),
    /// Made of the request itself.
    Virtual(Extension),
}

impl Part<'_> {
    fn manifest(&self) -> &Manifest {
        match self {
            Self::Locked(extension) => &extension.manifest,
            Self::Virtual(extension) => &extension.manifest,
        }
    }

    /// A squashfs of a file or two is made in less time than it takes to look one up, unless it is compressed.
    fn squashfs(&self, quirks: Quirks) -> Result<ExtentMap, Error> {
        match self {
            Self::Locked(extension) => Ok(blob(&extension.layer)),
            Self::Virtual(extension) => {
                let nothing: HashMap<Digest, Bytes> = HashMap::new();
                let contents = extension.rootfs.iter().filter_map(|(_, node)| match &node.kind {
                    Kind::File(content) => Some(content.len()),
                    _ => None,
                });
                let stored = contents.sum::<u64>() <= STORED_MAX;
                let options = squashfs::Options { stored, ..squashfs_options(quirks) };
                let image = squashfs::image(&extension.rootfs, &options, &nothing)?;
                Ok(ExtentMap::inline(image))
            }
        }
    }
}

/// How layers are compressed.
pub(crate) fn squashfs_options(quirks: Quirks) -> squashfs::Options {
    let compression = if quirks.reads_zstd() {
        squashfs::Compression::Zstd { level: 18 }
    } else {
        squashfs::Compression::Xz { preset: 6 }
    };
    squashfs::Options { mtime: EPOCH, ..squashfs::Options::new(compression) }
}

fn blob(descriptor: &store::Descriptor) -> ExtentMap {
    ExtentMap::blob(descriptor.digest, 0, descriptor.len)
}

fn optional_blob(descriptor: Option<&store::Descriptor>) -> ExtentMap {
    descriptor.map(blob).unwrap_or_default()
}
