//! What others write: manifests, payloads and bundles, as far as verification looks into them.
//!
//! Members that are not named here are skipped. One that is there twice is an error, so that no two readers believe
//! different values; of annotations, which are maps, the last counts.

use extent::Digest;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::excerpt;
use crate::oci::{Descriptor, MANIFEST};
use crate::{BUNDLE_MEDIA_TYPE, MAX_BUNDLE_LEN, MAX_MANIFEST_LEN, Part, VerifyError};

/// Every version's name of bundles whose keys and signatures are where version 0.3 has them.
pub(crate) const BUNDLE_MEDIA_TYPES: [&str; 4] = [
    BUNDLE_MEDIA_TYPE,
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];

/// Docker's name for a manifest, which some registries turn OCI's into.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub media_type: Option<String>,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
pub(crate) struct Payload {
    pub critical: Critical,
}

#[derive(Deserialize)]
pub(crate) struct Critical {
    pub image: Image,
    pub r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Image {
    pub docker_manifest_digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bundle {
    pub media_type: String,
    pub verification_material: VerificationMaterial,
    pub message_signature: Option<MessageSignature>,
    pub dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerificationMaterial {
    pub public_key: Option<PublicKeyHint>,
    pub certificate: Option<IgnoredAny>,
    pub x509_certificate_chain: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(crate) struct PublicKeyHint {
    #[serde(default)]
    pub hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageSignature {
    pub message_digest: MessageDigest,
    #[serde(default)]
    pub signature: String,
}

#[derive(Deserialize)]
pub(crate) struct MessageDigest {
    pub algorithm: String,
    pub digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    pub payload: String,
    pub payload_type: String,
    #[serde(default)]
    pub signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
pub(crate) struct EnvelopeSignature {
    #[serde(default)]
    pub sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statement {
    #[serde(rename = "_type")]
    pub r#type: String,
    #[serde(default)]
    pub subject: Vec<StatementSubject>,
    pub predicate_type: String,
}

#[derive(Deserialize)]
pub(crate) struct StatementSubject {
    #[serde(default)]
    pub digest: SubjectDigest,
}

#[derive(Deserialize, Default)]
pub(crate) struct SubjectDigest {
    pub sha256: Option<String>,
}

impl Statement {
    /// The digests of what it is about.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.subject.iter().filter_map(|s| Digest::from_hex(s.digest.sha256.as_deref()?).ok())
    }

    /// Whether it is about `image`.
    pub fn is_of(&self, image: &Digest) -> bool {
        self.digests().any(|digest| digest == *image)
    }
}

impl Manifest {
    /// Reads `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let manifest: Self = parse(Part::Manifest, bytes, MAX_MANIFEST_LEN)?;
        match manifest.media_type.as_deref() {
            None | Some(MANIFEST | DOCKER_MANIFEST) => Ok(manifest),
            Some(found) => Err(VerifyError::MediaType { part: Part::Manifest, found: excerpt(found) }),
        }
    }
}

impl Bundle {
    /// Reads `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let bundle: Self = parse(Part::Bundle, bytes, MAX_BUNDLE_LEN)?;
        if BUNDLE_MEDIA_TYPES.contains(&bundle.media_type.as_str()) {
            return Ok(bundle);
        }
        Err(VerifyError::MediaType { part: Part::Bundle, found: excerpt(&bundle.media_type) })
    }
}

/// Reads `bytes`, at most `max` of them.
pub(crate) fn parse<T: DeserializeOwned>(part: Part, bytes: &[u8], max: u64) -> Result<T, VerifyError> {
    bounded(part, bytes.len() as u64, max)?;
    let malformed = |source| VerifyError::Malformed { part, source };
    // All of it: fields that nobody asks for are skipped below, and then not even looked at for UTF-8.
    serde_json::from_slice::<serde_json::Value>(bytes).map_err(malformed)?;
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Refuses what is longer than `max`.
pub(crate) fn bounded(part: Part, len: u64, max: u64) -> Result<(), VerifyError> {
    if len <= max { Ok(()) } else { Err(VerifyError::TooLong { part, len, max }) }
}
