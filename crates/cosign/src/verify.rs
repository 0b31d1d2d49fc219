//! Verification of what others claim to be signatures. Every byte that comes in here is somebody else's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extent::Digest;

use crate::bundle::{
    IN_TOTO_PAYLOAD_TYPE, SHA256, SIGN_PREDICATE_TYPE, STATEMENT_TYPE, pre_authentication_encoding,
};
use crate::error::excerpt;
use crate::oci::Descriptor;
use crate::simple_signing::{
    CERTIFICATE_ANNOTATION, PAYLOAD_TYPE, SIGNATURE_ANNOTATION, SIMPLE_SIGNING_MEDIA_TYPE,
};
use crate::wire::{BUNDLE_MEDIA_TYPES, Bundle, Manifest, MessageDigest, Payload, Statement, bounded, parse};
use crate::{Part, PublicKey, VerifyError};

/// The longest manifest that is looked into. A signature with a certificate chain and a log entry takes 8 KiB.
pub const MAX_MANIFEST_LEN: u64 = 1 << 20;

/// The longest payload that is looked into. Cosign's own have 250 bytes, and more with annotations.
pub const MAX_PAYLOAD_LEN: u64 = 64 << 10;

/// The longest bundle that is looked into. One with a certificate, a log entry and a timestamp takes 12 KiB.
pub const MAX_BUNDLE_LEN: u64 = 1 << 20;

/// How many signatures of one image are looked at, so that a registry cannot make us fetch thousands.
const MAX_SIGNATURES: usize = 64;

/// Whose signature is believed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Policy {
    /// The owner of this key's.
    Key(PublicKey),
}

/// A layer to fetch: the bundle of a referrer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// The layer's digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
}

/// A layer to fetch and the signature over it: a payload of the old shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLayer {
    /// The payload.
    pub payload: Layer,
    /// The signature in base64.
    signature: String,
    /// Whether it comes with the certificate of an identity.
    certified: bool,
}

/// The payloads that the manifest under [`crate::signature_tag`] lists, the newest first, at most 64.
///
/// Each is to be fetched and given to [`Policy::verify_payload`] until one passes.
pub fn signature_layers(manifest: &[u8]) -> Result<Vec<SignatureLayer>, VerifyError> {
    let manifest = Manifest::parse(manifest)?;
    let mut found = Vec::new();
    for layer in manifest.layers.iter().rev().filter(|l| l.media_type == SIMPLE_SIGNING_MEDIA_TYPE) {
        let annotation = |name| layer.annotations.as_ref().and_then(|a| a.get(name));
        let Some(signature) = annotation(SIGNATURE_ANNOTATION) else { continue };
        let certified = annotation(CERTIFICATE_ANNOTATION).is_some();
        bounded(Part::Payload, layer.size, MAX_PAYLOAD_LEN)?;
        let payload = Layer { digest: layer.digest, len: layer.size };
        found.push(SignatureLayer { payload, signature: signature.clone(), certified });
    }
    found.truncate(MAX_SIGNATURES);
    if !found.is_empty() {
        return Ok(found);
    }
    Err(match manifest.layers.iter().find(|l| l.media_type != SIMPLE_SIGNING_MEDIA_TYPE) {
        Some(other) => VerifyError::MediaType { part: Part::Payload, found: excerpt(&other.media_type) },
        None => VerifyError::NoSignature { part: Part::Manifest },
    })
}

/// The bundle that a referrer's manifest carries, to be fetched and given to [`Policy::verify_image_bundle`].
pub fn bundle_layer(manifest: &[u8]) -> Result<Layer, VerifyError> {
    let manifest = Manifest::parse(manifest)?;
    let known = |layer: &&Descriptor| BUNDLE_MEDIA_TYPES.contains(&layer.media_type.as_str());
    match (manifest.layers.iter().find(known), manifest.layers.first()) {
        (Some(bundle), _) => {
            bounded(Part::Bundle, bundle.size, MAX_BUNDLE_LEN)?;
            Ok(Layer { digest: bundle.digest, len: bundle.size })
        }
        (None, Some(other)) => {
            Err(VerifyError::MediaType { part: Part::Bundle, found: excerpt(&other.media_type) })
        }
        (None, None) => Err(VerifyError::NoSignature { part: Part::Manifest }),
    }
}

impl Policy {
    /// Whether one of the signatures in `manifest`, whose payloads are among `payloads`, is for the image whose
    /// manifest has the digest `image`. Without one, the error is of the newest that could be tried.
    pub fn verify_signature_image(
        &self,
        image: &Digest,
        manifest: &[u8],
        payloads: &[&[u8]],
    ) -> Result<(), VerifyError> {
        let mut error = VerifyError::NoSignature { part: Part::Payload };
        let mut newest = None;
        for layer in signature_layers(manifest)? {
            for payload in payloads {
                match self.verify_payload(image, &layer, payload) {
                    Ok(()) => return Ok(()),
                    // The payload of another layer; its own may follow.
                    Err(e @ VerifyError::OtherPayload { .. }) => {
                        if matches!(error, VerifyError::NoSignature { .. }) {
                            error = e;
                        }
                    }
                    Err(e) => newest = newest.or(Some(e)),
                }
            }
        }
        Err(newest.unwrap_or(error))
    }

