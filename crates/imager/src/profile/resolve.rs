//! What a profile means: defaults, validation.

use super::{Bootloader, ContainerAsset, OutputKind, Profile, Signer};
use crate::{Arch, Distribution, Error, Platform, Quirks, Version};

/// The partitions that a boot file of one generation needs; sizes of disks are written with this room in mind.
const ONE_GENERATION: u64 = 1000 << 20;
/// GRUB's own partition beside the boot files, where both loaders are there.
const BIOS_PARTITION: u64 = 1 << 20;

impl Profile {
    /// The complete profile: laid over its base, defaults filled in, valid.
    ///
    /// # Errors
    /// `UnknownProfile`, `Arch`, `Platform`, `Version`, `VersionNotAvailable` for names; `Missing`, `NotAllowed`,
    /// `NotSupported` and `DiskTooLarge` for what cannot be.
    pub fn resolve(self) -> Result<Self, Error> {
        let mut profile = if self.base_profile_name.is_empty() {
            self
        } else {
            self.over(Self::built_in(&self.base_profile_name)?)
        };
        profile.base_profile_name.clear();
        let version: Version = profile.version.parse()?;
        let distribution = Distribution::of(&version)?;
        let quirks = distribution.quirks(&version);
        let arch: Arch = profile.arch.parse()?;
        if profile.platform.is_empty() {
            return Err(Error::Missing { what: "platform" });
        }
        profile.platform.parse::<Platform>()?;
        profile.fill_input(arch, quirks);
        profile.fill_output(&version, distribution, arch)?;
        profile.validate(distribution, &version)?;
        Ok(profile)
    }

    fn fill_input(&mut self, arch: Arch, quirks: Quirks) {
        let input = &mut self.input;
        for (asset, file) in [
            (&mut input.kernel, "vmlinuz"),
            (&mut input.initramfs, "initramfs.xz"),
            (&mut input.sd_stub, "systemd-stub.efi"),
            (&mut input.sd_boot, "systemd-boot.efi"),
        ] {
            if asset.path.is_empty() {
                asset.path = format!("/usr/install/{arch}/{file}");
            }
        }
        if input.base_installer == ContainerAsset::default() {
            let image = if quirks.has_unified_installer() { "installer-base" } else { "installer" };
            input.base_installer.image_ref = format!("ghcr.io/siderolabs/{image}:{}", self.version);
        }
        if self.secure_boot == Some(true) {
            let secure_boot = self.input.secure_boot.get_or_insert_default();
            if secure_boot.secure_boot_signer == Signer::default() {
                "/secureboot/uki-signing-key.pem".clone_into(&mut secure_boot.secure_boot_signer.key_path);
                "/secureboot/uki-signing-cert.pem".clone_into(&mut secure_boot.secure_boot_signer.cert_path);
            }
            if secure_boot.pcr_signer == Signer::default() {
                "/secureboot/pcr-signing-key.pem".clone_into(&mut secure_boot.pcr_signer.key_path);
            }
        }
    }

    fn fill_output(
        &mut self,
        version: &Version,
        distribution: &Distribution,
        arch: Arch,
    ) -> Result<(), Error> {
        let quirks = distribution.quirks(version);
        let secure_boot = self.is_secure_boot();
        let choose = |asked: Bootloader| match asked {
            _ if secure_boot => Bootloader::SdBoot,
            Bootloader::Unset => distribution.default_bootloader(version, arch),
            asked => asked,
        };
        match self.output.kind {
            OutputKind::Image => {
                let Some(options) = &mut self.output.image_options else {
                    return Err(Error::Missing { what: "image options" });
                };
                if options.disk_len == 0 {
                    return Err(Error::Missing { what: "disk size" });
                }
                options.bootloader = choose(options.bootloader);
                let boot = quirks.boot_len();
                let mut more = boot - ONE_GENERATION;
                if options.bootloader == Bootloader::DualBoot {
                    more += BIOS_PARTITION + boot;
                }
                options.disk_len = options
                    .disk_len
                    .checked_add(more)
                    .ok_or(Error::DiskTooLarge { len: options.disk_len, max: DISK_LEN_MAX })?;
                if options.disk_len > DISK_LEN_MAX {
                    return Err(Error::DiskTooLarge { len: options.disk_len, max: DISK_LEN_MAX });
                }
            }
            OutputKind::Iso if quirks.has_iso_bootloader() => {
                let options = self.output.iso_options.get_or_insert_default();
                options.bootloader = choose(options.bootloader);
            }
            _ => {}
        }
        Ok(())
    }

