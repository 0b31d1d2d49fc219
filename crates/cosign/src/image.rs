//! The signature of an image in both shapes at once, and the tags that lead to it.
//!
//! ```text
//! sha256-<image>.sig        the old shape: a tag, an image, an annotation
//! sha256-<image>            the list of what refers to the image, where a client knows no other way
//! referrers/sha256:<image>  the same list
//!   └─ bundle               the new shape: a Sigstore bundle
//! ```
//!
//! The same bytes each time: the key signs without randomness.

use extent::Digest;

use crate::SigningKey;
use crate::bundle::{BUNDLE_MEDIA_TYPE, image_bundle};
use crate::oci::{CONFIG, EMPTY, INDEX, MANIFEST, Referrer, Subject, referrers_index};
use crate::simple_signing::{SIMPLE_SIGNING_MEDIA_TYPE, SignatureImage};

/// One key's signature of one manifest or index, in both shapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSignature {
    /// The old shape, for the tag [`crate::signature_tag`].
    pub image: SignatureImage,
    /// The new shape.
    pub referrer: Referrer,
    /// The list with the new shape in it, for the tag [`crate::referrers_tag`].
    pub referrers: Vec<u8>,
}

/// A document of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The media type.
    pub media_type: &'static str,
    /// Whether registries take it as a manifest; as a blob otherwise.
    pub is_manifest: bool,
}

/// What a tag of a signature stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureTag {
    /// The signature in the old shape.
    Signature,
    /// The list of referrers.
    Referrers,
}

impl ImageSignature {
    /// `key`'s signature of `subject`, which claims to be in the repository `docker_reference`: see
    /// [`SignatureImage::new`].
    pub fn new(key: &SigningKey, docker_reference: &str, subject: &Subject) -> Self {
        let image = SignatureImage::new(key, docker_reference, &subject.digest);
        let referrer = Referrer::new(subject, image_bundle(key, &subject.digest));
        let referrers = referrers_index(std::slice::from_ref(&referrer));
        Self { image, referrer, referrers }
    }

    /// All documents of both shapes.
    pub fn documents(&self) -> [Document<'_>; 7] {
        let document = |bytes, media_type, is_manifest| Document { bytes, media_type, is_manifest };
        [
            document(&self.image.manifest, MANIFEST, true),
            document(&self.image.config, CONFIG, false),
            document(&self.image.payload, SIMPLE_SIGNING_MEDIA_TYPE, false),
            document(&self.referrer.manifest, MANIFEST, true),
            document(&self.referrer.config, EMPTY, false),
            document(&self.referrer.bundle, BUNDLE_MEDIA_TYPE, false),
            document(&self.referrers, INDEX, true),
        ]
    }
}

/// The image that a tag of a signature names: `sha256-<hex>.sig`, or `sha256-<hex>` for the list; and which of the two.
pub fn signed_by_tag(tag: &str) -> Option<(Digest, SignatureTag)> {
    let rest = tag.strip_prefix("sha256-")?;
    let (hex, kind) = match rest.strip_suffix(".sig") {
        Some(hex) => (hex, SignatureTag::Signature),
        None => (rest, SignatureTag::Referrers),
    };
    Some((Digest::from_hex(hex).ok()?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{referrers_tag, signature_tag};

    #[test]
    fn tags_lead_back_to_what_is_signed() {
        let image = Digest::of(b"image");
        assert_eq!(signed_by_tag(&signature_tag(&image)), Some((image, SignatureTag::Signature)));
        assert_eq!(signed_by_tag(&referrers_tag(&image)), Some((image, SignatureTag::Referrers)));
        for other in ["v1.2.3", "sha256-", "sha256-ab.sig", "sha256-.sig", &image.to_string()] {
            assert_eq!(signed_by_tag(other), None, "{other}");
        }
    }
}