    /// Whether `payload`, which `layer` lists, is signed and is for the image whose manifest has the digest `image`.
    ///
    /// The repository that the payload claims is not checked: mirrors would fail.
    pub fn verify_payload(
        &self,
        image: &Digest,
        layer: &SignatureLayer,
        payload: &[u8],
    ) -> Result<(), VerifyError> {
        bounded(Part::Payload, payload.len() as u64, MAX_PAYLOAD_LEN)?;
        let found = Digest::of(payload);
        if found != layer.payload.digest {
            return Err(VerifyError::OtherPayload { wanted: layer.payload.digest, found });
        }
        let Self::Key(key) = self;
        if !key.verifies(&found, &signature(&layer.signature, Part::Manifest)?) {
            return Err(if layer.certified { VerifyError::Certificate } else { VerifyError::Signature });
        }
        let Payload { critical } = parse(Part::Payload, payload, MAX_PAYLOAD_LEN)?;
        if critical.r#type != PAYLOAD_TYPE {
            return Err(VerifyError::PayloadType { part: Part::Payload, found: excerpt(&critical.r#type) });
        }
        let found = critical.image.docker_manifest_digest;
        if found.parse() == Ok(*image) { Ok(()) } else { Err(other(image, &found)) }
    }

    /// Whether `bundle` signs the image whose manifest has the digest `image`, and says no more than that.
    pub fn verify_image_bundle(&self, image: &Digest, bundle: &[u8]) -> Result<(), VerifyError> {
        let bundle = Bundle::parse(bundle)?;
        let envelope =
            bundle.dsse_envelope.as_ref().ok_or(VerifyError::Content { wanted: "dsseEnvelope" })?;
        if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE {
            let found = excerpt(&envelope.payload_type);
            return Err(VerifyError::PayloadType { part: Part::Bundle, found });
        }
        let sig = match envelope.signatures.as_slice() {
            [one] => signature(&one.sig, Part::Bundle)?,
            [] => return Err(VerifyError::NoSignature { part: Part::Bundle }),
            several => return Err(VerifyError::SignatureCount { count: several.len() }),
        };
        let statement = base64(&envelope.payload, Part::Statement)?;
        let signed = Digest::of(&pre_authentication_encoding(&envelope.payload_type, &statement));
        self.verify(&bundle, &signed, &sig)?;

        let statement: Statement = parse(Part::Statement, &statement, MAX_BUNDLE_LEN)?;
        if statement.r#type != STATEMENT_TYPE {
            let found = excerpt(&statement.r#type);
            return Err(VerifyError::PayloadType { part: Part::Statement, found });
        }
        if statement.predicate_type != SIGN_PREDICATE_TYPE {
            return Err(VerifyError::PredicateType { found: excerpt(&statement.predicate_type) });
        }
        let mut subjects = statement.subject.iter().filter_map(|s| s.digest.sha256.as_deref());
        let first = subjects.clone().next().unwrap_or_default();
        if subjects.any(|hex| Digest::from_hex(hex) == Ok(*image)) {
            Ok(())
        } else {
            Err(other(image, first))
        }
    }

    /// Whether `bundle` signs the file whose SHA-256 is `blob`.
    pub fn verify_blob_bundle(&self, blob: &Digest, bundle: &[u8]) -> Result<(), VerifyError> {
        let bundle = Bundle::parse(bundle)?;
        let wanted = "messageSignature";
        let message = bundle.message_signature.as_ref().ok_or(VerifyError::Content { wanted })?;
        let MessageDigest { algorithm, digest } = &message.message_digest;
        if algorithm != SHA256 {
            return Err(other(blob, algorithm));
        }
        // Nobody signed this copy of the digest; it only tells another file's bundle from another key's.
        let found = base64(digest, Part::Bundle)?;
        if found != blob.as_bytes() {
            return Err(match <[u8; 32]>::try_from(found) {
                Ok(bytes) => other(blob, &Digest::from_bytes(bytes).to_string()),
                Err(_) => other(blob, digest),
            });
        }
        self.verify(&bundle, blob, &signature(&message.signature, Part::Bundle)?)
    }

    /// Whether `signature`, of the bytes whose SHA-256 is `signed`, is by whom the policy wants.
    fn verify(&self, bundle: &Bundle, signed: &Digest, signature: &[u8]) -> Result<(), VerifyError> {
        let Self::Key(key) = self;
        let material = &bundle.verification_material;
        if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
            return Err(VerifyError::Certificate);
        }
        let hint = &material.public_key.as_ref().ok_or(VerifyError::Content { wanted: "publicKey" })?.hint;
        if key.verifies(signed, signature) {
            return Ok(());
        }
        // The hint is not signed and may be anything: it explains a failure and decides nothing.
        if hint.is_empty() || *hint == key.hint() {
            return Err(VerifyError::Signature);
        }
        Err(VerifyError::OtherKey { key: key.hint(), found: excerpt(hint) })
    }
}

fn base64(text: &str, part: Part) -> Result<Vec<u8>, VerifyError> {
    STANDARD.decode(text).map_err(|_| VerifyError::NotBase64 { part })
}

/// The signature that `text` in `part` is.
fn signature(text: &str, part: Part) -> Result<Vec<u8>, VerifyError> {
    if text.is_empty() {
        return Err(VerifyError::NoSignature { part });
    }
    base64(text, Part::Signature)
}

fn other(wanted: &Digest, found: &str) -> VerifyError {
    VerifyError::OtherDigest { wanted: *wanted, found: excerpt(found) }
}
