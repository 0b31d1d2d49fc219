//! Distributions: the operating systems that images are made of.
//!
//! A distribution is a name, a range of versions and what follows from them. Where its source images are, and
//! what is in them, is the same for all.

use crate::profile::Bootloader;
use crate::{Arch, Error, Quirks, Version};

/// An operating system.
#[derive(Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The name in os-release, in boot menus and in file names.
    pub name: &'static str,
    /// The first major version.
    pub first_major: u64,
    /// The last major version.
    pub last_major: u64,
    /// `HOME_URL` of os-release.
    pub home_url: &'static str,
    /// `BUG_REPORT_URL` of os-release.
    pub bug_report_url: &'static str,
    /// `VENDOR_NAME` of os-release.
    pub vendor_name: &'static str,
    /// `VENDOR_URL` of os-release.
    pub vendor_url: &'static str,
    /// Whether its versions have the quirks of Talos; else they have the newest.
    has_past: bool,
    /// Whether every machine boots with systemd-boot; else it depends on architecture and version.
    sd_boot_only: bool,
}

/// All of them, by version.
static DISTRIBUTIONS: [Distribution; 2] = [
    Distribution {
        name: "Talos",
        first_major: 0,
        last_major: 1,
        home_url: "https://www.talos.dev/",
        bug_report_url: "https://github.com/siderolabs/talos/issues",
        vendor_name: "Sidero Labs",
        vendor_url: "https://www.siderolabs.com/",
        has_past: true,
        sd_boot_only: false,
    },
    // What the seed makes: the major version is that of the suite (12 bookworm, 13 trixie).
    Distribution {
        name: "Debian",
        first_major: 12,
        last_major: u64::MAX,
        home_url: "https://www.debian.org/",
        bug_report_url: "https://bugs.debian.org/",
        vendor_name: "Debian",
        vendor_url: "https://www.debian.org/",
        has_past: false,
        sd_boot_only: true,
    },
];

impl Distribution {
    /// The distribution that `version` is a version of.
    ///
    /// # Errors
    /// `VersionNotAvailable` where no distribution has such a version.
    pub fn of(version: &Version) -> Result<&'static Self, Error> {
        let (major, ..) = version.release();
        DISTRIBUTIONS
            .iter()
            .find(|d| (d.first_major..=d.last_major).contains(&major))
            .ok_or_else(|| Error::VersionNotAvailable { version: version.clone(), nearest: Vec::new() })
    }

    /// What is particular about `version`.
    pub const fn quirks(&self, version: &Version) -> Quirks {
        if self.has_past { Quirks::of(version) } else { Quirks::newest() }
    }

    /// The boot loader of disk images where neither secure boot nor the user decides.
    pub fn default_bootloader(&self, version: &Version, arch: Arch) -> Bootloader {
        let quirks = self.quirks(version);
        if self.sd_boot_only || (arch == Arch::Arm64 && quirks.boots_uefi_with_sd_boot()) {
            Bootloader::SdBoot
        } else if quirks.boots_uefi_with_sd_boot() {
            Bootloader::DualBoot
        } else {
            Bootloader::Grub
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_tells_the_distribution() {
        for (version, name) in
            [("1.2.0", "Talos"), ("v1.15.0", "Talos"), ("v12.11.0", "Debian"), ("13.1.0", "Debian")]
        {
            assert_eq!(Distribution::of(&version.parse().unwrap()).unwrap().name, name);
        }
        let error = Distribution::of(&"5.0.0".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "version 5.0.0 is not available");
    }

    #[test]
    fn the_boot_loader_follows_version_and_architecture() {
        for (version, arch, bootloader) in [
            ("1.9.0", Arch::Amd64, Bootloader::Grub),
            ("1.9.0", Arch::Arm64, Bootloader::Grub),
            ("1.10.0", Arch::Amd64, Bootloader::DualBoot),
            ("1.10.0", Arch::Arm64, Bootloader::SdBoot),
            ("12.0.0", Arch::Amd64, Bootloader::SdBoot),
            ("13.1.0", Arch::Arm64, Bootloader::SdBoot),
        ] {
            let version = version.parse().unwrap();
            let distribution = Distribution::of(&version).unwrap();
            assert_eq!(distribution.default_bootloader(&version, arch), bootloader, "{version} {arch}");
        }
    }
}
