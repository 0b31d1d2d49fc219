//! What a version offers: its catalogues, and its command-line clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use extent::ExtentMap;

use super::catalogue::Catalogue;
use super::image::Image;
use super::source_images::complete;
use super::{Offer, OverlayOffer, Resolver, TALOSCTL, overlays, talosctl};
use crate::sources::{List, Place};
use crate::{Arch, Distribution, Error, Version};

impl Resolver {
    /// What `version` offers.
    pub fn extensions(&self, version: &Version) -> Result<Vec<Offer>, Error> {
        Ok(self.catalogue(version)?.offers().cloned().collect())
    }

    /// Those of the extensions of `version` that `names` name, by their own names or by ones they had before.
    pub fn extensions_named(&self, version: &Version, names: &[String]) -> Result<Vec<Offer>, Error> {
        let distribution = Distribution::of(version)?;
        let catalogue = self.catalogue(version)?;
        offers(&catalogue, distribution, version, names)
            .map(|found| found.into_iter().map(|(_, offer)| offer.clone()).collect())
    }

    /// The overlays that `version` offers; none where there were no overlays yet.
    pub fn overlays(&self, version: &Version) -> Result<Vec<OverlayOffer>, Error> {
        if Distribution::of(version).is_ok_and(|of| !of.quirks(version).has_overlays()) {
            return Ok(Vec::new());
        }
        let mut offers: Vec<OverlayOffer> = Vec::new();
        for (_, name, digest, want) in self.catalogue_images(List::Overlays, version)? {
            let read =
                || overlays::overlays(&self.store, &Image::open(&self.store, &name, digest, Arch::Amd64)?);
            let below = complete(want, read)?;
            let own: Vec<String> = offers.iter().map(|offer| offer.name.clone()).collect();
            offers.extend(below.into_iter().filter(|offer| !own.contains(&offer.name)));
        }
        Ok(offers)
    }

    /// The command-line clients of `version`, by file name. None where they could not be downloaded yet, and
    /// where the distribution has none.
    pub fn talosctl(&self, version: &Version) -> Result<BTreeMap<String, ExtentMap>, Error> {
        if Distribution::of(version).is_ok_and(|of| !of.quirks(version).has_talosctl()) {
            return Ok(BTreeMap::new());
        }
        match self.source(TALOSCTL, version) {
            Ok((name, digest)) => {
                let read = || {
                    talosctl::talosctl(&self.store, &Image::open(&self.store, &name, digest, Arch::Amd64)?)
                };
                complete(self.pinned(TALOSCTL, version, digest), read)
            }
            Err(Error::VersionNotAvailable { .. }) if self.all_versions()?.contains(version) => {
                Ok(BTreeMap::new())
            }
            Err(error) => Err(error),
        }
    }

    /// All that is offered for `version`: by further catalogues, then by the core's.
    pub(super) fn catalogue(&self, version: &Version) -> Result<Arc<Catalogue>, Error> {
        let images = self.catalogue_images(List::Extensions, version)?;
        let key = images.iter().map(|(place, _, digest, _)| (*place, *digest)).collect();
        self.catalogues.get(key, || {
            let mut all = Catalogue::default();
            for (place, name, digest, want) in images {
                // The catalogue has no architecture; it is published as an amd64 image.
                let read = || {
                    let image = Image::open(&self.store, &name, digest, Arch::Amd64)?;
                    Catalogue::read(&self.store, &image, place)
                };
                all = all.over(complete(want, read)?);
            }
            Ok(all)
        })
    }
}

/// The extensions that `names` name.
pub(super) fn offers<'a>(
    catalogue: &'a Catalogue,
    distribution: &Distribution,
    version: &Version,
    names: &[String],
) -> Result<Vec<&'a (Place, Offer)>, Error> {
    let find = |name: &String| {
        catalogue.find(name).ok_or_else(|| Error::ExtensionNotAvailable {
            name: crate::error::shown(name),
            distribution: distribution.name,
            version: version.clone(),
            nearest: catalogue.nearest(name),
        })
    };
    names.iter().map(find).collect()
}
