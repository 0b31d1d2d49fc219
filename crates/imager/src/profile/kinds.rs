//! The enumerations of a profile, with the names and the zero values that the reference gives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// Defines an enumeration by its names: the first variant is the zero value. Any letter case is read.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident($field:literal) { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            #[default]
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, the zero value first.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Whether this is the zero value, which a profile leaves out.
            pub fn is_zero(&self) -> bool {
                *self == Self::default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::ALL.iter().copied().find(|value| value.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
                    Error::Value {
                        field: $field,
                        value: crate::error::shown(text),
                        allowed: Self::ALL.iter().map(|value| value.name()).collect(),
                    }
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

names! {
    /// What is made.
    OutputKind("output kind") {
        /// Not said.
        Unset = "unknown",
        /// An ISO 9660 image.
        Iso = "iso",
        /// A disk image.
        Image = "image",
        /// An installer image.
        Installer = "installer",
        /// The kernel.
        Kernel = "kernel",
        /// The initramfs.
        Initramfs = "initramfs",
        /// A unified kernel image.
        Uki = "uki",
        /// The kernel command line.
        Cmdline = "cmdline",
    }
}

names! {
    /// How the file that is made is packed.
    OutFormat("output format") {
        /// Not said.
        Unset = "unknown",
        /// Not at all.
        Raw = "raw",
        /// A gzipped tar archive that holds `disk.raw`.
        TarGz = ".tar.gz",
        /// One xz stream.
        Xz = ".xz",
        /// One gzip member.
        Gz = ".gz",
        /// One zstd frame.
        Zst = ".zst",
    }
}

names! {
    /// The container of a disk image.
    DiskFormat("disk format") {
        /// Not said.
        Unset = "unknown",
        /// The disk, byte for byte.
        Raw = "raw",
        /// QEMU's copy-on-write format, version 2.
        Qcow2 = "qcow2",
        /// Microsoft's virtual hard disk.
        Vhd = "vhd",
        /// VMware's appliance: a tar archive with a VMDK.
        Ova = "ova",
    }
}

names! {
    /// What starts the kernel.
    Bootloader("bootloader") {
        /// Not said.
        Unset = "none",
        /// GRUB for BIOS, systemd-boot for UEFI.
        DualBoot = "dual-boot",
        /// systemd-boot.
        SdBoot = "sd-boot",
        /// GRUB.
        Grub = "grub",
    }
}

names! {
    /// When systemd-boot enrols the secure boot keys it finds.
    EnrollKeys("secureboot enrollKeys") {
        /// In a virtual machine that is in setup mode.
        IfSafe = "if-safe",
        /// When it is chosen from the menu.
        Manual = "manual",
        /// Whenever the machine is in setup mode.
        Force = "force",
        /// Never.
        Off = "off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_letter_case_is_read() {
        assert_eq!("GRUB".parse::<Bootloader>().unwrap(), Bootloader::Grub);
        assert_eq!(".TAR.gz".parse::<OutFormat>().unwrap(), OutFormat::TarGz);
    }

    #[test]
    fn a_wrong_value_is_answered_with_the_right_ones() {
        assert_eq!(
            "bogus".parse::<EnrollKeys>().unwrap_err().to_string(),
            "invalid secureboot enrollKeys value \"bogus\": it is one of `if-safe`, `manual`, `force`, `off`"
        );
    }
}
