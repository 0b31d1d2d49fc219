//! The overlays of a version: support for boards, as its catalogue lists it.
//!
//! ```text
//! overlays.yaml       overlays: [{name, image: <registry>/<repository>:<tag>, digest}]
//! ```
//!
//! Source: `siderolabs/overlays`, the image as published.

use extent::{Digest, read_all};
use serde::{Deserialize, Serialize};
use store::Store;

use super::image::Image;
use crate::Error;

/// The longest catalogue in bytes: a thousand times what the reference publishes.
const FILE_LEN_MAX: u64 = 4 << 20;
const FILE: &str = "overlays.yaml";

/// An overlay that a version offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OverlayOffer {
    /// The name that schematics use: the board's.
    pub name: String,
    /// The repository of its image (`siderolabs/sbc-raspberrypi`), as schematics write it.
    pub image: String,
    /// The image by tag, with its registry.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The image by digest.
    pub digest: Digest,
}

#[derive(Deserialize)]
struct Catalogue {
    overlays: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    image: String,
    digest: Digest,
}

/// The overlays in the catalogue image, in its order.
pub(super) fn overlays(store: &Store, image: &Image) -> Result<Vec<OverlayOffer>, Error> {
    let tree = image.tree(store)?;
    let wrong = |source| Error::CatalogueFile { image: image.name.clone(), path: FILE, source };
    let bytes =
        read_all(image.file(&tree, FILE)?, store, FILE_LEN_MAX).map_err(|error| wrong(error.into()))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.into()))?;
    let catalogue: Catalogue = serde_saphyr::from_str(text).map_err(|error| wrong(error.into()))?;
    let offers = catalogue.overlays.into_iter().map(|Entry { name, image, digest }| {
        let path = image.split_once('/').map_or(&*image, |(_registry, path)| path);
        let repository = path.rsplit_once(':').map_or(path, |(repository, _tag)| repository);
        OverlayOffer { name, image: repository.to_owned(), reference: image.clone(), digest }
    });
    Ok(offers.collect())
}
