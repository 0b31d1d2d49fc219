//! Asset paths: the last segment of `/image/<schematic>/<version>/<path>`.
//!
//! ```text
//! kernel-<arch>                                       the kernel
//! cmdline-<platform>-<arch>[-secureboot]              the kernel command line
//! initramfs-<arch>.xz                                 the initramfs, whatever its compression
//! <platform>-<arch>[-secureboot].iso                  an ISO image
//! <platform>-<arch>[-secureboot]-uki.efi              a unified kernel image
//! [<platform>-]installer-<arch>[-secureboot].tar      an installer image
//! <platform>-<arch>[-secureboot].<disk>[<packing>]    a disk image
//! ```
//!
//! Source: `ParseFromPath` of the reference's factory, as facts; the first pattern that fits wins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::profile::{DiskFormat, ImageOptions, OutFormat, Output, OutputKind, built_in};
use crate::{Arch, Error, Platform, Profile, Version};

/// What is downloaded: a parsed asset path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asset {
    kind: AssetKind,
    platform: Platform,
    arch: Arch,
    secure_boot: bool,
}

/// The kinds of assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssetKind {
    /// The kernel.
    Kernel,
    /// The kernel command line.
    Cmdline,
    /// The initramfs.
    Initramfs,
    /// An ISO image.
    Iso,
    /// A unified kernel image.
    Uki,
    /// An installer image.
    Installer,
    /// A disk image.
    Image {
        /// The container of the disk.
        format: DiskFormat,
        /// How the container is packed.
        packing: OutFormat,
    },
}

/// Endings of disk images.
const DISK_FORMATS: [(&str, DiskFormat); 4] = [
    (".raw", DiskFormat::Raw),
    (".qcow2", DiskFormat::Qcow2),
    (".vhd", DiskFormat::Vhd),
    (".ova", DiskFormat::Ova),
];

/// Endings after them, longest first.
const PACKINGS: [OutFormat; 4] = [OutFormat::TarGz, OutFormat::Gz, OutFormat::Xz, OutFormat::Zst];

/// The longest path that is looked at; the longest that means something has 45 characters.
const PATH_LEN_MAX: usize = 255;

const SECURE_BOOT: &str = "-secureboot";

impl Asset {
    /// What it is.
    pub const fn kind(&self) -> AssetKind {
        self.kind
    }

    /// Where it runs; metal for kernel and initramfs, which are the same everywhere.
    pub const fn platform(&self) -> Platform {
        self.platform
    }

    /// The architecture.
    pub const fn arch(&self) -> Arch {
        self.arch
    }

    /// Whether it is signed for secure boot.
    pub const fn is_secure_boot(&self) -> bool {
        self.secure_boot
    }

