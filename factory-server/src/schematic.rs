//! Schematics: taken, kept under their id, given back.
//!
//! A schematic is kept as the blob of its canonical YAML. The id is that blob's digest, so there is nothing to look up
//! and nothing that could disagree.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use extent::{Digest, ExtentMap};
use schematics::{Schematic, SchematicId};
use serde::Serialize;
use store::Store;

use crate::error::Error;
use crate::precondition::ETag;
use crate::representation::Representation;

/// A schematic that was taken.
#[derive(Serialize)]
struct Taken {
    id: String,
    schematic: String,
}

/// `POST /schematics`.
pub async fn take(
    State(store): State<Store>,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, Error> {
    let schematic = Schematic::parse(&body?)?;
    if !schematic.owner.is_empty() {
        // As the reference's community edition says it.
        return Err(Error::bad_request("owner field is only supported in Enterprise edition"));
    }
    let canonical = schematic.canonical();
    let taken = Taken { id: schematic.id().to_string(), schematic: canonical.clone() };
    tokio::task::spawn_blocking(move || store.put_bytes(canonical.as_bytes())).await??;
    Ok((StatusCode::CREATED, Json(taken)))
}

/// `GET /schematics/:id`.
pub async fn give(
    State(store): State<Store>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let id = parse_id(&id)?;
    let (_, canonical) = read(&store, id).await?;
    let representation = Representation {
        map: ExtentMap::inline(canonical),
        etag: ETag::of(id),
        media_type: "application/yaml",
        disposition: None,
    };
    representation.answer(&method, &headers).stream(&store, &method).await
}

/// The id in a path. One that is malformed names nothing, as in the reference.
pub fn parse_id(text: &str) -> Result<SchematicId, Error> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        Error::not_found(format!("schematic not found: `{shown}` is not 64 lower-case hexadecimal digits"))
    })
}

/// The schematic `id` and its canonical YAML.
pub async fn read(store: &Store, id: SchematicId) -> Result<(Schematic, Bytes), Error> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || {
        let absent = || Error::not_found("schematic not found");
        let bytes = match store.bytes(&digest(id), schematics::MAX_LEN as u64) {
            Err(store::Error::NotFound { .. } | store::Error::TooLarge { .. }) => return Err(absent()),
            other => other?,
        };
        // Other blobs have digests too.
        let schematic = Schematic::parse(&bytes).map_err(|_| absent())?;
        if schematic.id() == id { Ok((schematic, bytes)) } else { Err(absent()) }
    })
    .await?
}

fn digest(id: SchematicId) -> Digest {
    id.into()
}
