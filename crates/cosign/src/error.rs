//! Why a signature is not believed.

use std::fmt;

use extent::Digest;

/// What of a signature is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The OCI manifest that carries signatures or a bundle.
    Manifest,
    /// The JSON that a signature of the old shape signs.
    Payload,
    /// The Sigstore bundle.
    Bundle,
    /// The in-toto statement inside a bundle.
    Statement,
    /// The signature itself.
    Signature,
    /// The certificate of the identity that signed.
    Certificate,
    /// The way from the certificate to an authority of the trusted root.
    CertificateChain,
    /// The CT log's signature in the certificate.
    CertificateTimestamp,
    /// When it was signed, which has to be while the certificate was valid.
    SigningTime,
    /// An RFC 3161 timestamp.
    Timestamp,
    /// The key of the transparency log.
    LogKey,
    /// The transparency log's entry, which has to be of this signature, certificate and content.
    LogEntry,
    /// The log's signature over the entry and its time.
    InclusionPromise,
    /// The path from the entry to the log's root.
    InclusionProof,
    /// The log's signature over its root.
    Checkpoint,
}

/// Why bytes that are said to be a signature are not one that the policy accepts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// More bytes than such a part has.
    #[error("the {part} has {len} bytes, more than {max}")]
    TooLong {
        /// What is too long.
        part: Part,
        /// Its length.
        len: u64,
        /// The most that is read.
        max: u64,
    },
    /// Not JSON, or not of the shape.
    #[error("the {part} is malformed")]
    Malformed {
        /// What is malformed.
        part: Part,
        /// Where and how.
        #[source]
        source: serde_json::Error,
    },
    /// Not base64.
    #[error("the {part} is not in base64")]
    NotBase64 {
        /// What is not.
        part: Part,
    },
    /// A media type that is not known.
    #[error("the {part} has the media type `{found}`")]
    MediaType {
        /// Whose type it is.
        part: Part,
        /// The type.
        found: String,
    },
    /// No signature where one has to be.
    #[error("the {part} has no signature")]
    NoSignature {
        /// Where it is missing.
        part: Part,
    },
    /// A bundle's envelope with several signatures, of which it may have one.
    #[error("the bundle has {count} signatures instead of one")]
    SignatureCount {
        /// How many.
        count: usize,
    },
    /// A bundle for a file where one for an image is wanted, or the reverse.
    #[error("the bundle has no {wanted}")]
    Content {
        /// The member that is missing.
        wanted: &'static str,
    },
    /// Made for an identity, which its certificate names, where the policy wants a key.
    #[error("the signature is by a certificate and not by a key")]
    Certificate,
    /// Made by a key, where the policy wants an identity.
    #[error("the signature is by a key and not by a certificate")]
    Key,
    /// Made for an identity, without an entry of a log that says when.
    #[error("the signature has no entry in a transparency log")]
    NotLogged,
    /// What speaks for the signature of an identity does not hold.
    #[error("the {part} is not believed: {detail}")]
    Evidence {
        /// What does not hold.
        part: Part,
        /// Why not.
        detail: String,
    },
    /// Properly signed, by another identity.
    #[error("the signature is by `{found}` and not by `{wanted}`")]
    OtherIdentity {
        /// Whom the policy wants.
        wanted: String,
        /// The certificate's subject.
        found: String,
    },
    /// Properly signed, by an identity that another OpenID provider vouched for.
    #[error("the signer's identity is known to `{found}` and not to `{wanted}`")]
    OtherIssuer {
        /// Whom the policy wants.
        wanted: String,
        /// The issuer in the certificate.
        found: String,
    },
    /// Not believed by any of several policies, for a reason each.
    #[error("{}", told(.refusals))]
    NoPolicy {
        /// The reasons, in the order of the policies.
        refusals: Vec<VerifyError>,
    },
    /// Made by another key, says the bundle.
    #[error("the signature is not by the key `{key}`: the bundle names `{found}`")]
    OtherKey {
        /// The hint of the key that the policy wants.
        key: String,
        /// The hint in the bundle.
        found: String,
    },
    /// Made by another key or of other bytes: the two cannot be told apart.
    #[error("the signature is not by this key and of these bytes")]
    Signature,
    /// The payload is not the one that the manifest lists.
    #[error("the payload is `{found}` instead of `{wanted}`")]
    OtherPayload {
        /// The digest in the manifest.
        wanted: Digest,
        /// The digest of the payload.
        found: Digest,
    },
    /// Signed by the key, but not as an image's signature: the type of payload, statement or envelope.
    #[error("the {part} is of type `{found}`")]
    PayloadType {
        /// Whose type it is.
        part: Part,
        /// The type.
        found: String,
    },
    /// Signed by the key, but states something else than that the image is signed.
    #[error("the statement's predicate is of type `{found}`")]
    PredicateType {
        /// The type.
        found: String,
    },
    /// Signed by the key, for another image or file.
    #[error("the signature is for `{found}` instead of `{wanted}`")]
    OtherDigest {
        /// The digest that is about to be trusted.
        wanted: Digest,
        /// What was signed, or nothing.
        found: String,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Payload => "payload",
            Self::Bundle => "bundle",
            Self::Statement => "statement",
            Self::Signature => "signature",
            Self::Certificate => "certificate",
            Self::CertificateChain => "certificate's chain",
            Self::CertificateTimestamp => "certificate's timestamp",
            Self::SigningTime => "time of signing",
            Self::Timestamp => "timestamp",
            Self::LogKey => "log's key",
            Self::LogEntry => "log entry",
            Self::InclusionPromise => "log's promise",
            Self::InclusionProof => "log's proof",
            Self::Checkpoint => "log's checkpoint",
        })
    }
}

fn told(refusals: &[VerifyError]) -> String {
    if refusals.is_empty() {
        return "nobody's signature is believed".to_owned();
    }
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The beginning of `text`, fit for a log: somebody else wrote it.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(160).flat_map(char::escape_debug).collect()
}

/// That `part` does not hold, for the reason `detail`.
pub(crate) fn evidence(part: Part, detail: &(impl fmt::Display + ?Sized)) -> VerifyError {
    VerifyError::Evidence { part, detail: excerpt(&detail.to_string()) }
}