    /// The media type that its ending stands for.
    pub fn media_type(&self) -> &'static str {
        match self.kind {
            AssetKind::Iso => "application/x-iso9660-image",
            AssetKind::Uki => "application/efi",
            AssetKind::Initramfs => "application/x-xz",
            AssetKind::Installer => "application/x-tar",
            AssetKind::Kernel | AssetKind::Cmdline => "application/octet-stream",
            AssetKind::Image { format, packing } => match (packing, format) {
                (OutFormat::Xz, _) => "application/x-xz",
                (OutFormat::Gz | OutFormat::TarGz, _) => "application/gzip",
                (OutFormat::Zst, _) => "application/zstd",
                (_, DiskFormat::Qcow2) => "application/x-qemu-disk",
                _ => "application/octet-stream",
            },
        }
    }

    /// The profile that the path alone asks for.
    pub fn profile(&self, version: &Version) -> Profile {
        let (kind, out_format) = match self.kind {
            AssetKind::Kernel => (OutputKind::Kernel, OutFormat::Raw),
            AssetKind::Cmdline => (OutputKind::Cmdline, OutFormat::Raw),
            AssetKind::Initramfs => (OutputKind::Initramfs, OutFormat::Raw),
            AssetKind::Iso => (OutputKind::Iso, OutFormat::Raw),
            AssetKind::Uki => (OutputKind::Uki, OutFormat::Raw),
            AssetKind::Installer => (OutputKind::Installer, OutFormat::Raw),
            AssetKind::Image { packing, .. } => (OutputKind::Image, packing),
        };
        let image_options = match self.kind {
            AssetKind::Image { format, .. } => Some(self.image_options(format)),
            _ => None,
        };
        Profile {
            arch: self.arch.to_string(),
            platform: self.platform.to_string(),
            secure_boot: Some(self.secure_boot),
            version: version.to_string(),
            output: Output { kind, image_options, iso_options: None, out_format },
            ..Profile::default()
        }
    }

    /// The disk that the platform wants, in the container that was asked for. The reference lets the options
    /// of the platform's own container win over those of another that was asked for; here they stay with it.
    fn image_options(self, format: DiskFormat) -> ImageOptions {
        let own = built_in::disk_of(self.platform);
        let disk_format_options = match own {
            Some(own) if own.disk_format == format => own.disk_format_options,
            _ if format == DiskFormat::Qcow2 => built_in::QCOW2_OPTIONS,
            _ => "",
        };
        ImageOptions {
            disk_len: own.map_or(built_in::DEFAULT, |own| own.disk_len),
            disk_format: format,
            disk_format_options: disk_format_options.to_owned(),
            ..ImageOptions::default()
        }
    }

    /// `<platform>-<arch>[-secureboot]`.
    fn of_target(kind: AssetKind, text: &str) -> Result<Self, Error> {
        let (rest, secure_boot) = match text.strip_suffix(SECURE_BOOT) {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        // The one name with a dash in it.
        let dashed = Platform::DigitalOcean.name();
        let (platform, arch) = match rest.strip_prefix(dashed).and_then(|after| after.strip_prefix('-')) {
            Some(arch) => (dashed, arch),
            None => {
                rest.split_once('-').ok_or_else(|| Error::PlatformArch { text: crate::error::shown(rest) })?
            }
        };
        // The reference looks at the architecture alone, so its error comes first.
        let arch = arch.parse()?;
        Ok(Self { kind, platform: platform.parse()?, arch, secure_boot })
    }

    fn of_metal(kind: AssetKind, arch: &str) -> Result<Self, Error> {
        Ok(Self { kind, platform: Platform::Metal, arch: arch.parse()?, secure_boot: false })
    }
}

impl FromStr for Asset {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        let wrong = |path: &str| Error::Path { path: crate::error::shown(path) };
        if path.len() > PATH_LEN_MAX {
            return Err(wrong(path));
        }
        if let Some(arch) = path.strip_prefix("kernel-") {
            return Self::of_metal(AssetKind::Kernel, arch);
        }
        if let Some(target) = path.strip_prefix("cmdline-") {
            return Self::of_target(AssetKind::Cmdline, target);
        }
        if let Some(arch) = path.strip_prefix("initramfs-").and_then(|rest| rest.strip_suffix(".xz")) {
            return Self::of_metal(AssetKind::Initramfs, arch);
        }
        if let Some(target) = path.strip_suffix(".iso") {
            return Self::of_target(AssetKind::Iso, target);
        }
        if let Some(target) = path.strip_suffix("-uki.efi") {
            return Self::of_target(AssetKind::Uki, target);
        }
        if let Some(installer) = path.strip_suffix(".tar") {
            if let Some(rest) = installer.strip_prefix("installer-") {
                return Self::of_target(AssetKind::Installer, &format!("{}-{rest}", Platform::Metal));
            }
            if let Some((platform, rest)) = installer.split_once("-installer-") {
                return Self::of_target(AssetKind::Installer, &format!("{platform}-{rest}"));
            }
        }
        let (rest, packing) = PACKINGS
            .into_iter()
            .find_map(|packing| Some((path.strip_suffix(packing.name())?, packing)))
            .unwrap_or((path, OutFormat::Raw));
        let (target, format) = DISK_FORMATS
            .into_iter()
            .find_map(|(ending, format)| Some((rest.strip_suffix(ending)?, format)))
            .ok_or_else(|| wrong(rest))?;
        Self::of_target(AssetKind::Image { format, packing }, target)
    }
}

