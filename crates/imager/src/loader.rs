//! What systemd-boot reads.
//!
//! Source: loader.conf(5); `pkg/imager` of Talos, as facts.

use crate::profile::EnrollKeys;

/// `loader/loader.conf` of a disk: the menu waits ten seconds. `enroll` only where there are keys.
pub fn loader_conf(enroll: Option<EnrollKeys>) -> String {
    let mut text = "# systemd-boot configuration\n\ntimeout 10\n".to_owned();
    if let Some(mode) = enroll {
        text += "\nsecure-boot-enroll ";
        text += mode.name();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_enrolled_only_when_said() {
        assert_eq!(loader_conf(None), "# systemd-boot configuration\n\ntimeout 10\n");
        assert_eq!(
            loader_conf(Some(EnrollKeys::Force)),
            "# systemd-boot configuration\n\ntimeout 10\n\nsecure-boot-enroll force\n"
        );
    }
}
