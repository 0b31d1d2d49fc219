//! Versions and what they offer, as JSON.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use imager::{Factory, Version};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What the query may say.
#[derive(Deserialize)]
pub struct Which {
    /// `true` for the versions that are known to be broken; every other text means nothing.
    broken: Option<String>,
}

/// `GET /versions`: all of them, ascending.
pub async fn versions(
    State(factory): State<Factory>,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(which) = query?;
    if which.broken.as_deref() == Some("true") {
        return Ok(json(&Vec::<Version>::new()));
    }
    Ok(json(&factory.versions().await?))
}

/// `GET /version/:version/extensions/official`: the extensions of a version.
pub async fn extensions(
    State(factory): State<Factory>,
    version: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    let Path(version) = version?;
    let version: Version = version.parse()?;
    Ok(json(&factory.extensions(&version).await?))
}

/// JSON with a line feed at its end, as the reference writes it.
pub fn json(value: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(value).expect("what is answered has text for keys");
    text.push(b'\n');
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}
