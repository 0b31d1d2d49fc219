//! Mirrors: where else the images of a registry are, and in which order they are asked for.
//!
//! ```text
//! ghcr.io=harbor.example/ghcr-proxy     ghcr.io/a/b ──▶ harbor.example/ghcr-proxy/a/b, else ghcr.io/a/b
//! *=http://mirror.example:5000          any registry; plain HTTP
//! ```
//!
//! A mirror is asked for bytes and not for trust: digests and signatures are judged as if the registry had answered. Which
//! digest a tag has, a mirror says as well; who minds pulls by digest, or with a signature.

use std::fmt;
use std::str::FromStr;

use crate::error::excerpt;
use crate::{Error, Reference, Registry};

/// The most mirrors of one registry: each may cost the whole patience of a request.
const MAX_MIRRORS: usize = 16;

/// Mirrors by registry. The first that is written is the first that is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors(Vec<Mirror>);

/// A mirror of one registry, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Whose mirror it is; of all registries where there is none.
    pub of: Option<Registry>,
    /// The registry that is the mirror. Its login is the one that [`crate::Credentials`] have for it.
    pub registry: Registry,
    /// What precedes the names of repositories there, without slashes at its ends; empty where nothing does.
    pub prefix: String,
    /// Whether plain HTTP is spoken with it.
    pub insecure: bool,
}

impl Mirrors {
    /// No mirrors.
    pub fn none() -> Self {
        Self::default()
    }

    /// These, and `mirror` after all of the same registry.
    ///
    /// # Errors
    /// `BadMirror` for more than 16 of one registry.
    pub fn with(mut self, mirror: Mirror) -> Result<Self, Error> {
        if self.0.iter().filter(|other| other.of == mirror.of).count() == MAX_MIRRORS {
            let wanted = "a registry has at most 16 mirrors";
            return Err(Error::BadMirror { text: excerpt(&mirror.to_string()), wanted });
        }
        self.0.push(mirror);
        Ok(self)
    }

    /// Where `reference` is asked for, itself last. Mirrors of its registry come instead of those of all.
    pub(crate) fn places(&self, reference: &Reference) -> Vec<Reference> {
        let own = |mirror: &&Mirror| mirror.of.as_ref() == Some(reference.registry());
        let has_own = self.0.iter().any(|mirror| own(&mirror));
        let wanted = |mirror: &&Mirror| if has_own { own(mirror) } else { mirror.of.is_none() };
        let elsewhere =
            self.0.iter().filter(wanted).filter(|mirror| mirror.registry != *reference.registry());
        // A name that is too long with the prefix is not there.
        let mut places: Vec<_> = elsewhere.filter_map(|mirror| mirror.place(reference)).collect();
        places.push(reference.clone());
        places
    }

    /// Whether `registry` is a mirror.
    pub(crate) fn has(&self, registry: &Registry) -> bool {
        self.0.iter().any(|mirror| mirror.registry == *registry)
    }

    /// Whether plain HTTP is spoken with `registry`, which is a mirror.
    pub(crate) fn is_insecure(&self, registry: &Registry) -> bool {
        self.0.iter().any(|mirror| mirror.insecure && mirror.registry == *registry)
    }
}

impl Mirror {
    fn place(&self, reference: &Reference) -> Option<Reference> {
        let name = if self.prefix.is_empty() {
            reference.name().to_owned()
        } else {
            format!("{}/{}", self.prefix, reference.name())
        };
        reference.at(&self.registry, name)
    }
}

