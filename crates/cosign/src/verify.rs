//! Verification of what others claim to be signatures. Every byte that comes in here is somebody else's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extent::Digest;

use crate::bundle::{
    IN_TOTO_PAYLOAD_TYPE, SHA256, SIGN_PREDICATE_TYPE, STATEMENT_TYPE, pre_authentication_encoding,
};
use crate::error::excerpt;
use crate::keyless::Annotations;
use crate::oci::Descriptor;
use crate::simple_signing::{
    CERTIFICATE_ANNOTATION, CHAIN_ANNOTATION, PAYLOAD_TYPE, PROMISE_ANNOTATION, SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING_MEDIA_TYPE,
};
use crate::wire::{BUNDLE_MEDIA_TYPES, Bundle, Manifest, MessageDigest, Payload, Statement, bounded, parse};
use crate::{Keyless, Part, PublicKey, VerifyError};

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
    /// An identity's.
    Keyless(Keyless),
    /// Whosever one of these believes, asked in this order. Without any, nobody's.
    Any(Vec<Policy>),
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
    /// What the certificate of an identity comes with.
    annotations: Option<Annotations>,
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
        let annotations = annotation(CERTIFICATE_ANNOTATION).map(|certificate| Annotations {
            certificate: certificate.clone(),
            chain: annotation(CHAIN_ANNOTATION).cloned(),
            promise: annotation(PROMISE_ANNOTATION).cloned(),
        });
        bounded(Part::Payload, layer.size, MAX_PAYLOAD_LEN)?;
        let payload = Layer { digest: layer.digest, len: layer.size };
        found.push(SignatureLayer { payload, signature: signature.clone(), annotations });
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

/// A bundle's signature and what it is over.
struct Signed<'a> {
    bundle: &'a Bundle,
    /// All of the bundle.
    bytes: &'a [u8],
    /// The file, or a subject of the statement.
    of: Digest,
    /// The SHA-256 of what the signature is over.
    digest: Digest,
    signature: Vec<u8>,
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
        self.payload_is_signed(layer, payload, &found)?;
        let Payload { critical } = parse(Part::Payload, payload, MAX_PAYLOAD_LEN)?;
        if critical.r#type != PAYLOAD_TYPE {
            return Err(VerifyError::PayloadType { part: Part::Payload, found: excerpt(&critical.r#type) });
        }
        let found = critical.image.docker_manifest_digest;
        if found.parse() == Ok(*image) { Ok(()) } else { Err(other(image, &found)) }
    }

    /// Whether `bundle` signs the image whose manifest has the digest `image`, and says no more than that.
    pub fn verify_image_bundle(&self, image: &Digest, bundle: &[u8]) -> Result<(), VerifyError> {
        let bytes = bundle;
        let bundle = Bundle::parse(bytes)?;
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
        let stated = stated(&statement);
        // The verifier of certificates wants to know what is signed; whether that is the image is judged below.
        let of = match &stated {
            Ok(statement) if statement.is_of(image) => *image,
            Ok(statement) => statement.digests().next().unwrap_or(*image),
            Err(_) => *image,
        };
        self.is_signed(&Signed { bundle: &bundle, bytes, of, digest: signed, signature: sig })?;

        let statement = stated?;
        if statement.r#type != STATEMENT_TYPE {
            let found = excerpt(&statement.r#type);
            return Err(VerifyError::PayloadType { part: Part::Statement, found });
        }
        if statement.predicate_type != SIGN_PREDICATE_TYPE {
            return Err(VerifyError::PredicateType { found: excerpt(&statement.predicate_type) });
        }
        if statement.is_of(image) {
            return Ok(());
        }
        let mut named = statement.subject.iter().filter_map(|s| s.digest.sha256.as_deref());
        Err(other(image, named.next().unwrap_or_default()))
    }

    /// Whether `bundle` signs the file whose SHA-256 is `blob`.
    pub fn verify_blob_bundle(&self, blob: &Digest, bundle: &[u8]) -> Result<(), VerifyError> {
        let bytes = bundle;
        let bundle = Bundle::parse(bytes)?;
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
        let signature = signature(&message.signature, Part::Bundle)?;
        self.is_signed(&Signed { bundle: &bundle, bytes, of: *blob, digest: *blob, signature })
    }

    /// Whether `payload`, whose digest is `digest`, is signed in `layer` by whom the policy wants.
    fn payload_is_signed(
        &self,
        layer: &SignatureLayer,
        payload: &[u8],
        digest: &Digest,
    ) -> Result<(), VerifyError> {
        match (self, &layer.annotations) {
            (Self::Key(key), annotations) => {
                if key.verifies(digest, &signature(&layer.signature, Part::Manifest)?) {
                    return Ok(());
                }
                Err(if annotations.is_some() { VerifyError::Certificate } else { VerifyError::Signature })
            }
            (Self::Keyless(keyless), Some(annotations)) => {
                signature(&layer.signature, Part::Manifest)?;
                keyless.verify_payload(payload, &layer.signature, annotations)
            }
            (Self::Keyless(_), None) => Err(VerifyError::Key),
            (Self::Any(policies), _) => {
                first(policies, |policy| policy.payload_is_signed(layer, payload, digest))
            }
        }
    }

    /// Whether a bundle is signed by whom the policy wants.
    fn is_signed(&self, signed: &Signed) -> Result<(), VerifyError> {
        match self {
            Self::Key(key) => signed.by_key(key),
            Self::Keyless(keyless) if signed.is_certified() => {
                keyless.verify_bundle(&signed.of, signed.bytes)
            }
            Self::Keyless(_) => Err(VerifyError::Key),
            Self::Any(policies) => first(policies, |policy| policy.is_signed(signed)),
        }
    }
}

impl Signed<'_> {
    fn is_certified(&self) -> bool {
        let material = &self.bundle.verification_material;
        material.certificate.is_some() || material.x509_certificate_chain.is_some()
    }

    fn by_key(&self, key: &PublicKey) -> Result<(), VerifyError> {
        if self.is_certified() {
            return Err(VerifyError::Certificate);
        }
        let hint = self.bundle.verification_material.public_key.as_ref();
        let hint = &hint.ok_or(VerifyError::Content { wanted: "publicKey" })?.hint;
        if key.verifies(&self.digest, &self.signature) {
            return Ok(());
        }
        // The hint is not signed and may be anything: it explains a failure and decides nothing.
        if hint.is_empty() || *hint == key.hint() {
            return Err(VerifyError::Signature);
        }
        Err(VerifyError::OtherKey { key: key.hint(), found: excerpt(hint) })
    }
}

/// The first of `policies` that believes decides; without one, the reason of each is told.
fn first(
    policies: &[Policy],
    believes: impl Fn(&Policy) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let mut refusals = Vec::new();
    for policy in policies {
        match believes(policy) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(VerifyError::NoPolicy { refusals })
}

fn stated(statement: &[u8]) -> Result<Statement, VerifyError> {
    parse(Part::Statement, statement, MAX_BUNDLE_LEN)
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
