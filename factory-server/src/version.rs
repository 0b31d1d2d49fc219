//! Versions and what they offer, as JSON.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use imager::{Factory, Lists, Version};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::cache;
use crate::error::Error;
use crate::openapi::Refused;
use crate::site::Site;
use crate::sources::told;

/// What the query may say.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// `true` for the versions that are known to be broken; every other text means nothing.
    broken: Option<String>,
}

/// All versions, ascending.
#[utoipa::path(
    get,
    path = "/versions",
    params(Which),
    responses((status = 200, description = "Versions, as `v13.1.0`.", body = [String]), Refused),
)]
pub async fn versions(
    State(factory): State<Factory>,
    State(site): State<Arc<Site>>,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(which) = query?;
    if which.broken.as_deref() == Some("true") {
        return Ok(json(&site.broken_versions));
    }
    let mut versions = factory.versions().await?;
    versions.retain(|version| site.offers(version));
    Ok(told(json(&versions), &factory.standings(), Lists::Versions))
}

/// The extensions of a version.
#[utoipa::path(
    get,
    path = "/version/{version}/extensions/official",
    params(("version" = String, Path, pattern = r"^v?(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(-[0-9A-Za-z.-]{1,64})?$", description = "A version, with or without `v`.")),
    responses((status = 200, description = "`name`, `ref`, `digest`, `author`, `description` of each.", body = [Object]), Refused),
)]
pub async fn extensions(
    State(factory): State<Factory>,
    version: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    let Path(version) = version?;
    let version: Version = version.parse()?;
    let offers = factory.extensions(&version).await?;
    Ok(told(json(&offers), &factory.standings(), Lists::Catalogues))
}

/// The overlays of a version: support for boards.
#[utoipa::path(
    get,
    path = "/version/{version}/overlays/official",
    params(("version" = String, Path, pattern = r"^v?(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(-[0-9A-Za-z.-]{1,64})?$", description = "A version, with or without `v`.")),
    responses((status = 200, description = "`name`, `image`, `ref`, `digest` of each.", body = [Object]), Refused),
)]
pub async fn overlays(
    State(factory): State<Factory>,
    version: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    let Path(version) = version?;
    let version: Version = version.parse()?;
    let offers = factory.overlays(&version).await?;
    Ok(told(json(&offers), &factory.standings(), Lists::Catalogues))
}

/// JSON with a line feed at its end, as the reference writes it.
pub fn json(value: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(value).expect("what is answered has text for keys");
    text.push(b'\n');
    let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, cache::CATALOGUE)];
    (fields.map(|(name, value)| (name, HeaderValue::from_static(value))), text).into_response()
}
