//! Signatures by an identity: a certificate that lives for minutes, and logs that say when it signed.
//!
//! ```text
//! identity ── OpenID provider (issuer) ── Fulcio ── certificate ── signature ── Rekor ── time
//!                                           └─ CT log: SCT in the certificate    └─ or a timestamp authority
//! ```
//!
//! The verification is `sigstore-verify`'s, for both shapes: what annotations of the old shape hold are the members of
//! a bundle of version 0.1 with a promise of the log and no proof. All of it is offline.
//!
//! Source: Sigstore client specification 1.0, verification; cosign `specs/SIGNATURE_SPEC.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extent::Digest;
use serde::Deserialize;
use serde_json::json;
use sigstore_verify::types::{Artifact, Bundle, Sha256Hash};

use crate::error::{evidence, excerpt};
use crate::wire::parse;
use crate::{MAX_MANIFEST_LEN, Part, Pattern, TrustedRoot, VerifyError};

/// The most certificates between a signature's and a root. Fulcio's has one.
const MAX_CHAIN: usize = 8;

/// Whose signature is believed: an identity that an OpenID provider knows, and no key.
#[derive(Debug, Clone)]
pub struct Keyless {
    /// Whom authorities and logs are.
    pub trusted_root: TrustedRoot,
    /// What the certificate's subject has to be: an e-mail address, or the URI of a workflow.
    pub identity: Pattern,
    /// What the OpenID provider's URL has to be.
    pub issuer: Pattern,
}

/// What comes beside a signature of the old shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The certificates between it and the root, in PEM.
    pub chain: Option<String>,
    /// The log's promise, in JSON.
    pub promise: Option<String>,
}

/// Source: cosign, `pkg/cosign/bundle/rekor.go`, as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Promise {
    signed_entry_timestamp: String,
    payload: LogEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

impl Keyless {
    /// Whether `bundle` signs what has the digest `artifact` by whom the policy wants.
    pub(crate) fn verify_bundle(&self, artifact: &Digest, bundle: &[u8]) -> Result<(), VerifyError> {
        let malformed = |e: &dyn std::fmt::Display| evidence(Part::Bundle, e);
        let text = str::from_utf8(bundle).map_err(|e| malformed(&e))?;
        let bundle = Bundle::from_json(text).map_err(|e| malformed(&e))?;
        self.verify(&bundle, Artifact::from(Sha256Hash::new(*artifact.as_bytes())))
    }

    /// Whether `signature` in base64, with what comes beside it, signs `payload` by whom the policy wants.
    pub(crate) fn verify_payload(
        &self,
        payload: &[u8],
        signature: &str,
        annotations: &Annotations,
    ) -> Result<(), VerifyError> {
        let bundle = annotations.bundle(payload, signature)?;
        self.verify(&bundle, Artifact::Blob(payload))
    }

    fn verify(&self, bundle: &Bundle, artifact: Artifact) -> Result<(), VerifyError> {
        let verified = self.trusted_root.verify(bundle, artifact)?;
        let identity = verified.identity().map(ToString::to_string).unwrap_or_default();
        if !self.identity.matches(&identity) {
            return Err(VerifyError::OtherIdentity {
                wanted: self.identity.to_string(),
                found: excerpt(&identity),
            });
        }
        let issuer = verified.issuer().unwrap_or_default();
        if !self.issuer.matches(issuer) {
            return Err(VerifyError::OtherIssuer { wanted: self.issuer.to_string(), found: excerpt(issuer) });
        }
        Ok(())
    }
}

impl Annotations {
    /// The bundle that says the same.
    fn bundle(&self, payload: &[u8], signature: &str) -> Result<Bundle, VerifyError> {
        let mut certificates = certificates(&self.certificate)?;
        certificates.truncate(1);
        if certificates.is_empty() {
            return Err(evidence(Part::Certificate, &"no `CERTIFICATE` block in PEM"));
        }
        certificates.extend(self::certificates(self.chain.as_deref().unwrap_or_default())?);
        let max = MAX_CHAIN;
        if certificates.len() > max {
            let count = certificates.len();
            return Err(evidence(Part::CertificateChain, &format!("{count} certificates, more than {max}")));
        }
        let promise = self.promise.as_ref().ok_or(VerifyError::NotLogged)?;
        let Promise { signed_entry_timestamp, payload: entry } =
            parse(Part::InclusionPromise, promise.as_bytes(), MAX_MANIFEST_LEN)?;
        let log_id = Digest::from_hex(&entry.log_id)
            .map_err(|_| evidence(Part::LogKey, &"the log's id is no SHA-256 in hexadecimal"))?;
        let certificates: Vec<_> = certificates.iter().map(|der| json!({ "rawBytes": der })).collect();
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
            "verificationMaterial": {
                "x509CertificateChain": { "certificates": certificates },
                "tlogEntries": [{
                    "logIndex": entry.log_index.to_string(),
                    "logId": { "keyId": STANDARD.encode(log_id.as_bytes()) },
                    // The one kind that cosign ever promised for this shape.
                    "kindVersion": { "kind": "hashedrekord", "version": "0.0.1" },
                    "integratedTime": entry.integrated_time.to_string(),
                    "inclusionPromise": { "signedEntryTimestamp": signed_entry_timestamp },
                    "canonicalizedBody": entry.body,
                }],
            },
            "messageSignature": {
                "messageDigest": {
                    "algorithm": crate::bundle::SHA256,
                    "digest": STANDARD.encode(Digest::of(payload).as_bytes()),
                },
                "signature": signature,
            },
        });
        Bundle::from_json(&bundle.to_string()).map_err(|e| evidence(Part::InclusionPromise, &e))
    }
}

/// The certificates of `pem`, each in base64 of its DER.
fn certificates(pem: &str) -> Result<Vec<String>, VerifyError> {
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some((_, block)) = rest.split_once("-----BEGIN CERTIFICATE-----") {
        let (block, after) = block
            .split_once("-----END CERTIFICATE-----")
            .ok_or_else(|| evidence(Part::Certificate, &"a `CERTIFICATE` block without an end"))?;
        found.push(block.split_ascii_whitespace().collect());
        rest = after;
    }
    Ok(found)
}
