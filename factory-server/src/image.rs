//! Images: described, answered in whole or in part.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use imager::{Asset, Factory, Version};
use serde::Deserialize;

use crate::disposition;
use crate::error::Error;
use crate::precondition::ETag;
use crate::representation::Representation;
use crate::schematic;

/// What the query may say.
#[derive(Deserialize)]
pub struct Wishes {
    /// What the download is to be called.
    filename: Option<String>,
}

/// `GET` and `HEAD /image/:schematic/:version/:path`.
///
/// A HEAD costs a plan and no more. Errors come in the reference's order: schematic, version, path, what they are
/// together.
pub async fn image(
    State(factory): State<Factory>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<Wishes>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path((id, version, path)) = path?;
    let Query(wishes) = query?;
    let schematic = schematic::find(&factory, &id).await?;
    let version: Version = version.parse()?;
    let asset: Asset = path.parse()?;
    let resolved = factory.resolve(&schematic, &version, &asset).await?;
    // A few milliseconds, most of them for the tag: too long for the threads that serve connections.
    let representation = tokio::task::spawn_blocking(move || {
        let artifact = imager::plan(&resolved)?;
        Ok::<_, Error>(Representation {
            etag: ETag::of(artifact.extents.id()),
            map: artifact.extents,
            media_type: artifact.media_type,
            disposition: Some(disposition::attachment(wishes.filename.as_deref(), &path)),
        })
    })
    .await??;
    representation.answer(&method, &headers).stream(factory.store(), &method).await
}
