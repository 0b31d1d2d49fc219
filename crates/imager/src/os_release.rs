//! The os-release text of a UKI, from which boot menus take their titles.
//!
//! Source: os-release(5); `pkg/imager/uki` of Talos, as facts.

use crate::{Distribution, Version};

/// Eight lines about `version` of `distribution`.
pub fn os_release(distribution: &Distribution, version: &Version) -> String {
    let Distribution { name, home_url, bug_report_url, vendor_name, vendor_url, .. } = distribution;
    let id = name.to_lowercase().replace(' ', "_");
    format!(
        "NAME=\"{name}\"\n\
         ID={id}\n\
         VERSION_ID={version}\n\
         PRETTY_NAME=\"{name} ({version})\"\n\
         HOME_URL=\"{home_url}\"\n\
         BUG_REPORT_URL=\"{bug_report_url}\"\n\
         VENDOR_NAME=\"{vendor_name}\"\n\
         VENDOR_URL=\"{vendor_url}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_references() {
        let version = "1.9.0".parse().unwrap();
        assert_eq!(
            os_release(Distribution::of(&version).unwrap(), &version),
            "NAME=\"Talos\"\nID=talos\nVERSION_ID=v1.9.0\nPRETTY_NAME=\"Talos (v1.9.0)\"\n\
             HOME_URL=\"https://www.talos.dev/\"\n\
             BUG_REPORT_URL=\"https://github.com/siderolabs/talos/issues\"\n\
             VENDOR_NAME=\"Sidero Labs\"\nVENDOR_URL=\"https://www.siderolabs.com/\"\n"
        );
    }

    #[test]
    fn debian_has_its_own() {
        let version = "13.1.0".parse().unwrap();
        let text = os_release(Distribution::of(&version).unwrap(), &version);
        assert!(text.starts_with("NAME=\"Debian\"\nID=debian\nVERSION_ID=v13.1.0\n"), "{text}");
    }
}
