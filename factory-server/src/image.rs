//! Images: described, answered in whole or in part; and what can be said about one.
//!
//! ```text
//! /image/<schematic>/<version>/<asset>              the bytes
//!                             /<asset>.sha256       their checksum, as `sha256sum` writes it; `.sha512` too
//!                             /<asset>.lock.json    every digest that decided them
//!                             /<asset>.plan.json    the extents: where every byte comes from
//!                             /<asset>.sigstore.json  our signature, as a Sigstore bundle
//! ```

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use extent::{Digest, ExtentMap};
use imager::{Artifact, Asset, Checksum, Factory, Planned, Row, Version};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::error::Error;
use crate::metrics::{Metrics, Stage};
use crate::openapi::Refused;
use crate::precondition::ETag;
use crate::representation::Representation;
use crate::site::Site;
use crate::{cache, disposition, schematic};

/// What the query may say.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wishes {
    /// What the download is to be called.
    filename: Option<String>,
}

/// What is wanted of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Facet {
    Bytes,
    Checksum(Checksum),
    Lock,
    Plan,
    Signature,
}

/// The extents of an asset.
#[derive(Serialize)]
struct Plan<'a> {
    name: &'a str,
    media_type: &'a str,
    size_bytes: u64,
    /// The entity tag of the asset: the identity of this description.
    etag: String,
    extents: Vec<Row>,
}

/// An asset, or what can be said about one.
///
/// Behind the name of an asset: `.sha256`, `.sha512`, `.lock.json`, `.plan.json`, `.sigstore.json`. A HEAD costs a plan and no
/// more, but for the signature, whose length follows from all that is signed.
// Errors come in the reference's order: schematic, version, path, what they are together.
#[utoipa::path(
    get,
    path = "/image/{schematic}/{version}/{path}",
    params(
        ("schematic" = String, Path, pattern = "^[0-9a-f]{64}$", description = "The id of a schematic."),
        ("version" = String, Path, pattern = r"^v?(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(-[0-9A-Za-z.-]{1,64})?$", description = "A version, with or without `v`."),
        ("path" = String, Path, description = "The asset, as `metal-amd64.raw.zst`."),
        Wishes,
    ),
    responses(
        (status = 200, description = "The bytes.", content_type = "application/octet-stream", body = [u8]),
        (status = 206, description = "The ranges that were asked for."),
        (status = 304, description = "The client has them already."),
        (status = 412, description = "The client has others."),
        (status = 416, description = "No range that was asked for is there."),
        Refused,
    ),
)]
pub async fn image(
    State(factory): State<Factory>,
    State(metrics): State<Metrics>,
    State(site): State<Arc<Site>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<Wishes>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path((id, version, path)) = path?;
    let Query(wishes) = query?;
    let schematic = schematic::find(&factory, &metrics, &id).await?;
    let version: Version = version.parse()?;
    let (stem, facet) = Facet::of(&path);
    let asset: Asset = stem.parse()?;
    let begun = Instant::now();
    let resolved = metrics.timed(Stage::Resolve, factory.resolve(&schematic, &version, &asset)).await?;
    let planning = metrics.timed(Stage::Plan, factory.planning(resolved)).await?;
    let download = metrics.planned(&planning, begun.elapsed());
    let planned = planning.planned;
    let name = match &wishes.filename {
        Some(asked) if facet != Facet::Bytes => format!("{asked}{}", &path[stem.len()..]),
        Some(asked) => asked.clone(),
        None => path.clone(),
    };
    let document = |map: ExtentMap| (ETag::of(map.id()), map, "application/json");
    let (etag, map, media_type) = match facet {
        Facet::Checksum(checksum) => {
            let named = wishes.filename.as_deref().unwrap_or(stem);
            let line = line(&factory, &planned.artifact, checksum, named, &method).await?;
            // Not the identity of the line, which a HEAD does not know.
            (ETag::of(format!("{}-{checksum}", planned.id)), line, "text/plain; charset=utf-8")
        }
        Facet::Signature => {
            let key = site
                .signer
                .as_ref()
                .ok_or_else(|| Error::not_found("this factory signs nothing: it has no key"))?;
            let hex = factory.checksum(&planned.artifact.extents, Checksum::Sha256).await?;
            let digest = Digest::from_hex(&hex).expect("a checksum is a digest");
            let bundle = ExtentMap::inline(cosign::blob_bundle(key, &digest));
            (ETag::of(bundle.id()), bundle, cosign::BUNDLE_MEDIA_TYPE)
        }
        Facet::Lock => document(json(&planned.lock)),
        Facet::Plan => document(json(&Plan::of(&planned))),
        Facet::Bytes => (ETag::of(planned.id), planned.artifact.extents.clone(), planned.artifact.media_type),
    };
    let disposition = Some(disposition::attachment(Some(&name), &path));
    let representation =
        Representation { map, etag, media_type, disposition, cache_control: cache::CATALOGUE };
    let answer = representation.answer(&method, &headers);
    match facet {
        Facet::Bytes => answer.download(factory.store(), &method, download).await,
        _ => answer.stream(factory.store(), &method).await,
    }
}

