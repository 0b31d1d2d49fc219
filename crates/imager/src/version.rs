//! Versions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// The longest version, as it is written, with its `v`: a tag of an OCI image is no longer.
///
/// Source: OCI distribution specification 1.1, `<reference>` as a tag.
const VERSION_LEN_MAX: usize = 128;

/// The version of a distribution: a semantic version. Written with a `v`, as image tags are; read with or
/// without it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    /// The release `v<major>.<minor>.<patch>`.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }

    /// Major, minor and patch: all that quirks depend on.
    pub const fn release(&self) -> (u64, u64, u64) {
        (self.0.major, self.0.minor, self.0.patch)
    }

    /// Whether this comes before the release of its number (`v1.14.0-beta.1`).
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// The text without `v`.
    pub fn bare(&self) -> String {
        self.0.to_string()
    }

    /// The semantic version itself.
    pub const fn semver(&self) -> &semver::Version {
        &self.0
    }

    /// The `count` versions among `all` that are closest to this one, the closest first: same minor before
    /// same major before the rest.
    pub fn nearest(&self, all: &[Self], count: usize) -> Vec<Self> {
        let (major, minor, patch) = self.release();
        let mut sorted = all.to_vec();
        sorted.sort_by_key(|v| {
            let (a, b, c) = v.release();
            let distance = (a.abs_diff(major), b.abs_diff(minor), c.abs_diff(patch));
            (distance, std::cmp::Reverse(v.clone()))
        });
        sorted.truncate(count);
        sorted
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            |reason: &str| Error::Version { text: crate::error::shown(text), reason: reason.to_owned() };
        let bare = text.strip_prefix('v').unwrap_or(text);
        if bare.len() >= VERSION_LEN_MAX {
            return Err(wrong("it is longer than an image tag can be"));
        }
        match semver::Version::parse(bare) {
            Ok(version) => Ok(Self(version)),
            Err(_) if bare.is_empty() => Err(wrong("it is empty")),
            Err(_) if is_short(bare) => Err(wrong("it needs three numbers")),
            Err(error) => Err(wrong(&error.to_string())),
        }
    }
}

/// Whether `text` is one number or two: what people write when they mean a release line.
fn is_short(text: &str) -> bool {
    let numbers: Vec<&str> = text.split('.').collect();
    numbers.len() < 3 && numbers.iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v_is_optional_in_and_certain_out() {
        for (text, shown) in [
            ("1.10.0", "v1.10.0"),
            ("v1.10.0", "v1.10.0"),
            ("v1.14.0-beta.1", "v1.14.0-beta.1"),
            ("13.1.0+git.5", "v13.1.0+git.5"),
        ] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn the_longest_version_is_read_again_as_it_is_written() {
        // Found by fuzzing: without its `v` a version was accepted that is one byte too long with it.
        let longest = format!("1.3.0-{}", "a".repeat(121));
        for text in [longest.clone(), format!("v{longest}")] {
            let version: Version = text.parse().unwrap();
            assert_eq!(version.to_string().len(), VERSION_LEN_MAX);
            assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
        for text in [format!("{longest}a"), format!("v{longest}a")] {
            let error = text.parse::<Version>().unwrap_err().to_string();
            assert!(error.contains("longer than an image tag"), "{error}");
        }
    }

    #[test]
    fn a_wrong_version_says_what_is_wrong() {
        for (text, expected) in [
            ("foo", "unexpected character"),
            ("", "it is empty"),
            ("v13", "it needs three numbers"),
            ("13.1", "it needs three numbers"),
            ("v01.2.3", "leading zero"),
            ("vv1.2.3", "unexpected character"),
            ("1.2.3 ", "unexpected character"),
            ("1.2.3/../..", "unexpected character"),
        ] {
            let error = text.parse::<Version>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("as in `v13.1.0`"), "{error}");
        }
        let long = format!("1.2.3-{}", "a".repeat(200));
        assert!(long.parse::<Version>().unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn nearest_prefers_the_same_minor_then_the_same_major() {
        let all: Vec<Version> =
            ["v1.9.5", "v1.10.1", "v1.10.2", "v12.11.0", "v13.1.0"].map(|v| v.parse().unwrap()).to_vec();
        let near = |text: &str| -> Vec<String> {
            text.parse::<Version>().unwrap().nearest(&all, 2).iter().map(ToString::to_string).collect()
        };
        assert_eq!(near("1.10.9"), ["v1.10.2", "v1.10.1"]);
        assert_eq!(near("13.9.0"), ["v13.1.0", "v12.11.0"]);
        assert_eq!(near("v1.9.4"), ["v1.9.5", "v1.10.2"]);
    }
}
