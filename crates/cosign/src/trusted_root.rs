//! Whom a keyless signature rests on: Sigstore's certificate authorities, logs and timestamp authorities.
//!
//! ```text
//! trusted_root.json
//! ├─ certificateAuthorities   Fulcio: certificates for identities
//! ├─ ctlogs                   what Fulcio issued (RFC 6962)
//! ├─ tlogs                    Rekor: what was signed
//! └─ timestampAuthorities     when (RFC 3161)
//! ```
//!
//! Each has the time in which it is valid. The public instance's document comes with TUF, which is for the operator to
//! fetch: `cosign trusted-root create`, or any mirror of `tuf-repo-cdn.sigstore.dev`. Nothing is fetched here.
//!
//! Source: Sigstore protobuf-specs 0.5, `sigstore_trustroot.proto`, in proto3's JSON.

use std::fmt;
use std::sync::Arc;

use sigstore_verify::types::bundle::TransparencyLogEntry;
use sigstore_verify::types::{Artifact, Bundle};
use sigstore_verify::{
    CertificateError, Error, TransparencyLogError, VerificationPolicy, VerificationResult, Verifier,
    trust_root,
};

use crate::error::{evidence, excerpt};
use crate::{Part, VerifyError, provider};

/// The longest trusted root that is read. The public instance's has 7 KiB, GitHub's 32.
pub const MAX_TRUSTED_ROOT_LEN: u64 = 1 << 20;

/// What the media types of trusted roots begin with; a version follows.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

const NOT_THEN: &str = "the log's key was not valid then";

/// Certificate authorities, logs and timestamp authorities that are trusted.
#[derive(Clone)]
pub struct TrustedRoot(Arc<Inner>);

struct Inner {
    document: trust_root::TrustedRoot,
    verifier: Verifier,
}

/// Why a document is no trusted root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedRootError {
    /// More bytes than a trusted root has.
    #[error("the trusted root has {len} bytes, more than {max}")]
    TooLong {
        /// Its length.
        len: u64,
        /// [`MAX_TRUSTED_ROOT_LEN`].
        max: u64,
    },
    /// Not JSON, or not of the shape.
    #[error("the trusted root is malformed")]
    Malformed {
        /// Where and how.
        #[source]
        source: serde_json::Error,
    },
    /// A document of another kind.
    #[error("the trusted root has the media type `{found}` instead of `{MEDIA_TYPE}…`")]
    MediaType {
        /// The type.
        found: String,
    },
    /// Nobody who could vouch: every signature would be refused.
    #[error("the trusted root has no `{member}`")]
    Missing {
        /// The member that is empty or not there.
        member: &'static str,
    },
    /// A key or a certificate that is none.
    #[error("the trusted root has a key or certificate that cannot be used")]
    Unusable {
        /// Which and why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TrustedRoot {
    /// Reads `trusted_root.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TrustedRootError> {
        provider::install();
        let (len, max) = (bytes.len() as u64, MAX_TRUSTED_ROOT_LEN);
        if len > max {
            return Err(TrustedRootError::TooLong { len, max });
        }
        let document: trust_root::TrustedRoot =
            serde_json::from_slice(bytes).map_err(|source| TrustedRootError::Malformed { source })?;
        if !document.media_type.starts_with(MEDIA_TYPE) {
            return Err(TrustedRootError::MediaType { found: excerpt(&document.media_type) });
        }
        for (member, empty) in [
            ("certificateAuthorities", document.certificate_authorities.is_empty()),
            ("ctlogs", document.ctlogs.is_empty()),
            ("tlogs", document.tlogs.is_empty()),
        ] {
            if empty {
                return Err(TrustedRootError::Missing { member });
            }
        }
        let verifier = Verifier::new(&document)
            .map_err(|source| TrustedRootError::Unusable { source: Box::new(source) })?;
        Ok(Self(Arc::new(Inner { document, verifier })))
    }

    /// Whether `bundle` is a signature of `artifact` by whomever its certificate names, at a time when certificate,
    /// authorities and logs were valid.
    pub(crate) fn verify(
        &self,
        bundle: &Bundle,
        artifact: Artifact,
    ) -> Result<VerificationResult, VerifyError> {
        let Inner { document, verifier } = &*self.0;
        // A proof is tried with every key; the name of the log has to be right as well.
        let entries = &bundle.verification_material.tlog_entries;
        if let Some(problem) = entries.iter().find_map(|entry| self.log_key_problem(entry)) {
            return Err(evidence(Part::LogKey, problem));
        }
        let anybody = VerificationPolicy::any_identity();
        let verified = verifier.verify(artifact.clone(), bundle, &anybody).map_err(|e| refusal(&e))?;
        // A checkpoint has no time, so any log key that ever was is taken for it. Once more, by those of that time.
        let mut then = document.clone();
        then.tlogs.retain(|log| {
            let valid_for = log.public_key.valid_for;
            verified.verified_timestamps().iter().all(|&t| valid_for.is_none_or(|v| v.contains(t)))
        });
        if then.tlogs.len() < document.tlogs.len() {
            Verifier::new(&then)
                .and_then(|verifier| verifier.verify(artifact, bundle, &anybody))
                .map_err(|_| evidence(Part::LogKey, NOT_THEN))?;
        }
        Ok(verified)
    }

    /// Why the log of `entry` cannot vouch for it: its key is not here, or was not valid at that time.
    fn log_key_problem(&self, entry: &TransparencyLogEntry) -> Option<&'static str> {
        let id = &entry.log_id.key_id;
        let Some(log) = self.0.document.tlogs.iter().find(|log| log.log_id.key_id == *id) else {
            return Some("no trusted log has this id");
        };
        let window = log.public_key.valid_for?;
        entry.integrated_time.is_some_and(|time| !window.contains(time)).then_some(NOT_THEN)
    }
}

/// What `error` says, in our words.
fn refusal(error: &Error) -> VerifyError {
    use TransparencyLogError as Log;
    let part = match error {
        Error::SignatureInvalid(_) => return VerifyError::Signature,
        // What is signed was compared with what the log has.
        Error::ArtifactMismatch(_) => Part::LogEntry,
        Error::Certificate(error) => match error {
            // The variants for these are for a certificate that has passed this; the wording is all there is.
            CertificateError::ChainInvalid(detail)
                if detail.contains("CertExpired") || detail.contains("CertNotValidYet") =>
            {
                Part::SigningTime
            }
            CertificateError::ChainInvalid(_) | CertificateError::NoValidAuthority { .. } => {
                Part::CertificateChain
            }
            CertificateError::NotYetValid { .. } | CertificateError::Expired { .. } => Part::SigningTime,
            CertificateError::Sct(_) => Part::CertificateTimestamp,
            _ => Part::Certificate,
        },
        Error::TransparencyLog(error) => match error {
            Log::UnknownLog { .. } => Part::LogKey,
            Log::InclusionPromise(_) => Part::InclusionPromise,
            Log::Checkpoint(_) => Part::Checkpoint,
            Log::InclusionProof(_) => Part::InclusionProof,
            Log::IntegratedTime(_) => Part::SigningTime,
            _ => Part::LogEntry,
        },
        Error::Timestamp(_) => Part::Timestamp,
        _ => Part::Bundle,
    };
    evidence(part, error)
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let document = &self.0.document;
        f.debug_struct("TrustedRoot")
            .field("certificate_authorities", &document.certificate_authorities.len())
            .field("ctlogs", &document.ctlogs.len())
            .field("tlogs", &document.tlogs.len())
            .field("timestamp_authorities", &document.timestamp_authorities.len())
            .finish()
    }
}
