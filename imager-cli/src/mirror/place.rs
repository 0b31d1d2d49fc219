//! Where a mirror takes images from and where it brings them.

use std::path::PathBuf;

use ::store::Store;
use anyhow::Context as _;
use extent::Digest;
use remote::{Client, Reference};

use crate::exit::{Exit, Tag as _};
use crate::transfer;

/// A registry, and perhaps a namespace in it that is before all names.
#[derive(Clone, Debug)]
pub struct Prefix(String);

/// Where images come from.
pub enum From {
    /// The store.
    Store(Store),
    /// A registry.
    Registry(Client, Prefix),
}

/// Where images go, as it is written.
#[derive(Clone, Debug)]
pub enum Target {
    /// A registry.
    Registry(Prefix),
    /// A directory, which becomes an image layout.
    Directory(PathBuf),
    /// One file, an image layout as a tar archive.
    File(PathBuf),
}

impl Prefix {
    /// The prefix that `text` is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let prefix = Self(text.trim_end_matches('/').to_owned());
        prefix.reference("a", "b", None).map(|_| prefix).map_err(|error| error.to_string())
    }

    /// `repository` behind the prefix.
    pub fn reference(
        &self,
        repository: &str,
        tag: &str,
        digest: Option<Digest>,
    ) -> Result<Reference, remote::Error> {
        let at = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}/{repository}:{tag}{at}", self.0).parse()
    }
}

impl Target {
    /// The target that `text` is: `FILE.tar`, `DIR/`, or a registry.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.strip_suffix(".tar").is_some() {
            return Ok(Self::File(text.into()));
        }
        if text.ends_with('/') {
            return Ok(Self::Directory(text.into()));
        }
        let registry = Prefix::parse(text).map(Self::Registry);
        registry
            .map_err(|error| format!("it is not `FILE.tar`, not `DIR/` with a slash at its end, and {error}"))
    }
}

impl From {
    /// The registry `prefix` if one is given, else the store in `dir`.
    pub fn new(prefix: Option<&Prefix>, store: &Store, plain_http: bool) -> anyhow::Result<Self> {
        Ok(match prefix {
            Some(prefix) => Self::Registry(transfer::client(plain_http, &[])?, prefix.clone()),
            None => Self::Store(store.clone()),
        })
    }

    /// The tags of `repository`.
    pub async fn tags(&self, repository: &str) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Store(store) => store.tags(repository).exit(Exit::Io),
            Self::Registry(client, prefix) => {
                let reference = prefix.reference(repository, "latest", None).exit(Exit::Input)?;
                let listing = || format!("listing the tags of `{repository}`");
                client.tags(&reference).await.with_context(listing).exit(Exit::Dependency)
            }
        }
    }
}
