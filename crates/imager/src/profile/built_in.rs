//! The built-in profiles.
//!
//! Source: `pkg/imager/profile/default.go` of Talos, as facts.

use super::{DiskFormat, ImageOptions, IsoOptions, OutFormat, Output, OutputKind, Profile};
use crate::Platform;

/// One built-in profile.
#[derive(Debug)]
pub struct BuiltIn {
    /// The name; those that begin with `secureboot-` are signed.
    pub name: &'static str,
    /// The platform.
    pub platform: Platform,
    /// What is made.
    pub kind: OutputKind,
    /// How it is packed.
    pub out_format: OutFormat,
    /// Length of the disk in bytes, before room for boot files is added; 0 where there is no disk.
    pub disk_len: u64,
    /// The container of the disk.
    pub disk_format: DiskFormat,
    /// Options of the container.
    pub disk_format_options: &'static str,
    /// Bytes in a sector; 0 means 512.
    pub sector_size: u64,
}

/// The smallest disk a system is installed to: the partitions with room for one generation of boot files.
const MIN: u64 = 1246 << 20;
/// The disk of clouds that do not grow it.
pub(crate) const DEFAULT: u64 = 8192 << 20;
/// The smallest disk of Exoscale.
const EXOSCALE: u64 = 10240 << 20;

pub(crate) const QCOW2_OPTIONS: &str = "cluster_size=8k";
const VHD_OPTIONS: &str = "subformat=fixed,force_size";

const fn raw(name: &'static str, platform: Platform, out_format: OutFormat, disk_len: u64) -> BuiltIn {
    image(name, platform, out_format, disk_len, DiskFormat::Raw, "")
}

const fn image(
    name: &'static str,
    platform: Platform,
    out_format: OutFormat,
    disk_len: u64,
    disk_format: DiskFormat,
    disk_format_options: &'static str,
) -> BuiltIn {
    let kind = OutputKind::Image;
    BuiltIn { name, platform, kind, out_format, disk_len, disk_format, disk_format_options, sector_size: 0 }
}

const fn metal(name: &'static str, kind: OutputKind) -> BuiltIn {
    BuiltIn {
        name,
        platform: Platform::Metal,
        kind,
        out_format: OutFormat::Raw,
        disk_len: 0,
        disk_format: DiskFormat::Unset,
        disk_format_options: "",
        sector_size: 0,
    }
}

use DiskFormat::{Ova, Qcow2, Vhd};
use OutFormat::{Gz, Raw, TarGz, Zst};
use OutputKind::{Installer, Iso, Uki};
use Platform as P;

/// The built-in profiles, in order of name.
#[rustfmt::skip]
pub static BUILT_IN: [BuiltIn; 32] = [
    raw("akamai", P::Akamai, Gz, MIN),
    image("alibabacloud", P::Alibabacloud, Raw, MIN, Qcow2, QCOW2_OPTIONS),
    raw("aws", P::Aws, Zst, DEFAULT),
    image("azure", P::Azure, Zst, DEFAULT, Vhd, VHD_OPTIONS),
    raw("cloudstack", P::Cloudstack, Zst, DEFAULT),
    raw("digital-ocean", P::DigitalOcean, Gz, DEFAULT),
    image("exoscale", P::Exoscale, Zst, EXOSCALE, Qcow2, QCOW2_OPTIONS),
    raw("gcp", P::Gcp, TarGz, DEFAULT),
    raw("hcloud", P::Hcloud, Zst, MIN),
    metal("installer", Installer),
    metal("iso", Iso),
    raw("metal", P::Metal, Zst, MIN),
    BuiltIn { sector_size: 4096, ..raw("metal-4k", P::Metal, Zst, MIN) },
    metal("metal-uki", Uki),
    raw("nocloud", P::Nocloud, Zst, MIN),
    raw("opennebula", P::Opennebula, Zst, MIN),
    raw("openstack", P::Openstack, Zst, MIN),
    image("oracle", P::Oracle, Zst, DEFAULT, Qcow2, QCOW2_OPTIONS),
    raw("scaleway", P::Scaleway, Zst, MIN),
    image("secureboot-azure", P::Azure, Zst, DEFAULT, Vhd, VHD_OPTIONS),
    raw("secureboot-cloudstack", P::Cloudstack, Zst, DEFAULT),
    metal("secureboot-installer", Installer),
    metal("secureboot-iso", Iso),
    raw("secureboot-metal", P::Metal, Zst, MIN),
    metal("secureboot-metal-uki", Uki),
    raw("secureboot-nocloud", P::Nocloud, Zst, MIN),
    raw("secureboot-opennebula", P::Opennebula, Zst, MIN),
    raw("secureboot-openstack", P::Openstack, Zst, MIN),
    image("secureboot-vmware", P::Vmware, Raw, DEFAULT, Ova, ""),
    raw("upcloud", P::Upcloud, Zst, DEFAULT),
    image("vmware", P::Vmware, Raw, DEFAULT, Ova, ""),
    raw("vultr", P::Vultr, Zst, DEFAULT),
];

impl BuiltIn {
    /// Whether the output is signed.
    pub fn is_secure_boot(&self) -> bool {
        self.name.starts_with("secureboot-")
    }

    /// The row as a profile.
    pub(super) fn profile(&self) -> Profile {
        let image_options = (self.kind == OutputKind::Image).then(|| ImageOptions {
            disk_len: self.disk_len,
            disk_format: self.disk_format,
            disk_format_options: self.disk_format_options.to_owned(),
            sector_size: self.sector_size,
            ..ImageOptions::default()
        });
        // The reference says when to enrol keys only where there are keys.
        let iso_options = (self.kind == Iso && self.is_secure_boot()).then(IsoOptions::default);
        Profile {
            platform: self.platform.name().to_owned(),
            secure_boot: Some(self.is_secure_boot()),
            output: Output { kind: self.kind, image_options, iso_options, out_format: self.out_format },
            ..Profile::default()
        }
    }
}

/// The unsigned disk image that is built in for `platform`.
pub(crate) fn disk_of(platform: Platform) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|row| row.name == platform.name() && row.kind == OutputKind::Image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_each_once() {
        assert!(BUILT_IN.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let error = Profile::built_in("metal-5k").unwrap_err().to_string();
        assert!(error.starts_with("there is no profile `metal-5k`, did you mean `metal-4k`"), "{error}");
    }
}
