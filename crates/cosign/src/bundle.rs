//! The new shape: Sigstore bundles, signed by a key.
//!
//! Source: Sigstore protobuf-specs 0.5, `bundle.proto`, in proto3's JSON; DSSE 1.0, `protocol.md`; in-toto attestation
//! framework 1.0, statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extent::Digest;
use serde::Serialize;

use crate::SigningKey;
use crate::oci::json;

/// The media type of a bundle, version 0.3.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What a statement says of an image that is merely signed.
pub const SIGN_PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The type of an envelope's payload.
pub(crate) const IN_TOTO_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The type of a statement.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// SHA-256 as bundles name it.
pub(crate) const SHA256: &str = "SHA2_256";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: &'static str,
    verification_material: VerificationMaterial,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerificationMaterial {
    public_key: PublicKeyHint,
}

#[derive(Serialize)]
struct PublicKeyHint {
    hint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Content {
    MessageSignature { message_digest: MessageDigest, signature: String },
    DsseEnvelope { payload: String, payload_type: &'static str, signatures: [EnvelopeSignature; 1] },
}

#[derive(Serialize)]
struct MessageDigest {
    algorithm: &'static str,
    digest: String,
}

#[derive(Serialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    r#type: &'static str,
    subject: [StatementSubject; 1],
    predicate_type: &'static str,
    predicate: Predicate,
}

#[derive(Serialize)]
struct StatementSubject {
    digest: SubjectDigest,
}

#[derive(Serialize)]
struct SubjectDigest {
    sha256: String,
}

#[derive(Serialize)]
struct Predicate {}

/// The bundle, `<file>.sigstore.json`, that signs the file whose SHA-256 is `blob`.
///
/// The digest alone is signed, so a file that is described and never written is as easy to sign as a small one.
pub fn blob_bundle(key: &SigningKey, blob: &Digest) -> Vec<u8> {
    bundle(
        key,
        Content::MessageSignature {
            message_digest: MessageDigest { algorithm: SHA256, digest: STANDARD.encode(blob.as_bytes()) },
            signature: STANDARD.encode(key.sign(blob)),
        },
    )
}

/// The bundle that signs the image whose manifest has the digest `image`; [`crate::Referrer`] attaches it.
pub fn image_bundle(key: &SigningKey, image: &Digest) -> Vec<u8> {
    let statement = json(&Statement {
        r#type: STATEMENT_TYPE,
        subject: [StatementSubject { digest: SubjectDigest { sha256: image.hex() } }],
        predicate_type: SIGN_PREDICATE_TYPE,
        predicate: Predicate {},
    });
    let signed = Digest::of(&pre_authentication_encoding(IN_TOTO_PAYLOAD_TYPE, &statement));
    bundle(
        key,
        Content::DsseEnvelope {
            payload: STANDARD.encode(&statement),
            payload_type: IN_TOTO_PAYLOAD_TYPE,
            signatures: [EnvelopeSignature { sig: STANDARD.encode(key.sign(&signed)) }],
        },
    )
}

/// What an envelope's signature signs: `DSSEv1 <len> <type> <len> <payload>`.
pub(crate) fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn bundle(key: &SigningKey, content: Content) -> Vec<u8> {
    let verification_material =
        VerificationMaterial { public_key: PublicKeyHint { hint: key.public_key().hint() } };
    json(&Bundle { media_type: BUNDLE_MEDIA_TYPE, verification_material, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_that_of_the_specification() {
        // Source: DSSE 1.0, protocol.md, test vectors.
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn the_same_key_and_digest_make_the_same_bundle() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&key.to_pem()).unwrap();
        let digest = Digest::of(b"abc");
        assert_eq!(blob_bundle(&key, &digest), blob_bundle(&again, &digest));
        assert_eq!(image_bundle(&key, &digest), image_bundle(&again, &digest));
    }

    #[test]
    fn a_bundle_has_the_members_of_its_specification() {
        let key = SigningKey::generate().unwrap();
        let digest = Digest::of(b"abc");
        let blob: serde_json::Value = serde_json::from_slice(&blob_bundle(&key, &digest)).unwrap();
        assert_eq!(blob["mediaType"], BUNDLE_MEDIA_TYPE);
        assert_eq!(blob["verificationMaterial"]["publicKey"]["hint"], key.public_key().hint());
        let message = &blob["messageSignature"];
        assert_eq!(message["messageDigest"]["algorithm"], "SHA2_256");
        assert_eq!(message["messageDigest"]["digest"], STANDARD.encode(digest.as_bytes()));

        let image: serde_json::Value = serde_json::from_slice(&image_bundle(&key, &digest)).unwrap();
        let envelope = &image["dsseEnvelope"];
        assert_eq!(envelope["payloadType"], IN_TOTO_PAYLOAD_TYPE);
        let statement = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let expected = format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"digest\":{{\"sha256\":\"{}\"}}}}],\
             \"predicateType\":\"https://sigstore.dev/cosign/sign/v1\",\"predicate\":{{}}}}",
            digest.hex()
        );
        assert_eq!(str::from_utf8(&statement).unwrap(), expected);
    }
}
