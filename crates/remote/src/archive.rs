//! OCI image layouts that go out as one file: described, like every image here, and streamed.
//!
//! ```text
//! blobs/sha256/<hex>  index.json  oci-layout          in the order of names, of one time, owned by root
//! ```
//!
//! The same images make the same bytes. Source: OCI image specification 1.1, image layout.

use std::collections::{BTreeMap, HashMap};

use extent::{ExtentMap, Tree};
use formats::tar;
use oci_spec::image::{ANNOTATION_REF_NAME, ImageIndex, MediaType};

use crate::{Described, Error};

/// When every file was last changed: 1 June 2019, 21:34:52 UTC, as in all that is made here.
const EPOCH: u32 = 1_559_424_892;

/// The archive of the layout that has `images`, each under its name, `<repository>:<tag>`.
///
/// # Errors
/// `Archive` when it cannot be one.
pub fn archive(images: &BTreeMap<String, Described>) -> Result<ExtentMap, Error> {
    let mut manifests = Vec::new();
    let mut parts = BTreeMap::new();
    for (name, image) in images {
        let mut entry = image.descriptor();
        entry.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), name.clone())])));
        manifests.push(entry);
        parts.extend(image.parts());
    }
    let mut index = ImageIndex::default();
    index.set_schema_version(2);
    index.set_media_type(Some(MediaType::ImageIndex));
    index.set_manifests(manifests);
    // By way of a value, whose maps are sorted.
    let index = serde_json::to_value(&index).expect("an index has text for keys").to_string();

    let failed = |source: extent::TreeError| Error::Archive { source: source.into() };
    let mut tree = Tree::new();
    tree.file("oci-layout", ExtentMap::inline(&br#"{"imageLayoutVersion":"1.0.0"}"#[..]), 0o644)
        .map_err(failed)?;
    tree.file("index.json", ExtentMap::inline(index), 0o644).map_err(failed)?;
    for (digest, map) in parts {
        tree.file(&format!("blobs/sha256/{}", digest.hex()), map, 0o644).map_err(failed)?;
    }
    tar::archive(&tree, EPOCH).map_err(|source| Error::Archive { source })
}
