//! Architectures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// A machine architecture, by the name that OCI images and asset paths give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Arch {
    /// Every architecture, in order of name.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The name: `amd64`, `arm64`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The file that UEFI firmware loads from a disk that has no boot entry, as the reference spells it.
    ///
    /// Source: UEFI 2.10, §3.5.1.1; FAT names ignore case.
    pub const fn boot_file(self) -> &'static str {
        match self {
            Self::Amd64 => "BOOTX64.efi",
            Self::Arm64 => "BOOTAA64.efi",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = Error;

    /// Takes the names and what iPXE's `${buildarch}` says on x86 machines.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "amd64" | "x86_64" | "i386" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            _ => Err(Error::Arch { text: crate::error::shown(text) }),
        }
    }
}

impl Serialize for Arch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Arch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_the_architecture_they_name() {
        for (text, arch) in
            [("amd64", Arch::Amd64), ("x86_64", Arch::Amd64), ("i386", Arch::Amd64), ("arm64", Arch::Arm64)]
        {
            assert_eq!(text.parse::<Arch>().unwrap(), arch);
        }
    }

    #[test]
    fn anything_else_is_quoted_in_the_error() {
        for text in ["foo", "", "AMD64", "aarch64", "rpi_generic-arm64"] {
            let error = text.parse::<Arch>().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid architecture: {text:?}"));
        }
    }
}
