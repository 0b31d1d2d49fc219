//! What a schematic means for one asset of one version, before anything is looked up.
//!
//! Source: `enhanceFromSchematic` of the reference's factory, as facts.

use schematics::{Schematic, Text};

use crate::profile::{Bootloader, DiskFormat, EnrollKeys, IsoOptions, MetaContent, OutFormat, OutputKind};
use crate::{Asset, AssetKind, Distribution, Error, Profile, Quirks, Version};

/// Bytes in a sector that disks can have.
const SECTOR_SIZES: [(u64, &str); 2] = [(512, "512"), (4096, "4096")];

/// Extensions that an image takes: more than twice what the largest catalogue has. Each is a layer of its own, even one that
/// is named twice, and a schematic has room for 18 000.
const EXTENSIONS_MAX: usize = 256;

/// A request, checked.
#[derive(Debug)]
pub(crate) struct Request {
    pub version: Version,
    pub asset: Asset,
    pub distribution: &'static Distribution,
    /// Complete.
    pub profile: Profile,
    /// Names of extensions, as asked for.
    pub extensions: Vec<String>,
}

impl Request {
    /// Checks everything that a catalogue is not needed for.
    pub fn new(schematic: &Schematic, version: &Version, asset: Asset) -> Result<Self, Error> {
        let distribution = Distribution::of(version)?;
        let quirks = distribution.quirks(version);
        let unsupported =
            |what| Error::NotSupported { what, distribution: distribution.name, version: version.clone() };
        let mut profile = asset.profile(version);
        let kind = profile.output.kind;
        let custom = &schematic.customization;
        let has_initramfs = !matches!(kind, OutputKind::Kernel | OutputKind::Cmdline);

        let overlay = schematic.overlay.as_ref().is_some_and(|overlay| !overlay.name.is_empty());
        if overlay && !quirks.has_overlays() {
            return Err(unsupported("overlay"));
        }
        if has_initramfs && !custom.embedded_machine_configuration.is_empty() {
            if !quirks.has_embedded_config() {
                return Err(unsupported("embedding configuration"));
            }
            let config = text("embedded machine configuration", &custom.embedded_machine_configuration)?;
            profile.customization.embedded_machine_configuration = config;
        }
        let takes_args = match kind {
            OutputKind::Iso | OutputKind::Image | OutputKind::Cmdline => true,
            OutputKind::Installer | OutputKind::Uki => {
                asset.is_secure_boot() || quirks.has_unified_installer()
            }
            _ => false,
        };
        if takes_args {
            for arg in &custom.extra_kernel_args {
                profile.customization.extra_kernel_args.push(kernel_arg(arg)?);
            }
        }
        if matches!(kind, OutputKind::Iso | OutputKind::Image | OutputKind::Cmdline) {
            for schematics::Meta { key, value } in &custom.meta {
                let content = MetaContent { key: *key, value: text("META value", value)? };
                profile.customization.meta_contents.push(content);
            }
        }
        choose_boot(&mut profile, custom, asset.is_secure_boot())?;
        let mut extensions = Vec::new();
        if has_initramfs {
            let names = &custom.system_extensions.official_extensions;
            if names.len() > EXTENSIONS_MAX {
                return Err(Error::TooManyExtensions { count: names.len(), max: EXTENSIONS_MAX });
            }
            for name in names {
                extensions.push(text("extension name", name)?);
            }
        }

        let profile = profile.resolve()?;
        if overlay && has_initramfs {
            return Err(not_yet("a board's overlay"));
        }
        is_there_yet(asset, &profile, quirks)?;
        Ok(Self { version: version.clone(), asset, distribution, profile, extensions })
    }

    /// Whether an initramfs is made for the asset.
    pub fn has_initramfs(&self) -> bool {
        !matches!(self.asset.kind(), AssetKind::Kernel | AssetKind::Cmdline)
    }
}

