//! Ranges of versions, as manifests write them.
//!
//! Comparisons joined by spaces all hold, those joined by `||` hold one for the other. A version is
//! `major.minor.patch`, with a `v` in front if need be; `x` in place of the last numbers stands for any.
//!
//! Source: the range syntax of Go's `github.com/blang/semver` v4.

use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// A range of versions. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    text: String,
    /// One of these lists must hold whole; no list at all holds for any version.
    alternatives: Vec<Vec<Comparison>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Comparison {
    Below(Version),
    UpTo(Version),
    Exactly(Version),
    Not(Version),
    From(Version),
    Above(Version),
    /// From the first on, below the second: `1.x`.
    Within(Version, Version),
    /// Any other: `!= 1.x`.
    Outside(Version, Version),
}

impl Range {
    /// Whether `version` is in the range; its pre-release and build do not count.
    pub fn contains(&self, version: &Version) -> bool {
        let version = Version::new(version.major, version.minor, version.patch);
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|all| all.iter().all(|comparison| comparison.holds(&version)))
    }
}

impl Comparison {
    fn holds(&self, version: &Version) -> bool {
        let order = |other: &Version| version.cmp_precedence(other);
        match self {
            Self::Below(bound) => order(bound).is_lt(),
            Self::UpTo(bound) => order(bound).is_le(),
            Self::Exactly(bound) => order(bound).is_eq(),
            Self::Not(bound) => order(bound).is_ne(),
            Self::From(bound) => order(bound).is_ge(),
            Self::Above(bound) => order(bound).is_gt(),
            Self::Within(first, end) => order(first).is_ge() && order(end).is_lt(),
            Self::Outside(first, end) => order(first).is_lt() || order(end).is_ge(),
        }
    }
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |at: &str, reason| Error::Range {
            range: text.chars().take(200).collect(),
            at: at.chars().take(80).collect(),
            reason,
        };
        if text.trim().is_empty() {
            return Ok(Self { text: text.to_owned(), alternatives: vec![] });
        }
        let mut alternatives = vec![];
        for part in text.split("||") {
            let mut all = vec![];
            let mut words = part.split_whitespace();
            while let Some(word) = words.next() {
                let start = word.find(|c: char| !"<>=!".contains(c)).unwrap_or(word.len());
                let (operator, mut version) = word.split_at(start);
                if version.is_empty() {
                    version = words.next().ok_or_else(|| wrong(word, "a version is missing"))?;
                }
                all.push(comparison(operator, version).map_err(|(at, reason)| wrong(at, reason))?);
            }
            if all.is_empty() {
                return Err(wrong("||", "a side is empty"));
            }
            alternatives.push(all);
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }
}

fn comparison<'a>(operator: &'a str, text: &'a str) -> Result<Comparison, (&'a str, &'static str)> {
    let version = text.strip_prefix('v').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let version = version.unwrap_or(text);
    let bounds = wildcard(version).map_err(|reason| (text, reason))?;
    let (first, end) = match bounds {
        Some((first, end)) => (first, Some(end)),
        None => (version.parse().map_err(|_| (text, "not a version `major.minor.patch`"))?, None),
    };
    Ok(match (operator, end) {
        ("<", _) => Comparison::Below(first),
        (">=", _) => Comparison::From(first),
        ("<=", None) => Comparison::UpTo(first),
        ("<=", Some(end)) => Comparison::Below(end),
        (">", None) => Comparison::Above(first),
        (">", Some(end)) => Comparison::From(end),
        ("" | "=" | "==", None) => Comparison::Exactly(first),
        ("" | "=" | "==", Some(end)) => Comparison::Within(first, end),
        ("!" | "!=", None) => Comparison::Not(first),
        ("!" | "!=", Some(end)) => Comparison::Outside(first, end),
        _ => return Err((operator, "no such comparison")),
    })
}

