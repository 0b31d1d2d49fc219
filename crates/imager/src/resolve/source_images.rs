//! Source images: from a version to digests, by tags.

use extent::Digest;

use super::{EXTENSIONS, IMAGER, OVERLAYS, Resolver, image};
use crate::sources::{List, Place, Want, Wanted};
use crate::{Error, Version};

/// Before it there was no image factory.
const FIRST: Version = Version::new(1, 2, 0);
/// How many versions an error offers.
const NEAREST_VERSIONS: usize = 3;

/// An image with a list: where it is from, a name for it, its digest, and what to pull if something of it is missing.
pub(super) type CatalogueImage = (Place, String, Digest, Option<Want>);

impl Resolver {
    /// The versions to offer.
    pub fn versions(&self) -> Result<Vec<Version>, Error> {
        let mut versions = self.all_versions()?;
        let newest = versions.last().map(|v| (v.semver().major, v.semver().minor));
        versions.retain(|version| {
            let line = (version.semver().major, version.semver().minor);
            *version >= FIRST
                && (!version.is_prerelease() || (Some(line) == newest && is_usual(&version.semver().pre)))
        });
        Ok(versions)
    }

    /// Every tag that is a version, here or at the source, ascending.
    pub(super) fn all_versions(&self) -> Result<Vec<Version>, Error> {
        let tags = self.store.tags(IMAGER)?;
        let mut versions: Vec<Version> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        versions.extend(self.supply.listed().iter().flat_map(|listed| listed.iter().cloned()));
        versions.sort();
        versions.dedup();
        Ok(versions)
    }

    /// The images that have `list` for `version`, the first before the others: where each is from, a name for it, its digest,
    /// and what to pull if something of it is missing.
    pub(super) fn catalogue_images(
        &self,
        list: List,
        version: &Version,
    ) -> Result<Vec<CatalogueImage>, Error> {
        let mut images = Vec::new();
        let mut wanted = Wanted::default();
        let repository = match list {
            List::Extensions => EXTENSIONS,
            List::Overlays => OVERLAYS,
        };
        let core = wanted.hear(self.source(repository, version))?;
        for place in self.supply.catalogues(list) {
            let Some(want) = self.supply.catalogue(place, list, version) else { continue };
            let (repository, tag) = want.name();
            match self.store.resolve_tag(repository, tag)? {
                Some(descriptor) => {
                    let name = want.to_string();
                    let digest = image::digest_of(&name, &descriptor)?;
                    images.push((place, name, digest, Some(want.pinned(digest))));
                }
                // A further catalogue need not know every version.
                None if self.supply.is_absent(&want) => {}
                None => wanted.push(want),
            }
        }
        if let Some((name, digest)) = core {
            images.push((Place::Core, name, digest, self.pinned(repository, version, digest)));
        }
        wanted.none()?;
        Ok(images)
    }

    /// The source image `repository` of `version`: a name for it and its digest.
    pub(super) fn source(&self, repository: &str, version: &Version) -> Result<(String, Digest), Error> {
        let name = format!("{repository}:{version}");
        // One with build metadata is none that could be published.
        if !store::is_tag(&version.to_string()) {
            return Err(self.not_available(version)?);
        }
        if let Some(descriptor) = self.store.resolve_tag(repository, &version.to_string())? {
            let digest = image::digest_of(&name, &descriptor)?;
            return Ok((name, digest));
        }
        match self.supply.core(repository, version) {
            Some(want) if !self.supply.is_absent(&want) => {
                Err(Error::NotPulled { images: Wanted::one(want) })
            }
            _ => Err(self.not_available(version)?),
        }
    }

    /// What is said of a version that is not there.
    pub(super) fn not_available(&self, version: &Version) -> Result<Error, Error> {
        let mut all = self.all_versions()?;
        all.retain(|other| other != version);
        let nearest = version.nearest(&all, NEAREST_VERSIONS);
        Ok(Error::VersionNotAvailable { version: version.clone(), nearest })
    }

    /// The core image `repository` of `version` as it is in the store, if a source may have it.
    pub(super) fn pinned(&self, repository: &str, version: &Version, digest: Digest) -> Option<Want> {
        Some(self.supply.core(repository, version)?.pinned(digest))
    }
}

/// What `read` makes of an image. If a blob of it is missing and `want` may bring it, that is wanted.
pub(super) fn complete<T>(want: Option<Want>, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    read().map_err(|error| match want {
        Some(want) if error.is_for_want_of_a_blob() => {
            tracing::warn!(image = %want, %error, "an image is not complete");
            Error::NotPulled { images: Wanted::one(want) }
        }
        _ => error,
    })
}

/// Whether a pre-release is `alpha.N`, `beta.N` or `rc.N`: others are built by developers for themselves.
fn is_usual(pre: &semver::Prerelease) -> bool {
    pre.split_once('.').is_some_and(|(name, number)| {
        matches!(name, "alpha" | "beta" | "rc") && number.bytes().all(|b| b.is_ascii_digit())
    })
}