/// Boot loader, enrolment of keys, sectors.
fn choose_boot(
    profile: &mut Profile,
    custom: &schematics::Customization,
    secure_boot: bool,
) -> Result<(), Error> {
    let bootloader = match custom.bootloader {
        schematics::Bootloader::None => Bootloader::Unset,
        schematics::Bootloader::DualBoot => Bootloader::DualBoot,
        schematics::Bootloader::SdBoot => Bootloader::SdBoot,
        schematics::Bootloader::Grub => Bootloader::Grub,
    };
    let keys = &custom.secureboot.enroll_keys;
    let enroll_keys = if secure_boot && !keys.is_empty() {
        text("secureboot enrollKeys", keys)?.parse()?
    } else {
        EnrollKeys::default()
    };
    let output = &mut profile.output;
    if output.kind == OutputKind::Iso {
        output.iso_options = Some(IsoOptions { enroll_keys, bootloader });
    }
    if let Some(options) = &mut output.image_options {
        options.bootloader = bootloader;
        options.enroll_keys = enroll_keys;
        let sector_size = custom.disk_image.sector_size;
        if sector_size != 0 && !SECTOR_SIZES.iter().any(|(size, _)| *size == sector_size) {
            return Err(Error::Value {
                field: "disk sector size",
                value: sector_size.to_string(),
                allowed: SECTOR_SIZES.map(|(_, name)| name).to_vec(),
            });
        }
        options.sector_size = sector_size;
    }
    Ok(())
}

/// Refuses what will be made later, by name.
fn is_there_yet(asset: Asset, profile: &Profile, quirks: Quirks) -> Result<(), Error> {
    match asset.kind() {
        AssetKind::Iso => return Err(not_yet("an ISO image")),
        AssetKind::Image { format, packing } => {
            if format != DiskFormat::Raw {
                return Err(not_yet(format!("a disk image in the format `{format}`")));
            }
            if !matches!(packing, OutFormat::Raw | OutFormat::Zst) {
                return Err(not_yet(format!("a disk image packed as `{packing}`")));
            }
        }
        AssetKind::Installer if !quirks.has_unified_installer() => {
            return Err(not_yet("an installer image of a version before 1.10"));
        }
        AssetKind::Kernel
        | AssetKind::Cmdline
        | AssetKind::Initramfs
        | AssetKind::Uki
        | AssetKind::Installer => {}
    }
    if asset.is_secure_boot() && asset.kind() != AssetKind::Cmdline {
        return Err(not_yet("an image signed for secure boot"));
    }
    match profile.output.image_options.as_ref().map(|options| options.bootloader) {
        None | Some(Bootloader::SdBoot) => Ok(()),
        Some(other) => Err(not_yet(format!("a disk image with the boot loader `{other}`"))),
    }
}

fn not_yet(what: impl Into<String>) -> Error {
    Error::NotYet { what: what.into() }
}

/// A string of a schematic, which may be any bytes, as text.
fn text(what: &'static str, text: &Text) -> Result<String, Error> {
    text.as_str().map(str::to_owned).map_err(|_| Error::NotText { what })
}

