//! Names of installer images: `installer` or `<platform>-installer`, with `-secureboot` behind it.
//!
//! Source: the reference's registry frontend, as facts.

use std::fmt;

use crate::{Arch, Asset, Error};

const INSTALLER: &str = "installer";
const SECURE_BOOT: &str = "-secureboot";

/// The name of an installer image, without the schematic: `aws-installer`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstallerName {
    /// Empty for metal.
    platform: String,
    secure_boot: bool,
}

impl InstallerName {
    /// The name that `text` is. Whether there is such a platform, [`Self::asset`] says.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, secure_boot) = match text.strip_suffix(SECURE_BOOT) {
            Some(name) => (name, true),
            None => (text, false),
        };
        let platform = name.strip_suffix(INSTALLER)?;
        let platform = match platform.strip_suffix('-') {
            Some(platform) => platform.to_owned(),
            None if platform.is_empty() => String::new(),
            None => return None,
        };
        Some(Self { platform, secure_boot })
    }

    /// The installer for `arch`.
    ///
    /// # Errors
    /// The platform is not known, or has no such architecture.
    pub fn asset(&self, arch: Arch) -> Result<Asset, Error> {
        let dash = if self.platform.is_empty() { "" } else { "-" };
        let signed = if self.secure_boot { SECURE_BOOT } else { "" };
        format!("{}{dash}{INSTALLER}-{arch}{signed}.tar", self.platform).parse()
    }
}

impl fmt::Display for InstallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dash = if self.platform.is_empty() { "" } else { "-" };
        let signed = if self.secure_boot { SECURE_BOOT } else { "" };
        write!(f, "{}{dash}{INSTALLER}{signed}", self.platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        for name in
            ["installer", "installer-secureboot", "aws-installer", "digital-ocean-installer-secureboot"]
        {
            assert_eq!(InstallerName::parse(name).unwrap().to_string(), name);
        }
        for other in ["xinstaller", "installer-x", "", "installer-secureboot-secureboot"] {
            assert_eq!(InstallerName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_leads_to_the_asset_of_an_architecture() {
        let asset = |name| InstallerName::parse(name).unwrap().asset(Arch::Arm64).map(|a| a.to_string());
        assert_eq!(asset("installer").unwrap(), "installer-arm64.tar");
        assert_eq!(asset("aws-installer-secureboot").unwrap(), "aws-installer-arm64-secureboot.tar");
        assert!(asset("nowhere-installer").is_err());
    }
}
