//! What an image in a registry is called.
//!
//! ```text
//! REGISTRY[:PORT]/NAME[:TAG][@DIGEST]
//! ghcr.io/siderolabs/imager:v1.11.0@sha256:…
//! ```
//!
//! Nothing is filled in but the tag `latest` where neither tag nor digest is there: a name without a registry is
//! refused, for nobody can say whose it is.
//!
//! Source: OCI distribution specification 1.1, pulling manifests; distribution `reference`, grammar.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use extent::Digest;

use crate::Error;
use crate::error::excerpt;

/// Longer ones are not read: a host has at most 253 characters, a name 255, a tag 128, a digest 71.
const MAX_REFERENCE_LEN: usize = 1024;
/// From the domain name system.
const MAX_HOST_LEN: usize = 253;

/// The tag where none is written.
const LATEST: &str = "latest";

/// A registry, as it is written in references: a host and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registry(String);

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: Registry,
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Registry {
    /// The text, with letters in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this machine: `localhost` and addresses of its loopback interface.
    pub fn is_loopback(&self) -> bool {
        let host = host_of(&self.0);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Where it is spoken to. Docker Hub's registry is on another host than its name.
    pub(crate) fn endpoint(&self) -> &str {
        match self.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        }
    }
}

impl Reference {
    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository's name, without the registry: what it is called in the store as well.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, if one is written, or `latest` if there is no digest either.
    pub fn tag(&self) -> Option<&str> {
        let default = self.digest.is_none().then_some(LATEST);
        self.tag.as_deref().or(default)
    }

    /// The digest, if one is written. Then the tag decides nothing.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository, `tag` and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, Error> {
        if !store::is_tag(tag) {
            return Err(bad(tag, "tags have up to 128 of `A-Za-z0-9_.-` and begin with none of `.-`"));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same image by `name` in `registry`, if that is a name.
    pub(crate) fn at(&self, registry: &Registry, name: String) -> Option<Self> {
        store::is_repository(&name).then(|| Self { registry: registry.clone(), name, ..self.clone() })
    }

    /// The same repository, `digest` and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl FromStr for Registry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let is_port = |port: &str| {
            !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
        };
        if port.is_some_and(|port| !is_port(port)) {
            return Err(bad(text, "a port is a number from 1 to 65535"));
        }
        if !is_host(host) {
            return Err(bad(text, "a registry is a host name or an address, IPv6 in brackets"));
        }
        if !(host.contains(['.', ':']) || port.is_some() || host.eq_ignore_ascii_case("localhost")) {
            return Err(bad(
                text,
                "it has to begin with a registry: a host with a dot or a port, or localhost",
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_REFERENCE_LEN {
            return Err(bad(text, "it is longer than 1024 characters"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| {
                    bad(text, "after `@` comes `sha256:` and 64 lower-case hexadecimal digits")
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (registry, rest) = rest
            .split_once('/')
            .ok_or_else(|| bad(text, "it has to be REGISTRY/NAME with a tag, a digest or neither"))?;
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (rest, None),
        };
        if !store::is_repository(name) {
            return Err(bad(
                text,
                "a name has lower-case words between `/`, joined by `.`, `_`, `__` or `-`",
            ));
        }
        if tag.is_some_and(|tag| !store::is_tag(tag)) {
            return Err(bad(text, "tags have up to 128 of `A-Za-z0-9_.-` and begin with none of `.-`"));
        }
        let registry = registry.parse()?;
        Ok(Self { registry, name: name.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn bad(text: &str, wanted: &'static str) -> Error {
    Error::BadReference { text: excerpt(text), wanted }
}

/// Without the port.
fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= MAX_HOST_LEN && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_reference_is_taken_apart_and_written_as_it_was() {
        let digest = format!("sha256:{HEX}");
        let table = [
            ("ghcr.io/siderolabs/imager:v1.11.0", "ghcr.io", "siderolabs/imager", Some("v1.11.0"), false),
            ("localhost/a", "localhost", "a", Some("latest"), false),
            ("127.0.0.1:5000/a/b:x_Y.1-z", "127.0.0.1:5000", "a/b", Some("x_Y.1-z"), false),
            ("[::1]:5000/a", "[::1]:5000", "a", Some("latest"), false),
            ("[::1]/a", "[::1]", "a", Some("latest"), false),
            ("host:5000/a", "host:5000", "a", Some("latest"), false),
            (&format!("r.example/a@{digest}"), "r.example", "a", None, true),
            (&format!("r.example/a:t@{digest}"), "r.example", "a", Some("t"), true),
        ];
        for (text, registry, name, tag, with_digest) in table {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.registry().as_str(), registry);
            assert_eq!((reference.name(), reference.tag()), (name, tag), "{text}");
            assert_eq!(reference.digest().is_some(), with_digest);
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), {
                let mut shown = reference.clone();
                shown.tag = reference.tag().map(str::to_owned);
                shown
            });
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        let (long, tag) = ("a".repeat(256), "t".repeat(129));
        for text in [
            "",
            "/",
            "a",
            "imager:v1",
            "siderolabs/imager",
            "r.example/",
            "r.example/A",
            "r.example/a//b",
            "r.example/../etc",
            "r.example/a/..",
            "r.example/a:",
            "r.example/a:-x",
            "r.example/a:b:c",
            "r.example/a:b/c",
            "r.example/a@",
            "r.example/a@sha256:abc",
            "r.example/a@sha512:abc",
            "r.example/a?x",
            "r.example/a#x",
            "r.example/a%2e",
            "r.example/a b",
            "r.example/a\n",
            "user@r.example/a",
            "user:x@r.example/a",
            "http://r.example/a",
            "r.example:/a",
            "r.example:0/a",
            "r.example:65536/a",
            "r.example:+1/a",
            "-r.example/a",
            "r..example/a",
            "r_x.example/a",
            "[::g]/a",
            "::1/a",
            "é.example/a",
            "r.example/é",
            &format!("r.example/{long}"),
            &format!("r.example/a:{tag}"),
            &format!("r.example/a@sha256:{}", HEX.to_uppercase()),
            &"x".repeat(5000),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(matches!(error, Error::BadReference { .. }), "{text}: {error}");
            assert!(error.to_string().len() < 400, "{error}");
        }
    }

    #[test]
    fn loopback_is_known_by_its_address() {
        for (text, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("127.8.9.1:1", true),
            ("[::1]:5000", true),
            ("10.0.0.1:5000", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
        ] {
            assert_eq!(text.parse::<Registry>().unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
