//! Command-line clients of a version.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use imager::{Factory, Version};

use crate::error::Error;
use crate::metrics::{Download, Metrics};
use crate::openapi::Refused;
use crate::precondition::ETag;
use crate::representation::Representation;
use crate::site::Site;
use crate::version::json;
use crate::{cache, disposition};

/// The addresses of a version's command-line clients, sorted.
#[utoipa::path(
    get,
    path = "/talosctl/{version}",
    params(("version" = String, Path, pattern = r"^v?(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(-[0-9A-Za-z.-]{1,64})?$", description = "A version, with or without `v`.")),
    responses((status = 200, description = "Addresses.", body = [String]), Refused),
)]
pub async fn list(
    State(factory): State<Factory>,
    State(site): State<Arc<Site>>,
    version: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    let Path(version) = version?;
    let version: Version = version.parse()?;
    let clients = factory.talosctl(&version).await?;
    let address = |name: &String| format!("{}/talosctl/{version}/{name}", site.external_url);
    Ok(json(&clients.keys().map(address).collect::<Vec<_>>()))
}

/// A command-line client.
#[utoipa::path(
    get,
    path = "/talosctl/{version}/{path}",
    params(
        ("version" = String, Path, pattern = r"^v?(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(-[0-9A-Za-z.-]{1,64})?$", description = "A version, with or without `v`."),
        ("path" = String, Path, description = "`talosctl-<os>-<arch>`, `.exe` behind it for Windows."),
    ),
    responses(
        (status = 200, description = "The program.", content_type = "application/octet-stream", body = [u8]),
        Refused,
    ),
)]
pub async fn file(
    State(factory): State<Factory>,
    State(metrics): State<Metrics>,
    path: Result<Path<(String, String)>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path((version, name)) = path?;
    let version: Version = version.parse()?;
    let mut clients = factory.talosctl(&version).await?;
    if clients.is_empty() {
        let text = format!("version {} is not available", version.bare());
        return Err(Error::not_found(text).because("version-not-available"));
    }
    let Some(map) = clients.remove(&name) else {
        let names: Vec<String> = clients.into_keys().map(|name| format!("`{name}`")).collect();
        let text = format!("version {} has no such client: there are {}", version.bare(), names.join(", "));
        return Err(Error::not_found(text));
    };
    let representation = Representation {
        etag: ETag::of(map.id()),
        map,
        media_type: "application/octet-stream",
        disposition: Some(disposition::attachment(None, &name)),
        cache_control: cache::CATALOGUE,
    };
    let download = Download::of_talosctl(&metrics);
    representation.answer(&method, &headers).download(factory.store(), &method, download).await
}
