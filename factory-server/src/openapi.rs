//! The interface as an OpenAPI document, generated from the handlers, and a page to read it on.
//!
//! Source: OpenAPI specification 3.1.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;
use utoipa::openapi::{Content, InfoBuilder, OpenApi, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema};

use crate::cache;
use crate::problem::Document;

const PAGE: &str = include_str!("document/openapi.html");

/// The answers that are errors, which every handler may give.
pub struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let table = [
            (400, "The request is wrong; the text says what and where."),
            (404, "What it names is not there; the text has the nearest names."),
            (405, "The path has other methods."),
            (500, "The fault is here; name the request id when you report it."),
            (501, "It cannot be made yet; the text says what."),
            (502, "A source gave something else than it should."),
            (503, "Not now; ask again after `Retry-After` seconds."),
            (507, "The store is full."),
        ];
        let response = |text: &str| {
            ResponseBuilder::new()
                .description(text)
                .content("text/plain", Content::new(Some(String::schema())))
                .content("application/problem+json", Content::new(Some(Document::schema())))
                .build()
        };
        table.into_iter().map(|(status, text)| (status.to_string(), response(text).into())).collect()
    }
}

/// Routes that answer with `document` and its page.
pub fn routes<S: Clone + Send + Sync + 'static>(mut document: OpenApi) -> Router<S> {
    document.info = InfoBuilder::new()
        .title("Image Factory")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Boot media for immutable operating systems, from a schematic and a version."))
        .build();
    let json = document.to_json().expect("a document has text for keys");
    let fields = |media_type| {
        [
            (CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (CACHE_CONTROL, HeaderValue::from_static(cache::CATALOGUE)),
        ]
    };
    Router::new()
        .route("/openapi.json", get(async move || (fields("application/json"), json.clone())))
        .route("/api", get(async move || (fields("text/html; charset=utf-8"), PAGE)))
}