impl FromStr for Mirror {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |wanted| Error::BadMirror { text: excerpt(text), wanted };
        let (of, mirror) = text.split_once('=').ok_or_else(|| {
            bad("it has to be REGISTRY=MIRROR or REGISTRY=MIRROR/PATH, `*` for all registries")
        })?;
        let registry = |text: &str| {
            text.parse::<Registry>().map_err(|_| {
                bad("a registry is a host with a dot or a port, or localhost, and has no login in its address")
            })
        };
        let of = if of == "*" { None } else { Some(registry(of)?) };
        let (insecure, mirror) = match mirror.split_once("://") {
            None => (false, mirror),
            Some(("https", rest)) => (false, rest),
            Some(("http", rest)) => (true, rest),
            Some(_) => return Err(bad("a mirror is spoken to over http or https")),
        };
        let (host, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() && !store::is_repository(prefix) {
            return Err(bad("a path has lower-case words between `/`, joined by `.`, `_`, `__` or `-`"));
        }
        let registry = registry(host)?;
        if of.as_ref() == Some(&registry) {
            return Err(bad("a registry is not its own mirror"));
        }
        Ok(Self { of, registry, prefix: prefix.to_owned(), insecure })
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of.as_ref().map_or("*", Registry::as_str);
        let (scheme, slash) =
            (if self.insecure { "http://" } else { "" }, if self.prefix.is_empty() { "" } else { "/" });
        write!(f, "{of}={scheme}{}{slash}{}", self.registry, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(texts: &[&str]) -> Mirrors {
        texts.iter().fold(Mirrors::none(), |all, text| all.with(text.parse().unwrap()).unwrap())
    }

    #[test]
    fn a_mirror_is_read_as_it_is_written() {
        for text in [
            "ghcr.io=harbor.example/ghcr-proxy",
            "*=mirror.example:5000",
            "docker.io=http://localhost:5000/a/b",
            "localhost=[::1]:5000",
        ] {
            assert_eq!(text.parse::<Mirror>().unwrap().to_string(), text);
        }
        let mirror: Mirror = "GHCR.io=https://Harbor.example/x/".parse().unwrap();
        assert_eq!(mirror.to_string(), "ghcr.io=harbor.example/x");
    }

    #[test]
    fn what_is_no_mirror_is_an_error() {
        for text in [
            "",
            "=",
            "ghcr.io",
            "ghcr.io=",
            "=m.example",
            "ghcr.io=mirror",
            "ghcr=m.example",
            "**=m.example",
            "*.io=m.example",
            "ghcr.io=m.example/A",
            "ghcr.io=m.example/../x",
            "ghcr.io=m.example//x",
            "ghcr.io=ftp://m.example",
            "ghcr.io=user:pass@m.example",
            "ghcr.io=m.example/x?y",
            "a.example=a.example/x",
            "ghcr.io=m.example/x:tag",
            "ghcr.io=m.example:0",
        ] {
            let error = text.parse::<Mirror>().unwrap_err();
            assert!(matches!(error, Error::BadMirror { .. }), "{text}: {error}");
        }
        let one: Mirror = "a.example=b.example".parse().unwrap();
        let many = (0..16).fold(Mirrors::none(), |all, _| all.with(one.clone()).unwrap());
        assert!(matches!(many.with(one), Err(Error::BadMirror { .. })));
    }

    #[test]
    fn mirrors_are_asked_in_their_order_and_the_registry_last() {
        let all = mirrors(&["*=m.example/all", "ghcr.io=h.example/ghcr", "ghcr.io=http://m.example"]);
        let places = |text: &str| {
            let reference = text.parse().unwrap();
            all.places(&reference).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(places("ghcr.io/a/b:t"), ["h.example/ghcr/a/b:t", "m.example/a/b:t", "ghcr.io/a/b:t"]);
        assert_eq!(places("docker.io/a:t"), ["m.example/all/a:t", "docker.io/a:t"]);
        assert_eq!(places("m.example/a:t"), ["m.example/a:t"], "a mirror is not its own");
        let long = format!("docker.io/{}:t", "a".repeat(253));
        assert_eq!(places(&long), [long]);
        assert!(all.is_insecure(&"m.example".parse().unwrap()));
        assert!(!all.is_insecure(&"h.example".parse().unwrap()));
    }
}
