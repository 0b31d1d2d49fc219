//! Images that a source may give.

use std::fmt;

use extent::Digest;
use remote::Reference;

use super::{Origin, Place};
use crate::Error;

/// An image that is not in the store, and that a source may give.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Want {
    pub(super) place: Place,
    /// The repository there, without the namespace.
    pub(super) repository: String,
    /// The tag that names it, there and in the store.
    pub(super) tag: Option<String>,
    /// The digest, where that is known. Then the tag decides nothing.
    pub(super) digest: Option<Digest>,
    /// The repository in the store.
    pub(super) name: String,
    /// Whether nothing but the image for amd64 is read: boot files and catalogues are the same in all.
    pub(super) is_amd64: bool,
}

/// Images that are not in the store and that a source may give: at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(Vec<Want>);

impl Want {
    /// What names it in the store.
    pub fn name(&self) -> (&str, &str) {
        (&self.name, self.tag.as_deref().unwrap_or_default())
    }

    /// The same image, as `digest` names it.
    pub fn pinned(self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// What it is called at `origin`.
    pub(super) fn reference(&self, origin: &Origin) -> Result<Reference, remote::Error> {
        let mut text = format!("{}/{}", origin.registry, origin.path(&self.repository));
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text.parse()
    }
}

impl Wanted {
    /// One image.
    pub(crate) fn one(want: Want) -> Self {
        Self(vec![want])
    }

    pub(crate) fn push(&mut self, want: Want) {
        if !self.0.contains(&want) {
            self.0.push(want);
        }
    }

    /// What `result` has, unless it is that something is wanted: that is taken down.
    pub(crate) fn hear<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotPulled { images }) => {
                images.0.into_iter().for_each(|want| self.push(want));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Fails if anything is wanted.
    pub(crate) fn none(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::NotPulled { images: self }) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Want> {
        self.0.iter()
    }
}

/// As people write it, without the registry: `siderolabs/imager:v13.1.0`.
impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => write!(f, "{}:{tag}", self.repository),
            (None, Some(digest)) => write!(f, "{}@{digest}", self.repository),
            (None, None) => f.write_str(&self.repository),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, want) in self.0.iter().enumerate() {
            write!(f, "{}`{want}`", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
