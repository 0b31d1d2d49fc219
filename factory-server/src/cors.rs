//! Which pages of other sites may read answers.
//!
//! Downloads and lists may be read by the pages that the site allows; a page cannot register a schematic on behalf of
//! who looks at it.
//!
//! Source: the Fetch standard, §3.2 (CORS protocol); the reference's fields, which a preflight repeats.

use std::time::Duration;

use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, HeaderName, HeaderValue};
use axum::http::{Method, request};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::site::Site;

/// Fields of an answer that a page may read, beside those it always may.
const EXPOSED: [&str; 7] = [
    "content-disposition",
    "content-length",
    "content-type",
    "content-range",
    "accept-ranges",
    "etag",
    "x-request-id",
];
/// How long a preflight is good for.
const MAX_AGE: Duration = Duration::from_hours(1);

/// The layer that says so.
pub fn layer(site: &Site) -> CorsLayer {
    let origins = site.allowed_origins.clone();
    let all = origins.iter().any(|origin| origin == "*");
    let allows = move |origin: &HeaderValue, parts: &request::Parts| {
        is_read(parts) && (all || origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allows))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::list([CACHE_CONTROL, HeaderName::from_static("range")]))
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(MAX_AGE)
}

/// Whether the request, or the one that it asks about, changes nothing.
fn is_read(parts: &request::Parts) -> bool {
    let is_safe = |method: &[u8]| [b"GET".as_slice(), b"HEAD"].contains(&method);
    match &parts.method {
        &Method::OPTIONS => {
            parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| is_safe(method.as_bytes()))
        }
        method => is_safe(method.as_str().as_bytes()),
    }
}