impl fmt::Display for Asset {
    /// The path, with the architecture's own name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, platform, arch, secure_boot } = self;
        let signed = if *secure_boot { SECURE_BOOT } else { "" };
        match kind {
            AssetKind::Kernel => write!(f, "kernel-{arch}"),
            AssetKind::Cmdline => write!(f, "cmdline-{platform}-{arch}{signed}"),
            AssetKind::Initramfs => write!(f, "initramfs-{arch}.xz"),
            AssetKind::Iso => write!(f, "{platform}-{arch}{signed}.iso"),
            AssetKind::Uki => write!(f, "{platform}-{arch}{signed}-uki.efi"),
            AssetKind::Installer if *platform == Platform::Metal => write!(f, "installer-{arch}{signed}.tar"),
            AssetKind::Installer => write!(f, "{platform}-installer-{arch}{signed}.tar"),
            AssetKind::Image { format, packing } => {
                let packing = if *packing == OutFormat::Raw { "" } else { packing.name() };
                write!(f, "{platform}-{arch}{signed}.{format}{packing}")
            }
        }
    }
}

impl Serialize for Asset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Asset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(path: &str) -> Asset {
        path.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    const fn image(format: DiskFormat, packing: OutFormat) -> AssetKind {
        AssetKind::Image { format, packing }
    }

    #[test]
    fn paths_are_the_assets_they_name() {
        use {Arch::Amd64, Arch::Arm64, AssetKind as K, Platform as P};
        for (path, kind, platform, arch, secure_boot) in [
            ("kernel-amd64", K::Kernel, P::Metal, Amd64, false),
            ("kernel-arm64", K::Kernel, P::Metal, Arm64, false),
            ("cmdline-metal-arm64", K::Cmdline, P::Metal, Arm64, false),
            ("cmdline-aws-amd64-secureboot", K::Cmdline, P::Aws, Amd64, true),
            ("initramfs-amd64.xz", K::Initramfs, P::Metal, Amd64, false),
            ("metal-arm64-secureboot.iso", K::Iso, P::Metal, Arm64, true),
            ("metal-amd64-secureboot-uki.efi", K::Uki, P::Metal, Amd64, true),
            ("metal-amd64-uki.efi", K::Uki, P::Metal, Amd64, false),
            ("installer-amd64.tar", K::Installer, P::Metal, Amd64, false),
            ("installer-arm64-secureboot.tar", K::Installer, P::Metal, Arm64, true),
            ("digital-ocean-installer-amd64.tar", K::Installer, P::DigitalOcean, Amd64, false),
            ("metal-arm64.raw.xz", image(DiskFormat::Raw, OutFormat::Xz), P::Metal, Arm64, false),
            ("metal-arm64.raw.zst", image(DiskFormat::Raw, OutFormat::Zst), P::Metal, Arm64, false),
            ("metal-amd64.raw", image(DiskFormat::Raw, OutFormat::Raw), P::Metal, Amd64, false),
            ("gcp-amd64.raw.tar.gz", image(DiskFormat::Raw, OutFormat::TarGz), P::Gcp, Amd64, false),
            (
                "aws-amd64-secureboot.qcow2.tar.gz",
                image(DiskFormat::Qcow2, OutFormat::TarGz),
                P::Aws,
                Amd64,
                true,
            ),
            ("azure-amd64.vhd", image(DiskFormat::Vhd, OutFormat::Raw), P::Azure, Amd64, false),
            ("vmware-amd64.ova", image(DiskFormat::Ova, OutFormat::Raw), P::Vmware, Amd64, false),
            (
                "digital-ocean-amd64.raw.gz",
                image(DiskFormat::Raw, OutFormat::Gz),
                P::DigitalOcean,
                Amd64,
                false,
            ),
        ] {
            let parsed = asset(path);
            assert_eq!(parsed, Asset { kind, platform, arch, secure_boot }, "{path}");
            assert_eq!(parsed.to_string(), path);
        }
    }

