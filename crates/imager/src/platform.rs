//! Platforms: where a machine runs, and the kernel arguments that follow.
//!
//! Source: the platform table of Talos (`internal/app/machined/pkg/runtime/v1alpha1/platform`), as facts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Arch, Error, Quirks};

/// A platform, by the name in asset paths and in `talos.platform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the name says all there is to say")]
pub enum Platform {
    Akamai,
    Alibabacloud,
    Aws,
    Azure,
    Cloudstack,
    Container,
    DigitalOcean,
    EquinixMetal,
    Exoscale,
    Gcp,
    Hcloud,
    Metal,
    Nocloud,
    Opennebula,
    Openstack,
    Oracle,
    Scaleway,
    Upcloud,
    Vmware,
    Vultr,
}

/// The consoles of most clouds.
const CLOUD: &[&str] = &["console=tty1", "console=ttyS0", "net.ifnames=0"];
/// The dashboard would write over what the cloud's console shows.
const NO_DASHBOARD: &str = "talos.dashboard.disabled=1";
/// Hypervisors that cannot kexec.
const NO_KEXEC: &str = "sysctl.kernel.kexec_load_disabled=1";
/// EBS volumes answer late; the kernel must not give them up.
pub(crate) const NVME_TIMEOUT: &str = "nvme_core.io_timeout=4294967295";

impl Platform {
    /// Every platform, in order of name.
    pub const ALL: [Self; 20] = [
        Self::Akamai,
        Self::Alibabacloud,
        Self::Aws,
        Self::Azure,
        Self::Cloudstack,
        Self::Container,
        Self::DigitalOcean,
        Self::EquinixMetal,
        Self::Exoscale,
        Self::Gcp,
        Self::Hcloud,
        Self::Metal,
        Self::Nocloud,
        Self::Opennebula,
        Self::Openstack,
        Self::Oracle,
        Self::Scaleway,
        Self::Upcloud,
        Self::Vmware,
        Self::Vultr,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Akamai => "akamai",
            Self::Alibabacloud => "alibabacloud",
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Cloudstack => "cloudstack",
            Self::Container => "container",
            Self::DigitalOcean => "digital-ocean",
            Self::EquinixMetal => "equinixMetal",
            Self::Exoscale => "exoscale",
            Self::Gcp => "gcp",
            Self::Hcloud => "hcloud",
            Self::Metal => "metal",
            Self::Nocloud => "nocloud",
            Self::Opennebula => "opennebula",
            Self::Openstack => "openstack",
            Self::Oracle => "oracle",
            Self::Scaleway => "scaleway",
            Self::Upcloud => "upcloud",
            Self::Vmware => "vmware",
            Self::Vultr => "vultr",
        }
    }

    /// The kernel arguments of the platform, in order.
    pub fn kernel_args(self, arch: Arch, quirks: Quirks) -> Vec<&'static str> {
        let mut args = Vec::new();
        match self {
            Self::Container => {}
            Self::Metal => match arch {
                Arch::Amd64 if quirks.metal_has_serial_console() => {
                    args.extend(["console=ttyS0", "console=tty0"]);
                }
                Arch::Amd64 => args.push("console=tty0"),
                Arch::Arm64 => args.extend(["console=ttyAMA0", "console=tty0"]),
            },
            Self::Akamai | Self::DigitalOcean => {
                args.extend(["console=ttyS0", "console=tty0", "console=tty1", "net.ifnames=0"]);
            }
            Self::Alibabacloud
            | Self::Cloudstack
            | Self::Exoscale
            | Self::Hcloud
            | Self::Nocloud
            | Self::Opennebula
            | Self::Openstack => args.extend(CLOUD),
            Self::Aws => {
                args.extend(CLOUD);
                if quirks.limits_nvme_timeout_to_aws() {
                    args.push(NVME_TIMEOUT);
                }
            }
            Self::Oracle | Self::Scaleway => {
                args.extend(CLOUD);
                args.push(NO_DASHBOARD);
            }
            Self::Azure => args.extend([
                "console=ttyS0,115200n8",
                "earlyprintk=ttyS0,115200",
                "rootdelay=300",
                "net.ifnames=0",
                NO_DASHBOARD,
                NO_KEXEC,
            ]),
            Self::Gcp => args.extend(["console=ttyS0", "net.ifnames=0", NO_DASHBOARD, NO_KEXEC]),
            Self::Vmware => {
                args.extend(["talos.config=guestinfo", "console=tty0"]);
                match arch {
                    Arch::Amd64 => args.extend(["console=ttyS0", "earlyprintk=ttyS0,115200"]),
                    Arch::Arm64 => args.push("console=ttyAMA0"),
                }
                args.push("net.ifnames=0");
            }
            Self::Upcloud | Self::Vultr => args.push("net.ifnames=0"),
            Self::EquinixMetal => args.push(match arch {
                Arch::Amd64 => "console=ttyS1,115200n8",
                Arch::Arm64 => "console=ttyAMA0,115200",
            }),
        }
        args
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The name that Equinix Metal had before it was bought.
        if text == "packet" {
            return Ok(Self::EquinixMetal);
        }
        Self::ALL.into_iter().find(|p| p.name() == text).ok_or_else(|| Error::Platform {
            text: crate::error::shown(text),
            nearest: crate::error::nearest(text, Self::ALL.into_iter().map(Self::name), 1),
        })
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_text_and_packet_is_equinix_metal() {
        for platform in Platform::ALL {
            assert_eq!(platform.name().parse::<Platform>().unwrap(), platform);
        }
        assert_eq!("packet".parse::<Platform>().unwrap(), Platform::EquinixMetal);
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let error = "metall".parse::<Platform>().unwrap_err();
        assert_eq!(error.to_string(), "invalid platform: \"metall\", did you mean `metal`?");
        let error = "zzzzzzzzzz".parse::<Platform>().unwrap_err();
        assert_eq!(error.to_string(), "invalid platform: \"zzzzzzzzzz\"");
    }

    #[test]
    fn arguments_depend_on_architecture_and_version() {
        let args = |platform: Platform, arch, version: &str| {
            platform.kernel_args(arch, Quirks::of(&version.parse().unwrap())).join(" ")
        };
        for (platform, arch, version, expected) in [
            (Platform::Metal, Arch::Amd64, "1.7.0", "console=ttyS0 console=tty0"),
            (Platform::Metal, Arch::Amd64, "1.8.0", "console=tty0"),
            (Platform::Metal, Arch::Arm64, "1.8.0", "console=ttyAMA0 console=tty0"),
            (Platform::Aws, Arch::Amd64, "1.13.0", "console=tty1 console=ttyS0 net.ifnames=0"),
            (
                Platform::Aws,
                Arch::Amd64,
                "1.14.0",
                "console=tty1 console=ttyS0 net.ifnames=0 nvme_core.io_timeout=4294967295",
            ),
            (
                Platform::Vmware,
                Arch::Arm64,
                "1.14.0",
                "talos.config=guestinfo console=tty0 console=ttyAMA0 net.ifnames=0",
            ),
            (Platform::EquinixMetal, Arch::Amd64, "1.5.0", "console=ttyS1,115200n8"),
            (Platform::Container, Arch::Amd64, "1.5.0", ""),
        ] {
            assert_eq!(args(platform, arch, version), expected, "{platform} {arch} {version}");
        }
    }
}
