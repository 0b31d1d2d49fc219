//! Locks: every digest that decides the bytes of an asset.

use extent::Digest;
use formats::zstd;
use serde::{Deserialize, Serialize};
use store::Descriptor;

use crate::{Asset, Profile, Version};

/// What a request was resolved to. Two equal locks plan the same bytes, on any machine, at any time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    /// The revision of the planner: it changes when the same parts are put together in another way.
    pub planner: u32,
    /// What is made.
    pub asset: Asset,
    /// Of which version.
    pub version: Version,
    /// All that was decided without a catalogue.
    pub profile: Profile,
    /// What the version's own image brings; none where the asset carries nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_files: Option<BootFiles>,
    /// The schematic, where the asset has an initramfs that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schematic: Option<LockedSchematic>,
    /// The extensions, in the order of the schematic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<LockedExtension>,
    /// The modules of all, where an extension has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<LockedModules>,
    /// What an installer image is built on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installer: Option<LockedInstaller>,
}

/// The base of an installer image, and the digest of the layer over it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockedInstaller {
    /// The manifest of the base.
    pub base: Digest,
    /// What the base runs, and with which environment: the `config` of an OCI configuration.
    pub config: serde_json::Value,
    /// The layers of the base, bottom first.
    pub layers: Vec<LockedLayer>,
    /// The layer with the boot files. It is not in the store; its digest follows from the rest of the lock.
    pub boot: Descriptor,
}

/// A layer of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedLayer {
    /// The media type.
    pub media_type: String,
    /// Its bytes, as they are transferred.
    pub blob: Descriptor,
    /// The digest of the archive in it.
    pub diff_id: Digest,
}

/// What a machine can read about its schematic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedSchematic {
    /// The canonical form, whose digest is the id.
    pub canonical: String,
    /// Who made the image: the factory and its address.
    pub author: String,
}

/// An extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedExtension {
    /// Its name in the catalogue.
    pub name: String,
    /// The manifest of its image for the architecture.
    pub image: Digest,
    /// What it says about itself.
    pub manifest: extensions::Manifest,
    /// Its root file system, as squashfs.
    pub layer: Descriptor,
    /// Its firmware, as a cpio archive that the kernel unpacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Descriptor>,
    /// Its microcode for Intel's processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intel_ucode: Option<Descriptor>,
    /// Its microcode for AMD's processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amd_ucode: Option<Descriptor>,
    /// Whether it has kernel modules.
    pub has_modules: bool,
}

/// What modprobe reads about the modules of the version and of all extensions together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedModules {
    /// What it says about itself: its version is the kernel's release.
    pub manifest: extensions::Manifest,
    /// The files, as squashfs.
    pub layer: Descriptor,
}

/// What the `imager` image of a version has for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFiles {
    /// The manifest of the image.
    pub image: Digest,
    /// The kernel.
    pub kernel: Descriptor,
    /// The kernel's compressed form, where it is used and is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_form: Option<zstd::Form>,
    /// The release that the kernel says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_release: Option<String>,
    /// The initramfs.
    pub initramfs: Descriptor,
    /// systemd-stub, from version 1.5 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd_stub: Option<Descriptor>,
    /// systemd-boot, from version 1.5 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd_boot: Option<Descriptor>,
}

impl Lock {
    /// The digest of the lock itself.
    pub fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).expect("a lock has text for keys and finite numbers"))
    }

    /// The name of the installer image, as clients of the registry write it: `aws-installer/<schematic>`.
    pub(crate) fn installer_name(&self) -> String {
        let platform = match self.asset.platform() {
            crate::Platform::Metal => String::new(),
            platform => format!("{platform}-"),
        };
        let secure_boot = if self.asset.is_secure_boot() { "-secureboot" } else { "" };
        let schematic = self.schematic.as_ref().map(|locked| Digest::of(locked.canonical.as_bytes()).hex());
        format!("{platform}installer{secure_boot}/{}", schematic.unwrap_or_default())
    }

    /// The blobs that the asset may be read from, each with a word for it.
    pub fn blobs(&self) -> Vec<(Digest, String)> {
        let mut blobs = Vec::new();
        let mut add = |digest: Digest, what: &str| blobs.push((digest, what.to_owned()));
        if let Some(files) = &self.boot_files {
            add(files.kernel.digest, "kernel");
            add(files.initramfs.digest, "initramfs");
            for (file, what) in [(&files.systemd_stub, "systemd-stub"), (&files.systemd_boot, "systemd-boot")]
            {
                if let Some(file) = file {
                    add(file.digest, what);
                }
            }
            if let Some(form) = &files.kernel_form {
                add(form.digest, "kernel, compressed");
            }
        }
        for extension in &self.extensions {
            let name = &extension.name;
            add(extension.layer.digest, name);
            for (part, what) in [
                (&extension.firmware, "firmware"),
                (&extension.intel_ucode, "microcode"),
                (&extension.amd_ucode, "microcode"),
            ] {
                if let Some(part) = part {
                    add(part.digest, &format!("{name}, {what}"));
                }
            }
        }
        if let Some(modules) = &self.modules {
            add(modules.layer.digest, "modules.dep");
        }
        for layer in self.installer.iter().flat_map(|installer| &installer.layers) {
            add(layer.blob.digest, "installer base");
        }
        blobs
    }
}
