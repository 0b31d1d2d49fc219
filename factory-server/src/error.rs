//! Errors and what clients hear of them.
//!
//! The one place that turns errors into statuses and texts. A text says what is wrong with the request, or that the
//! fault is here; paths and sources go to the log.

use std::error::Error as StdError;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use imager::ErrorClass;

use crate::access::{Cause, chain};

/// An answer that is an error.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    /// What the client hears.
    text: String,
    /// What the log hears, if that is more.
    cause: Option<String>,
}

impl Error {
    /// What is asked for is not there.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, text: text.into(), cause: None }
    }

    /// The request is wrong.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into(), cause: None }
    }

    /// No route has this path. The reference's text, which clients compare.
    pub fn no_route() -> Self {
        Self::not_found("404 page not found")
    }

    /// The route has other methods.
    pub fn no_method() -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, text: "method not allowed".to_owned(), cause: None }
    }

    /// The fault is here.
    fn internal(error: &dyn StdError) -> Self {
        let text = "internal server error".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text, cause: Some(chain(error)) }
    }

    /// `error`'s own words, with this status. They are made for clients.
    fn said(status: StatusCode, error: &dyn StdError) -> Self {
        let cause = error.source().is_some().then(|| chain(error));
        Self { status, text: error.to_string(), cause }
    }
}

impl From<schematics::Error> for Error {
    fn from(error: schematics::Error) -> Self {
        Self::said(StatusCode::BAD_REQUEST, &error)
    }
}

impl From<imager::Error> for Error {
    fn from(error: imager::Error) -> Self {
        let status = match error.class() {
            ErrorClass::BadRequest => StatusCode::BAD_REQUEST,
            ErrorClass::NotFound => StatusCode::NOT_FOUND,
            ErrorClass::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            ErrorClass::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorClass::Internal => return Self::internal(&error),
        };
        Self::said(status, &error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            // Names no path, and an operator who is told of it can act.
            store::Error::NoSpace { .. } => {
                let text = "the store is full".to_owned();
                Self { status: StatusCode::INSUFFICIENT_STORAGE, text, cause: Some(chain(&error)) }
            }
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
            let text = format!("a schematic has at most {} bytes", schematics::MAX_LEN);
            return Self { status: StatusCode::PAYLOAD_TOO_LARGE, text, cause: None };
        }
        // The client went away, or broke the transfer.
        let text = "the body ended too early".to_owned();
        Self { status: StatusCode::BAD_REQUEST, text, cause: Some(chain(&rejection)) }
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
        let mut text = self.text.replace(|c: char| c.is_control(), " ");
        text.push('\n');
        let text_plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = (self.status, [(CONTENT_TYPE, text_plain)], text).into_response();
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}
