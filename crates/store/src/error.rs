//! What goes wrong in a store.

use std::io;

use extent::Digest;

/// What goes wrong in a store.
///
/// `Display` speaks of blobs and lengths, never of paths: a client may see it. Paths are in the sources.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such blob.
    #[error("blob `{digest}` is not in the store")]
    NotFound {
        /// The blob.
        digest: Digest,
    },
    /// The bytes on disk are not those that the digest names.
    #[error("blob `{digest}` is corrupt")]
    Corrupt {
        /// The blob.
        digest: Digest,
    },
    /// What was put is not what was promised.
    #[error("the content is `{actual}`, not `{expected}`")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The disk, or the quota, is full; or the file system takes no file of this length.
    #[error("the file system has no room for `{needed}` bytes")]
    NoSpace {
        /// Bytes that the file takes as far as is known: all but its holes; what came so far where the
        /// end is not known.
        needed: u64,
        /// What the file system said.
        source: io::Error,
    },
    /// A blob is longer than its reader takes.
    #[error("blob `{digest}` has `{len}` bytes, more than the `{max}` allowed here")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its length.
        len: u64,
        /// What the reader takes.
        max: u64,
    },
    /// A read goes past the end of a blob.
    #[error("blob `{digest}` has `{len}` bytes, and bytes up to `{end}` were asked for")]
    OutOfRange {
        /// The blob.
        digest: Digest,
        /// Its length.
        len: u64,
        /// Where the read would have ended.
        end: u64,
    },
    /// A text is no name of this kind.
    #[error("`{text}` is not the name of a {kind}")]
    BadName {
        /// Repository, tag or derivation.
        kind: &'static str,
        /// The text, at most 80 characters of it.
        text: String,
    },
    /// A descriptor names its content by something else than SHA-256.
    #[error("descriptor names `{digest}`, which is not a SHA-256 digest")]
    BadDescriptor {
        /// The digest as written, at most 80 characters of it.
        digest: String,
    },
    /// A descriptor gives a blob another length than it has.
    #[error("descriptor gives blob `{digest}` `{stated}` bytes, it has `{len}`")]
    LenMismatch {
        /// The blob.
        digest: Digest,
        /// The length in the descriptor.
        stated: u64,
        /// The length of the blob.
        len: u64,
    },
    /// The index of the references does not parse.
    #[error("the index of the references is damaged")]
    BadIndex {
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A derivation is not recorded, in a store in which nothing is derived.
    #[error("derivation `{name}` is not recorded")]
    NotDerived {
        /// The derivation.
        name: String,
    },
    /// The output of a derivation has no JSON form.
    #[error("the output of derivation `{name}` cannot be recorded")]
    BadOutput {
        /// The derivation.
        name: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The directory holds something else than a store.
    #[error("the directory is neither a store nor empty")]
    NotAStore,
    /// The directory is an OCI image layout of a version that this code does not know.
    #[error("the store has OCI image layout version `{version}`, not `{}`", crate::LAYOUT_VERSION)]
    LayoutVersion {
        /// The version, at most 80 characters of it.
        version: String,
    },
    /// The operating system failed.
    #[error("{action} failed")]
    Io {
        /// What was tried, as a gerund with its object.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: `action` failed.
    pub(crate) fn io(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// For `map_err`: `action` failed while writing a file of `needed` bytes.
    pub(crate) fn writing(action: &'static str, needed: u64) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { needed, source }
            }
            _ => Self::Io { action, source },
        }
    }

    pub(crate) fn bad_name(kind: &'static str, text: &str) -> Self {
        Self::BadName { kind, text: text.chars().take(80).collect() }
    }
}

/// Keeps the kind that callers of `Blobs` and `Read` decide by, and the typed error inside.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NotFound { .. } => io::ErrorKind::NotFound,
            Error::Corrupt { .. } | Error::DigestMismatch { .. } | Error::BadIndex { .. } => {
                io::ErrorKind::InvalidData
            }
            Error::NoSpace { source, .. } | Error::Io { source, .. } => source.kind(),
            Error::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            Error::OutOfRange { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