    #[test]
    fn aliases_have_one_path() {
        for (path, own) in [
            ("metal-x86_64.iso", "metal-amd64.iso"),
            ("kernel-i386", "kernel-amd64"),
            ("metal-installer-amd64.tar", "installer-amd64.tar"),
            ("packet-amd64.raw", "equinixMetal-amd64.raw"),
        ] {
            assert_eq!(asset(path).to_string(), own);
        }
    }

    #[test]
    fn other_paths_are_refused_in_the_words_of_the_reference() {
        for (path, expected) in [
            ("kernel-foo", "invalid architecture: \"foo\""),
            ("kernel-amd64-secureboot", "invalid architecture: \"amd64-secureboot\""),
            ("initramfs-amd64-secureboot.xz", "invalid architecture: \"amd64-secureboot\""),
            ("metal-rpi_generic-arm64.raw.xz", "invalid architecture: \"rpi_generic-arm64\""),
            ("metal-amd64.ssd", "invalid profile path: \"metal-amd64.ssd\""),
            ("metal-amd64.vmdk", "invalid profile path: \"metal-amd64.vmdk\""),
            ("metal-amd64.vpc.xz", "invalid profile path: \"metal-amd64.vpc\""),
            ("metal-amd64.tar.gz", "invalid profile path: \"metal-amd64\""),
            ("metal-amd64.tar", "invalid profile path: \"metal-amd64.tar\""),
            ("initramfs-amd64.zst", "invalid profile path: \"initramfs-amd64\""),
            ("metal.iso", "invalid platform-arch: \"metal\""),
            (".raw", "invalid platform-arch: \"\""),
            ("", "invalid profile path: \"\""),
            ("marsrover-amd64.iso", "invalid platform: \"marsrover\""),
            ("-amd64.iso", "invalid platform: \"\""),
            ("digital-ocean.iso", "invalid architecture: \"ocean\""),
        ] {
            assert_eq!(path.parse::<Asset>().unwrap_err().to_string(), expected, "{path}");
        }
        assert!("a".repeat(1000).parse::<Asset>().is_err());
    }

    #[test]
    fn disks_have_the_size_and_the_options_of_their_platform() {
        let version = "1.13.0".parse().unwrap();
        for (path, mebibytes, options) in [
            ("metal-arm64.raw.xz", 1246, ""),
            ("aws-amd64-secureboot.qcow2.tar.gz", 8192, "cluster_size=8k"),
            ("azure-amd64.vhd", 8192, "subformat=fixed,force_size"),
            ("azure-amd64.qcow2", 8192, "cluster_size=8k"),
            ("azure-amd64.raw", 8192, ""),
            ("exoscale-amd64.qcow2", 10240, "cluster_size=8k"),
            ("equinixMetal-amd64.raw", 8192, ""),
        ] {
            let options_of = asset(path).profile(&version).output.image_options.unwrap();
            assert_eq!(options_of.disk_len, mebibytes << 20, "{path}");
            assert_eq!(options_of.disk_format_options, options, "{path}");
        }
    }

    #[test]
    fn media_types_follow_the_ending() {
        for (path, media_type) in [
            ("metal-amd64-uki.efi", "application/efi"),
            ("metal-amd64.iso", "application/x-iso9660-image"),
            ("metal-amd64.raw.xz", "application/x-xz"),
            ("initramfs-amd64.xz", "application/x-xz"),
            ("gcp-amd64.raw.tar.gz", "application/gzip"),
            ("metal-amd64.raw.zst", "application/zstd"),
            ("oracle-amd64.qcow2", "application/x-qemu-disk"),
            ("metal-amd64.raw", "application/octet-stream"),
        ] {
            assert_eq!(asset(path).media_type(), media_type);
        }
    }
}
