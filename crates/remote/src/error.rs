//! What goes wrong with other registries.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use extent::Digest;

/// Characters of foreign text that an error shows.
const EXCERPT_LEN: usize = 200;

/// What goes wrong with other registries. `at` is an address without its query, which may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is no reference.
    #[error("`{text}` is not a reference to an image: {wanted}")]
    BadReference {
        /// The text's beginning.
        text: String,
        /// What would be one.
        wanted: &'static str,
    },
    /// Docker's configuration is there and cannot be used.
    #[error("the login in `{path}` cannot be used: {wanted}")]
    BadLogin {
        /// The file.
        path: PathBuf,
        /// What would be right.
        wanted: &'static str,
    },
    /// A text is no mirror of a registry.
    #[error("`{text}` is not a mirror of a registry: {wanted}")]
    BadMirror {
        /// The text's beginning.
        text: String,
        /// What would be one.
        wanted: &'static str,
    },
    /// Neither the registry nor a mirror of it has an answer.
    #[error("nobody has an answer, neither a mirror nor the registry: {}", Refusals(tried))]
    Everywhere {
        /// What each said, the registry last.
        tried: Vec<Error>,
    },
    /// A variable of the environment names no proxy. Its value may have a password and is not shown.
    #[error("`{variable}` names no proxy: {wanted}")]
    BadProxy {
        /// The variable.
        variable: &'static str,
        /// What would be right.
        wanted: &'static str,
    },
    /// A proxy wants a login, or another one.
    #[error("`{at}` cannot be reached: proxy `{proxy}` wants another login, or one at all")]
    ProxyLogin {
        /// What was asked for.
        at: String,
        /// The proxy, without its login.
        proxy: String,
    },
    /// A credential helper, a program that Docker's configuration names, gives no answer. What it said is not shown.
    #[error("the credential helper `docker-credential-{helper}` {problem}")]
    CredentialHelper {
        /// The helper, as it is configured.
        helper: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The machine has no certificates to judge registries by.
    #[error("no certificate authorities are installed, so nobody's certificate can be judged")]
    NoAuthorities,
    /// There is no such thing in the registry.
    #[error("`{at}` is not there")]
    NotFound {
        /// What was asked for.
        at: String,
    },
    /// The registry refuses.
    #[error("`{at}` was refused to us ({login}) with status {status}: {excerpt}")]
    Denied {
        /// What was asked for.
        at: String,
        /// Who we are to it.
        login: Login,
        /// 401 or 403.
        status: u16,
        /// What it said.
        excerpt: String,
    },
    /// A status that is no answer.
    #[error("`{at}` answered with status {status}: {excerpt}")]
    Status {
        /// What was asked for.
        at: String,
        /// The status.
        status: u16,
        /// How long to wait, if it said so.
        retry_after: Option<Duration>,
        /// What it said.
        excerpt: String,
    },
    /// No connection, or one that broke.
    #[error("`{at}` cannot be reached")]
    Unreachable {
        /// What was asked for.
        at: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The other side is too slow to wait for.
    #[error("`{at}` gave less than {wanted_len} bytes in {} ms", waited.as_millis())]
    Stalled {
        /// What was asked for.
        at: String,
        /// How long was waited.
        waited: Duration,
        /// What has to come in that time.
        wanted_len: u64,
    },
    /// A body ended early.
    #[error("`{at}` ended after {len} bytes instead of {wanted}")]
    Truncated {
        /// What was asked for.
        at: String,
        /// Bytes that came.
        len: u64,
        /// Bytes that were announced.
        wanted: u64,
    },
    /// More bytes than announced or than such a thing has.
    #[error("`{at}` has more than {max} bytes, the most for a {what}")]
    TooLong {
        /// What was asked for.
        at: String,
        /// The kind of thing.
        what: &'static str,
        /// The most that is read.
        max: u64,
    },
    /// The bytes are not those that were asked for.
    #[error("`{at}` is `{actual}` instead of `{expected}`")]
    DigestMismatch {
        /// What was asked for.
        at: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// An answer that breaks the protocol.
    #[error("`{at}` answered against the protocol: {wanted}")]
    BadAnswer {
        /// What was asked for.
        at: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// A redirect that is not followed.
    #[error("`{at}` redirects to `{to}`: {wanted}")]
    BadRedirect {
        /// What was asked for.
        at: String,
        /// Where it points.
        to: String,
        /// What would be followed.
        wanted: &'static str,
    },
    /// A document that is no JSON of its kind.
    #[error("the {what} `{digest}` is malformed")]
    Malformed {
        /// The kind of document.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// Where and how.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest or an index with something in it that no image has.
    #[error("the manifest `{digest}` is not of an image: {wanted}")]
    BadManifest {
        /// Its digest.
        digest: Digest,
        /// What would be right.
        wanted: &'static str,
    },
    /// An image that is not of a platform that was asked for.
    #[error("the image `{digest}` has no `{platform}`")]
    NoPlatform {
        /// The digest of its index.
        digest: Digest,
        /// The platform.
        platform: String,
    },
    /// A signature that is not believed.
    #[error("`{at}` is no signature of the image")]
    Signature {
        /// Where it is.
        at: String,
        /// Why not.
        #[source]
        source: cosign::VerifyError,
    },
    /// No signature that the policy believes. Nothing of the image was looked at.
    #[error("the image `{digest}` has no signature that is believed: {}", Refusals(refusals))]
    Unverified {
        /// The digest of the image's manifest.
        digest: Digest,
        /// Why, for each that was tried; none if the image is not signed.
        refusals: Vec<Error>,
    },
    /// A layout with something in it that no layout has.
    #[error("`{at}` is not part of an image layout: {wanted}")]
    BadLayout {
        /// The file or the name.
        at: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// An archive that cannot be read or made.
    #[error("the archive of a layout is not as it should be")]
    Archive {
        /// Where and how.
        #[source]
        source: formats::tar::Error,
    },
    /// A layout cannot be read.
    #[error("`{at}` cannot be read")]
    Read {
        /// The file.
        at: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Who we are to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// Nobody: there is no login for it.
    Anonymous,
    /// A user.
    User(String),
    /// Somebody, by a token.
    Token,
    /// Nobody: the credential helper has no login for it, or was not asked.
    Helper(String),
}

/// Reasons, each with its own.
struct Refusals<'a>(&'a [Error]);

impl Error {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Truncated { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502..=504),
            _ => false,
        }
    }
}

impl Error {
    /// Whether it is no reason not to ask another mirror.
    pub(crate) fn may_be_elsewhere(&self) -> bool {
        self.is_transient() || matches!(self, Self::NotFound { .. } | Self::Status { status: 500.., .. })
    }

    /// What is said when nobody had an answer: what the registry says, the last of `tried`, unless it failed.
    pub(crate) fn everywhere(mut tried: Vec<Self>) -> Self {
        let is_one = tried.len() == 1;
        match tried.last() {
            Some(Self::NotFound { .. }) if !is_one => {
                let places = tried.iter().filter_map(Self::place).collect::<Vec<_>>();
                Self::NotFound { at: places.join("`, `") }
            }
            Some(_) if is_one => tried.swap_remove(0),
            _ => Self::Everywhere { tried },
        }
    }

    fn place(&self) -> Option<&str> {
        match self {
            Self::NotFound { at }
            | Self::Status { at, .. }
            | Self::Unreachable { at, .. }
            | Self::Stalled { at, .. }
            | Self::Truncated { at, .. } => Some(at),
            _ => None,
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("without a login"),
            Self::User(user) => write!(f, "as `{user}`"),
            Self::Token => f.write_str("by a token"),
            Self::Helper(name) => write!(f, "without a login: the credential helper `{name}` gave none"),
        }
    }
}

impl fmt::Display for Refusals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it is not signed");
        }
        for (i, refusal) in self.0.iter().enumerate() {
            write!(f, "{}{refusal}", if i == 0 { "" } else { "; " })?;
            let mut source = std::error::Error::source(refusal);
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
        }
        Ok(())
    }
}

/// The beginning of `text`, fit for a log: somebody else wrote it.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_LEN).flat_map(char::escape_debug).collect()
}
