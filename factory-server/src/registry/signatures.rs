//! Signatures of installer images, in both shapes that cosign knows.
//!
//! ```text
//! sha256-<image>.sig        the old shape: a tag, an image, an annotation
//! sha256-<image>            the list of what refers to the image, where a client knows no other way
//! referrers/sha256:<image>  the same list
//!   └─ bundle               the new shape: a Sigstore bundle
//! ```
//!
//! Made while they are asked for, the same bytes each time: the key signs without randomness.

use cosign::{Referrer, SignatureImage, SigningKey, Subject, image_bundle, referrers_index};
use extent::{Digest, ExtentMap};
use imager::{CONFIG, INDEX, MANIFEST};

use super::published::Document;

/// The signature of one manifest or index.
#[derive(Debug)]
pub struct Signature {
    /// The image of the old shape.
    pub image: Digest,
    /// The list of what refers to it.
    pub referrers: Vec<u8>,
    /// All documents of both shapes.
    pub documents: Vec<(Digest, Document)>,
}

impl Signature {
    /// `key`'s signature for the manifest `digest`, which is `len` bytes of `media_type` in the repository `name`.
    pub fn of(key: &SigningKey, name: &str, media_type: &str, digest: Digest, len: u64) -> Self {
        let old = SignatureImage::new(key, name, &digest);
        let subject = Subject { media_type: media_type.to_owned(), digest, len };
        let new = Referrer::new(&subject, image_bundle(key, &digest));
        let referrers = referrers_index(std::slice::from_ref(&new));
        let image = old.manifest_digest();
        let documents = [
            (old.manifest, MANIFEST, true),
            (old.config, CONFIG, false),
            (old.payload, cosign::SIMPLE_SIGNING_MEDIA_TYPE, false),
            (new.manifest, MANIFEST, true),
            (new.config, "application/vnd.oci.empty.v1+json", false),
            (new.bundle, cosign::BUNDLE_MEDIA_TYPE, false),
            (referrers.clone(), INDEX, true),
        ];
        let documents = documents.into_iter().map(|(bytes, media_type, is_manifest)| {
            let media_type = media_type.to_owned();
            (Digest::of(&bytes), Document { media_type, extents: ExtentMap::inline(bytes), is_manifest })
        });
        Self { image, referrers, documents: documents.collect() }
    }
}

/// The image that a tag of a signature names: `sha256-<hex>.sig`, or `sha256-<hex>` for the list; and which of the two.
pub fn subject(tag: &str) -> Option<(Digest, Tag)> {
    let rest = tag.strip_prefix("sha256-")?;
    let (hex, kind) = match rest.strip_suffix(".sig") {
        Some(hex) => (hex, Tag::Signature),
        None => (rest, Tag::Referrers),
    };
    Some((format!("sha256:{hex}").parse().ok()?, kind))
}

/// What a tag of a signature stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The signature in the old shape.
    Signature,
    /// The list of referrers.
    Referrers,
}
