//! Documents of the site itself: for people, for programs that write requests, and for firmware.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use imager::Factory;

use crate::cache;
use crate::error::Error;
use crate::openapi::Refused;
use crate::site::Site;

/// `GET /healthz`: whether the process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It does.")))]
pub async fn healthz() {}

/// How long the store has to answer, for somebody who asks every few seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// `GET /readyz`: whether it can serve.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "It can."),
        (status = 503, description = "The store cannot be read."),
    ),
)]
pub async fn readyz(State(factory): State<Factory>) -> Result<(), Error> {
    match tokio::time::timeout(READY_TIMEOUT, factory.offline().versions()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::not_ready(Some(&error))),
        Err(_) => Err(Error::not_ready(None)),
    }
}

const INDEX: &str = include_str!("document/index.html");
const LLMS: &str = include_str!("document/llms.txt");

/// `GET /`.
pub async fn index() -> Response {
    document("text/html; charset=utf-8", INDEX)
}

/// `GET /llms.txt`.
pub async fn llms() -> Response {
    document("text/plain; charset=utf-8", LLMS)
}

/// The certificate that signs for secure boot.
#[utoipa::path(
    get,
    path = "/secureboot/signing-cert.pem",
    responses((status = 200, description = "PEM.", content_type = "application/x-pem-file", body = String), Refused),
)]
pub async fn signing_cert(State(site): State<Arc<Site>>) -> Result<Response, Error> {
    let pem = site.signing_cert.clone();
    let pem = pem.ok_or_else(|| {
        Error::not_found("secure boot is disabled: this factory has no signing certificate")
    })?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file"))], pem).into_response())
}

/// The key that signs installer images.
#[utoipa::path(
    get,
    path = "/oci/cosign/signing-key.pub",
    responses((status = 200, description = "PEM.", content_type = "application/x-pem-file", body = String), Refused),
)]
pub async fn cosign_key(State(site): State<Arc<Site>>) -> Result<Response, Error> {
    let key =
        site.signer.as_ref().ok_or_else(|| Error::not_found("this factory signs nothing: it has no key"))?;
    let pem = key.public_key_pem();
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file"))], pem).into_response())
}

fn document(media_type: &'static str, text: &'static str) -> Response {
    let fields = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static(cache::CATALOGUE)),
    ];
    (fields, text).into_response()
}