/// One string of kernel arguments. It may hold several words; but what is not printed would be lost in the
/// kernel, or cut the command line short.
fn kernel_arg(arg: &Text) -> Result<String, Error> {
    let arg = text("kernel argument", arg)?;
    if arg.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Err(Error::ControlCharacter { what: "kernel argument", value: crate::error::shown(&arg) });
    }
    Ok(arg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(yaml: &str, version: &str, path: &str) -> Result<Request, Error> {
        let schematic = Schematic::parse(yaml.as_bytes()).unwrap();
        Request::new(&schematic, &version.parse().unwrap(), path.parse().unwrap())
    }

    const FULL: &str = "customization: {embeddedMachineConfiguration: hello, extraKernelArgs: [noapic, '-pti'], \
        meta: [{key: 10, value: foo}], systemExtensions: {officialExtensions: [siderolabs/a, siderolabs/a]}, \
        bootloader: sd-boot, diskImage: {sectorSize: 4096}}";

    #[test]
    fn each_kind_takes_its_part_of_a_schematic() {
        for (path, args, meta, extensions, config) in [
            ("kernel-amd64", 0, 0, 0, ""),
            ("cmdline-metal-amd64", 2, 1, 0, ""),
            ("initramfs-amd64.xz", 0, 0, 2, "hello"),
            ("metal-amd64-uki.efi", 2, 0, 2, "hello"),
            ("metal-amd64.raw.zst", 2, 1, 2, "hello"),
        ] {
            let request = request(FULL, "1.13.0", path).unwrap();
            let custom = &request.profile.customization;
            assert_eq!(custom.extra_kernel_args.len(), args, "{path}");
            assert_eq!(custom.meta_contents.len(), meta, "{path}");
            assert_eq!(request.extensions.len(), extensions, "{path}");
            assert_eq!(custom.embedded_machine_configuration, config, "{path}");
        }
        let disk = request(FULL, "1.13.0", "metal-amd64.raw").unwrap().profile.output.image_options.unwrap();
        assert_eq!((disk.sector_size, disk.bootloader), (4096, Bootloader::SdBoot));
        let old = request("customization: {extraKernelArgs: [a]}", "1.9.0", "metal-amd64-uki.efi").unwrap();
        assert_eq!(old.profile.customization.extra_kernel_args, [""; 0]);
    }

    #[test]
    fn what_a_version_cannot_do_is_said_in_the_words_of_the_reference() {
        for (yaml, version, path, expected) in [
            (
                FULL,
                "1.11.9",
                "metal-amd64.raw",
                "embedding configuration is not supported for Talos version v1.11.9",
            ),
            (
                "overlay: {name: rpi}",
                "1.6.9",
                "kernel-arm64",
                "overlay is not supported for Talos version v1.6.9",
            ),
            (
                "customization: {diskImage: {sectorSize: 520}}",
                "1.13.0",
                "metal-amd64.raw",
                "invalid disk sector size value \"520\": it is one of `512`, `4096`",
            ),
            (
                "customization: {secureboot: {enrollKeys: bogus}}",
                "1.13.0",
                "metal-amd64-secureboot.raw",
                "invalid secureboot enrollKeys value \"bogus\"",
            ),
            (
                "customization: {extraKernelArgs: [\"a\\0b\"]}",
                "1.13.0",
                "cmdline-metal-amd64",
                "kernel argument \"a\\0b\" has a control character",
            ),
            (
                "customization: {extraKernelArgs: [!!binary /w==]}",
                "1.13.0",
                "cmdline-metal-amd64",
                "the kernel argument is not UTF-8",
            ),
            (
                "{}",
                "1.4.0",
                "metal-amd64-uki.efi",
                "unified kernel image is not supported for Talos version v1.4.0",
            ),
            (
                "{}",
                "1.4.0",
                "metal-amd64-secureboot.raw",
                "secure boot is not supported for Talos version v1.4.0",
            ),
        ] {
            let error = request(yaml, version, path).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn extensions_are_counted() {
        let with = |count: usize| {
            let names = "siderolabs/a,".repeat(count);
            let yaml = format!("customization: {{systemExtensions: {{officialExtensions: [{names}]}}}}");
            request(&yaml, "13.1.0", "initramfs-amd64.xz")
        };
        assert_eq!(with(256).unwrap().extensions.len(), 256);
        let error = with(257).unwrap_err();
        assert_eq!(error.to_string(), "`257` extensions are asked for, an image takes at most 256");
        assert_eq!(error.class(), crate::ErrorClass::BadRequest);
    }

    #[test]
    fn what_is_not_there_yet_says_so() {
        for (yaml, version, path, expected) in [
            ("{}", "13.1.0", "metal-amd64.iso", "an ISO image"),
            ("{}", "1.9.0", "installer-amd64.tar", "an installer image of a version before 1.10"),
            ("{}", "13.1.0", "metal-amd64.qcow2", "a disk image in the format `qcow2`"),
            ("{}", "13.1.0", "metal-amd64.raw.xz", "a disk image packed as `.xz`"),
            ("{}", "13.1.0", "gcp-amd64.raw.tar.gz", "a disk image packed as `.tar.gz`"),
            ("{}", "13.1.0", "metal-amd64-secureboot-uki.efi", "an image signed for secure boot"),
            ("{}", "1.13.0", "metal-amd64.raw", "a disk image with the boot loader `dual-boot`"),
            (
                "customization: {bootloader: grub}",
                "13.1.0",
                "metal-amd64.raw",
                "a disk image with the boot loader `grub`",
            ),
            ("overlay: {name: rpi}", "13.1.0", "initramfs-arm64.xz", "a board's overlay"),
        ] {
            let error = request(yaml, version, path).unwrap_err();
            assert_eq!(error.to_string(), format!("{expected} is not there yet"), "{path}");
            assert_eq!((error.class(), error.exit_code()), (crate::ErrorClass::NotImplemented, 3));
        }
        for path in ["kernel-arm64", "cmdline-metal-arm64", "cmdline-metal-arm64-secureboot"] {
            assert!(request("overlay: {name: rpi}", "13.1.0", path).is_ok(), "{path}");
        }
        assert!(request("{}", "1.13.0", "metal-arm64.raw.zst").is_ok(), "arm64 boots with systemd-boot");
    }

    #[test]
    fn keys_are_enrolled_only_under_secure_boot() {
        let yaml = "customization: {secureboot: {enrollKeys: bogus}}";
        assert!(request(yaml, "13.1.0", "metal-amd64.raw").is_ok());
    }
}
