//! Errors and what clients hear of them.
//!
//! The one place that turns errors into statuses and texts. A text says what is wrong with the request, or that the
//! fault is here; paths and sources go to the log.

use std::error::Error as StdError;
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use imager::ErrorClass;

use crate::access::{Cause, chain};
use crate::cache;
use crate::problem::Problem;

/// When to ask again for what is not there now, in seconds.
const RETRY_AFTER_S: u16 = 30;

/// The reason of what would have to be pulled first, where nothing is pulled.
const NOT_PULLED: &str = "not-pulled";

/// An answer that is an error.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    /// Why, in a word that programs compare.
    reason: &'static str,
    /// What the client hears.
    text: String,
    /// What the log hears, if that is more.
    cause: Option<String>,
}

impl Error {
    fn new(status: StatusCode, reason: &'static str, text: impl Into<String>) -> Self {
        Self { status, reason, text: text.into(), cause: None }
    }

    /// What is asked for is not there.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", text)
    }

    /// The request is wrong.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", text)
    }

    /// No route has this path. The reference's text, which clients compare.
    pub fn no_route() -> Self {
        Self::not_found("404 page not found")
    }

    /// The route has other methods.
    pub fn no_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "method not allowed")
    }

    /// The body did not come within `limit`.
    pub fn body_timeout(limit: Duration) -> Self {
        let text = format!("the body did not come within {} seconds", limit.as_secs_f32());
        Self::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", text)
    }

    /// More than a schematic has.
    pub fn schematic_too_large() -> Self {
        let text = format!("a schematic has at most {} bytes", schematics::MAX_LEN);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "schematic-too-large", text)
    }

    /// It cannot be served, because of `error`; or nobody knows yet.
    pub fn not_ready(error: Option<&dyn StdError>) -> Self {
        let not_ready = Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "the store cannot be read");
        Self { cause: error.map(chain), ..not_ready }
    }

    /// The same, for a reason of its own.
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// Whether it is the request that is wrong, and not what is here.
    pub fn is_clients(&self) -> bool {
        self.status.is_client_error() || self.status == StatusCode::NOT_IMPLEMENTED
    }

    /// Whether the answer is not in the store, and nothing was pulled for it.
    pub fn is_not_pulled(&self) -> bool {
        self.reason == NOT_PULLED
    }

    /// The fault is here.
    fn internal(error: &dyn StdError) -> Self {
        let cause = Some(chain(error));
        Self { cause, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal server error") }
    }

    /// There is no room. Names no path, and an operator who is told of it can act.
    fn full(error: &dyn StdError) -> Self {
        let full = Self::new(StatusCode::INSUFFICIENT_STORAGE, "store-full", "the store is full");
        Self { cause: Some(chain(error)), ..full }
    }

    /// `error`'s own words, with this status. They are made for clients.
    fn said(status: StatusCode, reason: &'static str, error: &dyn StdError) -> Self {
        let cause = error.source().is_some().then(|| chain(error));
        Self { cause, ..Self::new(status, reason, error.to_string()) }
    }
}

impl From<schematics::Error> for Error {
    fn from(error: schematics::Error) -> Self {
        Self::said(StatusCode::BAD_REQUEST, "invalid-schematic", &error)
    }
}

impl From<imager::Error> for Error {
    fn from(error: imager::Error) -> Self {
        use imager::Error as E;
        let (status, general) = match error.class() {
            ErrorClass::BadRequest => (StatusCode::BAD_REQUEST, "invalid-request"),
            ErrorClass::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            ErrorClass::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "not-implemented"),
            ErrorClass::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ErrorClass::BadGateway => (StatusCode::BAD_GATEWAY, "source-broken"),
            ErrorClass::Full => return Self::full(&error),
            ErrorClass::Internal => return Self::internal(&error),
        };
        let reason = match &error {
            E::Version { .. } => "invalid-version",
            E::Arch { .. } | E::Platform { .. } | E::PlatformArch { .. } | E::Path { .. } => "invalid-asset",
            E::VersionNotAvailable { .. } => "version-not-available",
            E::ExtensionNotAvailable { .. } => "extension-not-available",
            E::NotPulled { .. } => NOT_PULLED,
            E::Unverified { .. } => "signature-refused",
            E::Source { .. } if error.class() == ErrorClass::Unavailable => "source-unavailable",
            E::NotSupported { .. } | E::NotAllowed { .. } | E::NoPlatform { .. } => "not-supported",
            _ => general,
        };
        Self::said(status, reason, &error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSpace { .. } => Self::full(&error),
            _ => Self::internal(&error),
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(&error)
    }
}

impl From<BytesRejection> for Error {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::schematic_too_large();
        }
        // The client went away, or broke the transfer.
        Self { cause: Some(chain(&rejection)), ..Self::bad_request("the body ended too early") }
    }
}

impl From<PathRejection> for Error {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        // Foreign text may be in it: one line stays one line.
        let text = self.text.replace(|c: char| c.is_control(), " ");
        let never = HeaderValue::from_static(cache::NEVER);
        let mut response = (self.status, [(CACHE_CONTROL, never)]).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
        }
        response.extensions_mut().insert(Problem { reason: self.reason, text });
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}