    fn validate(&self, distribution: &Distribution, version: &Version) -> Result<(), Error> {
        let kind = self.output.kind;
        let refuse = |what: &'static str, there: bool| {
            if there { Err(Error::NotAllowed { what, kind }) } else { Ok(()) }
        };
        let unsupported = |what: &'static str| Error::NotSupported {
            what,
            distribution: distribution.name,
            version: version.clone(),
        };
        let quirks = distribution.quirks(version);
        if self.is_secure_boot() && !quirks.has_uki() {
            return Err(unsupported("secure boot"));
        }
        let custom = &self.customization;
        match kind {
            OutputKind::Unset => return Err(Error::Missing { what: "output kind" }),
            OutputKind::Uki if !quirks.has_uki() => return Err(unsupported("unified kernel image")),
            OutputKind::Installer => refuse("META contents", !custom.meta_contents.is_empty())?,
            OutputKind::Kernel | OutputKind::Initramfs => {
                refuse("secure boot", self.is_secure_boot())?;
                refuse("extra kernel arguments", !custom.extra_kernel_args.is_empty())?;
                refuse("META contents", !custom.meta_contents.is_empty())?;
            }
            OutputKind::Iso | OutputKind::Image | OutputKind::Uki | OutputKind::Cmdline => {}
        }
        Ok(())
    }
}

/// The reference counts disk bytes in a signed 64-bit integer.
const DISK_LEN_MAX: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ImageOptions, MetaContent};

    fn metal(version: &str) -> Profile {
        Profile {
            base_profile_name: "metal".to_owned(),
            arch: "amd64".to_owned(),
            version: version.to_owned(),
            ..Profile::default()
        }
    }

    fn disk(profile: &Profile) -> (u64, Bootloader) {
        let options = profile.output.image_options.as_ref().unwrap();
        (options.disk_len, options.bootloader)
    }

    #[test]
    fn room_for_boot_files_is_added_to_every_disk() {
        for (version, bootloader, len) in [
            ("1.9.0", Bootloader::Unset, 1_306_525_696),
            ("1.10.0", Bootloader::Unset, 2_356_150_272),
            ("1.11.0", Bootloader::SdBoot, 2_355_101_696),
            ("1.11.0", Bootloader::DualBoot, 4_453_302_272),
            ("v13.1.0", Bootloader::Unset, 2_355_101_696),
        ] {
            let mut profile = metal(version);
            profile.output.image_options = Some(ImageOptions { bootloader, ..ImageOptions::default() });
            assert_eq!(disk(&profile.resolve().unwrap()).0, len, "{version} {bootloader}");
        }
    }

    #[test]
    fn secure_boot_wins_over_the_bootloader_that_was_asked_for() {
        let mut profile = metal("1.13.0");
        profile.secure_boot = Some(true);
        profile.output.image_options =
            Some(ImageOptions { bootloader: Bootloader::Grub, ..ImageOptions::default() });
        assert_eq!(disk(&profile.resolve().unwrap()).1, Bootloader::SdBoot);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        type Change = fn(&mut Profile);
        let table: &[(Change, &str)] = &[
            (|p| p.arch = "mips".to_owned(), "invalid architecture: \"mips\""),
            (|p| p.version = "latest".to_owned(), "invalid version \"latest\""),
            (|p| p.version = "7.0.0".to_owned(), "version 7.0.0 is not available"),
            (|p| p.platform = "mars".to_owned(), "invalid platform: \"mars\""),
            (|p| p.base_profile_name.clear(), "platform is missing"),
            (|p| p.base_profile_name = "moon".to_owned(), "there is no profile `moon`"),
            (
                |p| {
                    p.version = "1.4.0".to_owned();
                    p.secure_boot = Some(true);
                },
                "secure boot is not supported for Talos version v1.4.0",
            ),
            (
                |p| {
                    p.output.kind = OutputKind::Kernel;
                    p.customization.extra_kernel_args.push("a".to_owned());
                },
                "`kernel` output takes no extra kernel arguments",
            ),
            (
                |p| {
                    p.output.kind = OutputKind::Installer;
                    p.customization.meta_contents.push(MetaContent::default());
                },
                "`installer` output takes no META contents",
            ),
            (
                |p| {
                    p.output.image_options =
                        Some(ImageOptions { disk_len: u64::MAX, ..ImageOptions::default() });
                },
                "a disk of 18446744073709551615 bytes",
            ),
        ];
        for (change, expected) in table {
            let mut profile = metal("1.13.0");
            change(&mut profile);
            let error = profile.resolve().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