impl Facet {
    /// The asset's own path, and what is wanted of it.
    fn of(path: &str) -> (&str, Self) {
        let checksums = Checksum::ALL.map(|checksum| (checksum.name(), Self::Checksum(checksum)));
        let others =
            [("lock.json", Self::Lock), ("plan.json", Self::Plan), ("sigstore.json", Self::Signature)];
        for (ending, facet) in checksums.into_iter().chain(others) {
            if let Some(stem) = path.strip_suffix(ending).and_then(|stem| stem.strip_suffix('.')) {
                return (stem, facet);
            }
        }
        (path, Self::Bytes)
    }
}

/// The line that `sha256sum` writes. A HEAD needs its length alone, so nothing is read for it.
async fn line(
    factory: &Factory,
    artifact: &Artifact,
    checksum: Checksum,
    name: &str,
    method: &Method,
) -> Result<ExtentMap, Error> {
    // In a line of its own, it must not make another.
    let name = name.replace(|c: char| c.is_control() || matches!(c, '/' | '\\'), "_");
    let hex = match *method {
        Method::HEAD => "0".repeat(checksum.hex_len()),
        _ => factory.checksum(&artifact.extents, checksum).await?,
    };
    Ok(ExtentMap::inline(format!("{hex}  {name}\n").into_bytes()))
}

impl<'a> Plan<'a> {
    fn of(Planned { artifact, id, lock, .. }: &'a Planned) -> Self {
        Self {
            name: &artifact.name,
            media_type: artifact.media_type,
            size_bytes: artifact.extents.len(),
            etag: ETag::of(id).to_string(),
            extents: imager::rows(artifact, lock),
        }
    }
}

/// A document that people may read, too.
fn json(value: &impl Serialize) -> ExtentMap {
    let mut text = serde_json::to_vec_pretty(value).expect("what is answered has text for keys");
    text.push(b'\n');
    ExtentMap::inline(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_what_is_wanted() {
        let table = [
            ("metal-amd64.raw.zst", "metal-amd64.raw.zst", Facet::Bytes),
            ("metal-amd64.raw.zst.sha256", "metal-amd64.raw.zst", Facet::Checksum(Checksum::Sha256)),
            ("kernel-amd64.sha512", "kernel-amd64", Facet::Checksum(Checksum::Sha512)),
            ("kernel-amd64.lock.json", "kernel-amd64", Facet::Lock),
            ("kernel-amd64.plan.json", "kernel-amd64", Facet::Plan),
            ("kernel-amd64.sigstore.json", "kernel-amd64", Facet::Signature),
            ("kernel-amd64sha256", "kernel-amd64sha256", Facet::Bytes),
            ("sha256", "sha256", Facet::Bytes),
        ];
        for (path, stem, facet) in table {
            assert_eq!(Facet::of(path), (stem, facet), "{path}");
        }
    }
}