/// The first version that `1.x`, `1.x.x` or `1.2.x` stands for, and the first behind those.
fn wildcard(text: &str) -> Result<Option<(Version, Version)>, &'static str> {
    const WRONG: &str = "not a version with `x` for its last numbers";
    let parts: Vec<&str> = text.split('.').collect();
    if parts.last() != Some(&"x") {
        return Ok(None);
    }
    let number = |text: &str| match text.parse::<u64>() {
        Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => {
            Ok((number, number.checked_add(1).ok_or(WRONG)?))
        }
        _ => Err(WRONG),
    };
    match parts[..] {
        [major, "x"] | [major, "x", "x"] => {
            let (major, next) = number(major)?;
            Ok(Some((Version::new(major, 0, 0), Version::new(next, 0, 0))))
        }
        [major, minor, "x"] => {
            let ((major, _), (minor, next)) = (number(major)?, number(minor)?);
            Ok(Some((Version::new(major, minor, 0), Version::new(major, next, 0))))
        }
        _ => Err(WRONG),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_holds_what_it_says() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            ("", &["0.0.0", "99.1.2"], &[]),
            (">= 1.0.0", &["1.0.0", "1.0.0-alpha.1", "13.1.0"], &["0.9.9"]),
            (">=v1.5.0", &["1.5.0", "1.5.0+build"], &["1.4.9"]),
            ("> 1.2.3", &["1.2.4"], &["1.2.3"]),
            ("<= 1.2.3", &["1.2.3", "1.2.2"], &["1.2.4"]),
            ("<1.2.3", &["1.2.2"], &["1.2.3"]),
            ("1.2.3", &["1.2.3"], &["1.2.4"]),
            ("= 1.2.3", &["1.2.3"], &["1.2.2"]),
            ("==1.2.3", &["1.2.3"], &["1.2.2"]),
            ("!1.2.3", &["1.2.4"], &["1.2.3"]),
            ("!= v1.2.3", &["1.2.4"], &["1.2.3"]),
            (">= 1.8.0 < 1.10.0 || >= 2.0.0", &["1.8.0", "1.9.9", "2.0.0"], &["1.7.9", "1.10.0", "1.99.0"]),
            ("1.x", &["1.0.0", "1.99.1"], &["0.9.0", "2.0.0"]),
            ("1.x.x", &["1.0.0", "1.99.1"], &["2.0.0"]),
            ("1.2.x", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.9"]),
            ("> 1.x", &["2.0.0"], &["1.9.9"]),
            (">= 1.x", &["1.0.0", "2.0.0"], &["0.9.9"]),
            ("< 1.2.x", &["1.1.9"], &["1.2.0"]),
            ("<= 1.2.x", &["1.2.9"], &["1.3.0"]),
            ("!= 1.x", &["0.9.0", "2.0.0"], &["1.0.0", "1.5.0"]),
            (">= 1.0.0-alpha.1", &["1.0.0"], &["0.9.9"]),
            ("<= 1.0.0-alpha.1", &["0.9.9"], &["1.0.0"]),
        ];
        for (text, inside, outside) in rows {
            let range: Range = text.parse().unwrap();
            assert_eq!(range.to_string(), *text);
            for version in *inside {
                assert!(range.contains(&version.parse().unwrap()), "{version} is in {text}");
            }
            for version in *outside {
                assert!(!range.contains(&version.parse().unwrap()), "{version} is not in {text}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (text, wrong) in [
            ("1.0", "1.0"),
            (">= 1.0.0 ||", "||"),
            ("||", "||"),
            (">=", ">="),
            ("=> 1.0.0", "=>"),
            ("~ 1.0.0", "~"),
            ("1.0.0 | 2.0.0", "|"),
            ("x", "x"),
            ("x.1.x", "x.1.x"),
            ("1.x.3", "1.x.3"),
            ("1.2.3.x", "1.2.3.x"),
            ("18446744073709551615.x", "18446744073709551615.x"),
            ("vv1.0.0", "vv1.0.0"),
        ] {
            match text.parse::<Range>() {
                Err(Error::Range { at, .. }) => assert_eq!(at, wrong, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9vx.<>=!| a-]{0,30}", major: u64, minor: u64, patch: u64) {
            if let Ok(range) = text.parse::<Range>() {
                range.contains(&Version::new(major, minor, patch));
            }
        }
    }
}
