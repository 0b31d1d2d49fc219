//! Schematics: taken, kept under their id, given back.
//!
//! A schematic is kept as the blob of its canonical YAML. The id is that blob's digest, so there is nothing to look up
//! and nothing that could disagree.

use std::sync::Arc;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use extent::ExtentMap;
use imager::Factory;
use schematics::{Schematic, SchematicId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::cache;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::openapi::Refused;
use crate::precondition::ETag;
use crate::representation::Representation;
use crate::site::Site;
use crate::version::json;

/// The length up to which a schematic is read on the thread that answers: less than a millisecond. A mebibyte takes a tenth
/// of a second.
const BRIEF_MAX: usize = 16 << 10;

/// A schematic that was taken.
#[derive(Serialize, ToSchema)]
struct Taken {
    #[schema(value_type = String)]
    id: SchematicId,
    schematic: String,
}

/// Registers a schematic.
///
/// The same schematic always has the same id: the SHA-256 of its canonical form.
#[utoipa::path(
    post,
    path = "/schematics",
    request_body(content = Option<Object>, content_type = "application/yaml", description = "The schematic, as YAML or JSON."),
    responses(
        (status = 201, description = "Its id and its canonical form.", body = Taken),
        (status = 408, description = "It did not come in time."),
        (status = 413, description = "It has more than 1 MiB."),
        (status = 507, description = "The store is full."),
        Refused,
    ),
)]
pub async fn take(
    State(factory): State<Factory>,
    State(site): State<Arc<Site>>,
    State(metrics): State<Metrics>,
    request: Request,
) -> Result<impl IntoResponse, Error> {
    // Who says so before sending it is not let send it.
    if request.body().size_hint().lower() > schematics::MAX_LEN as u64 {
        return Err(Error::schematic_too_large());
    }
    let body = tokio::time::timeout(site.body_timeout, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_| Error::body_timeout(site.body_timeout))??;
    let schematic = if body.len() <= BRIEF_MAX {
        Schematic::parse(&body)?
    } else {
        tokio::task::spawn_blocking(move || Schematic::parse(&body)).await??
    };
    if !schematic.owner.is_empty() {
        // As the reference's community edition says it.
        return Err(Error::bad_request("owner field is only supported in Enterprise edition"));
    }
    // One that cannot be read is written anew, as if it had never been.
    let is_known = matches!(factory.schematic(schematic.id()).await, Ok(Some(_)));
    let id = factory.put_schematic(&schematic).await?;
    metrics.schematic_taken(is_known);
    let never = [(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER))];
    Ok((StatusCode::CREATED, never, json(&Taken { id, schematic: schematic.canonical() })))
}

/// The canonical form of a schematic.
#[utoipa::path(
    get,
    path = "/schematics/{id}",
    params(("id" = String, Path, pattern = "^[0-9a-f]{64}$", description = "Its id.")),
    responses(
        (status = 200, description = "YAML, whose SHA-256 is the id.", content_type = "application/yaml", body = Object),
        Refused,
    ),
)]
pub async fn give(
    State(factory): State<Factory>,
    State(metrics): State<Metrics>,
    id: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path(id) = id?;
    let schematic = find(&factory, &metrics, &id).await?;
    let representation = Representation {
        map: ExtentMap::inline(schematic.canonical().into_bytes()),
        etag: ETag::of(schematic.id()),
        media_type: "application/yaml",
        disposition: None,
        cache_control: cache::IMMUTABLE,
    };
    representation.answer(&method, &headers).stream(factory.store(), &method).await
}

/// The schematic that the text `id` names. A malformed id names nothing, as in the reference.
pub async fn find(factory: &Factory, metrics: &Metrics, id: &str) -> Result<Schematic, Error> {
    let id: SchematicId = id.parse().map_err(|_| {
        let shown: String = id.chars().take(80).collect();
        let text = format!("schematic not found: `{shown}` is not 64 lower-case hexadecimal digits");
        Error::not_found(text).because("schematic-not-found")
    })?;
    let found = factory.schematic(id).await?;
    let found =
        found.ok_or_else(|| Error::not_found("schematic not found").because("schematic-not-found"))?;
    metrics.schematic_read();
    Ok(found)
}
