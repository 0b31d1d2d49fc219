//! The OCI manifests that carry signatures.

use std::collections::BTreeMap;

use extent::Digest;
use serde::{Deserialize, Serialize};

use crate::bundle::{BUNDLE_MEDIA_TYPE, SIGN_PREDICATE_TYPE};

/// Source: OCI image specification 1.1, media types.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// When everything was signed: a signature has no clock, so that it is the same bytes each time it is made. The
/// moment itself means nothing; an annotation has to have one, and tools sort by it.
const CREATED: &str = "2019-06-01T21:34:52Z";

/// A reference to bytes in a registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// An image manifest.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub schema_version: u32,
    pub media_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<&'static str>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The image that a bundle is attached to, as a registry lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The media type of the image's manifest or index.
    pub media_type: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The length of the manifest in bytes.
    pub len: u64,
}

/// A bundle as an image that refers to another. Registries take the three as a blob each, the manifest last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The configuration, which is empty: `{}`.
    pub config: Vec<u8>,
    /// The only layer.
    pub bundle: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

impl Descriptor {
    /// The descriptor of `bytes`.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: None,
        }
    }
}

impl Referrer {
    /// `bundle`, made by [`crate::image_bundle`], as a referrer to `subject`.
    pub fn new(subject: &Subject, bundle: Vec<u8>) -> Self {
        let config = b"{}".to_vec();
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST,
            artifact_type: Some(BUNDLE_MEDIA_TYPE),
            config: Descriptor::of(EMPTY, &config),
            layers: vec![Descriptor::of(BUNDLE_MEDIA_TYPE, &bundle)],
            subject: Some(Descriptor {
                media_type: subject.media_type.clone(),
                digest: subject.digest,
                size: subject.len,
                artifact_type: None,
                annotations: None,
            }),
            annotations: Some(annotations()),
        };
        Self { manifest: json(&manifest), config, bundle }
    }

    /// The digest of the manifest, by which it is pushed.
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The digest of the configuration.
    pub fn config_digest(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// The digest of the bundle.
    pub fn bundle_digest(&self) -> Digest {
        Digest::of(&self.bundle)
    }
}

/// The image index that lists `referrers`, as a registry answers `/referrers/<digest>`, and as it lies under
/// [`referrers_tag`] in a registry that knows no such path.
pub fn referrers_index(referrers: &[Referrer]) -> Vec<u8> {
    let manifests = referrers
        .iter()
        .map(|referrer| Descriptor {
            artifact_type: Some(BUNDLE_MEDIA_TYPE.to_owned()),
            annotations: Some(annotations()),
            ..Descriptor::of(MANIFEST, &referrer.manifest)
        })
        .collect();
    json(&Index { schema_version: 2, media_type: INDEX, manifests })
}

/// The tag of the index of `image`'s referrers in a registry without a referrers API: `sha256-<hex>`.
///
/// Source: OCI distribution specification 1.1, referrers tag schema.
pub fn referrers_tag(image: &Digest) -> String {
    format!("sha256-{}", image.hex())
}

/// `value` in JSON.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers have an encoding")
}

/// What cosign writes beside a bundle, and lists it by.
fn annotations() -> BTreeMap<String, String> {
    [
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", SIGN_PREDICATE_TYPE),
        ("org.opencontainers.image.created", CREATED),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referrer_names_its_subject_and_its_bundle() {
        let subject = Subject { media_type: INDEX.to_owned(), digest: Digest::of(b"image"), len: 5 };
        let referrer = Referrer::new(&subject, b"bundle".to_vec());
        let manifest: serde_json::Value = serde_json::from_slice(&referrer.manifest).unwrap();
        assert_eq!(manifest["subject"]["digest"], subject.digest.to_string());
        assert_eq!(manifest["subject"]["mediaType"], INDEX);
        assert_eq!(manifest["subject"]["size"], 5);
        assert_eq!(manifest["artifactType"], BUNDLE_MEDIA_TYPE);
        assert_eq!(manifest["layers"][0]["digest"], referrer.bundle_digest().to_string());
        assert_eq!(manifest["config"]["digest"], referrer.config_digest().to_string());
        assert_eq!(manifest["annotations"]["org.opencontainers.image.created"], CREATED);

        let index: serde_json::Value =
            serde_json::from_slice(&referrers_index(std::slice::from_ref(&referrer))).unwrap();
        assert_eq!(index["manifests"][0]["digest"], referrer.manifest_digest().to_string());
        assert_eq!(index["manifests"][0]["artifactType"], BUNDLE_MEDIA_TYPE);
    }
}
