//! Errors in the form that the client asked for.
//!
//! Plain text as the reference writes it, unless the request accepts `application/problem+json`: then a document with a
//! reason that programs can compare.
//!
//! ```json
//! {"type":"about:blank","title":"Not Found","status":404,"detail":"version 9.9.9 is not available",
//!  "reason":"version-not-available","request_id":"0c9a…"}
//! ```
//!
//! Source: RFC 9457 (problem details), RFC 9110 §12.5.1 (Accept).

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::access::X_REQUEST_ID;
use crate::registry;

const MEDIA_TYPE: &str = "application/problem+json";

/// What an error says, before it has a form.
#[derive(Clone, Debug)]
pub struct Problem {
    /// A word that stays the same while texts get better.
    pub reason: &'static str,
    /// What is wrong, for people.
    pub text: String,
}

/// An error as a problem document.
#[derive(Serialize, ToSchema)]
pub struct Document<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    request_id: &'a str,
}

/// Gives an error the form that its request accepts.
pub async fn formed(request: Request, next: Next) -> Response {
    let wants_document = accepts(request.headers());
    let is_registry = registry::is_registry(request.uri());
    let request_id = request.headers().get(X_REQUEST_ID).cloned();
    let is_head = request.method() == axum::http::Method::HEAD;
    let mut response = next.run(request).await;
    let Some(Problem { reason, text }) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let status = response.status();
    let request_id = request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    let (media_type, body) = if is_registry {
        let error = json!({"code": oci_code(reason, status), "message": text, "detail": {"reason": reason}});
        ("application/json", json!({"errors": [error]}).to_string())
    } else if wants_document {
        let title = status.canonical_reason().unwrap_or_default();
        let (r#type, status) = ("about:blank", status.as_u16());
        let document = Document { r#type, title, status, detail: &text, reason, request_id };
        (MEDIA_TYPE, serde_json::to_string(&document).expect("a document of texts has a JSON form") + "\n")
    } else if status.is_server_error() {
        // The fault is here: who reports it names the line of the log.
        ("text/plain; charset=utf-8", format!("{text}\nrequest id: {request_id}\n"))
    } else {
        ("text/plain; charset=utf-8", format!("{text}\n"))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.append(VARY, HeaderValue::from_static("Accept"));
    *response.body_mut() = if is_head { Body::empty() } else { Body::from(body) };
    response
}

/// The code that clients of registries know.
///
/// Source: OCI distribution specification 1.1, error codes. It has none for a wrong `n` and allows for others:
/// `PAGINATION_NUMBER_INVALID` is that of distribution, Docker's registry.
fn oci_code(reason: &str, status: StatusCode) -> &'static str {
    match reason {
        "schematic-not-found" | "name-unknown" => "NAME_UNKNOWN",
        "name-invalid" | "invalid-asset" => "NAME_INVALID",
        "version-not-available" | "manifest-unknown" => "MANIFEST_UNKNOWN",
        "blob-unknown" => "BLOB_UNKNOWN",
        "digest-invalid" => "DIGEST_INVALID",
        "pagination-number-invalid" => "PAGINATION_NUMBER_INVALID",
        "not-implemented" | "not-supported" | "method-not-allowed" => "UNSUPPORTED",
        _ if status == StatusCode::NOT_FOUND => "NAME_UNKNOWN",
        _ if status.is_client_error() => "MANIFEST_INVALID",
        _ => "UNKNOWN",
    }
}

/// Whether the request names the document's media type. `*/*` is what clients send that do not care: they get text.
fn accepts(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(MEDIA_TYPE));
            // A weight of nothing but zeros refuses it.
            let refused = parts.any(|parameter| {
                parameter
                    .strip_prefix("q=")
                    .is_some_and(|weight| weight.chars().all(|c| matches!(c, '0' | '.')))
            });
            named && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_the_document_gets_it() {
        let table = [
            ("application/problem+json", true),
            ("text/html, Application/Problem+JSON;q=0.5", true),
            ("application/problem+json;q=0", false),
            ("application/problem+json; q=0.000", false),
            ("*/*", false),
            ("application/json", false),
            ("", false),
        ];
        for (accept, expected) in table {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts(&headers), expected, "{accept}");
        }
    }
}
