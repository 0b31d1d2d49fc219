//! Suites and architectures: what of Debian the seed knows.

use std::fmt;
use std::str::FromStr;

/// A stable suite of Debian. Its updates and its security updates belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Debian 12, Linux 6.1.
    Bookworm,
    /// Debian 13, Linux 6.12.
    Trixie,
}

/// An architecture, by Debian's name for it, which is also the factory's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

/// A word that names no suite or no architecture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{word}` is no {kind}: there are {known}")]
pub struct NameError {
    word: String,
    kind: &'static str,
    known: &'static str,
}

impl Suite {
    /// All of them, the newest last.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];
    /// The one to seed where nothing else is asked for.
    pub const NEWEST: Self = Self::Trixie;

    /// The code name, as in the archive's `dists/`.
    pub const fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The major version of Debian.
    pub const fn major(self) -> u64 {
        match self {
            Self::Bookworm => 12,
            Self::Trixie => 13,
        }
    }
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The architecture this program runs on, if it is one of them.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Debian's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The package that depends on the newest kernel.
    pub(crate) const fn kernel_metapackage(self) -> &'static str {
        match self {
            Self::Amd64 => "linux-image-amd64",
            Self::Arm64 => "linux-image-arm64",
        }
    }

    /// How UEFI names the architecture in file names.
    ///
    /// Source: UEFI specification 2.10, §3.5.1.1, table of removable media boot behaviour.
    pub(crate) const fn efi_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x64",
            Self::Arm64 => "aa64",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codename())
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = NameError;

    fn from_str(word: &str) -> Result<Self, NameError> {
        let known = "`bookworm` and `trixie`";
        Self::ALL.into_iter().find(|suite| suite.codename() == word).ok_or_else(|| NameError {
            word: word.chars().take(80).collect(),
            kind: "suite",
            known,
        })
    }
}

impl FromStr for Arch {
    type Err = NameError;

    fn from_str(word: &str) -> Result<Self, NameError> {
        let known = "`amd64` and `arm64`";
        Self::ALL.into_iter().find(|arch| arch.name() == word).ok_or_else(|| NameError {
            word: word.chars().take(80).collect(),
            kind: "architecture",
            known,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_text_and_others_are_refused() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse(), Ok(suite));
        }
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
        }
        let error = "buster".parse::<Suite>().unwrap_err();
        assert_eq!(error.to_string(), "`buster` is no suite: there are `bookworm` and `trixie`");
        assert!("x86_64".parse::<Arch>().is_err());
    }
}
