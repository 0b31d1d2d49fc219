//! The OCI registry: installer images, put together while they are pulled, and the source images of the store.
//!
//! ```text
//! tag ──▶ version ──resolve──▶ locks ──plan──▶ index, manifests, configurations, layers ──▶ the one that is asked for
//! ```
//!
//! Read-only. What a tag stands for is computed from the plan and never stored; a layer is hashed when its manifest is asked
//! for the first time, and streamed as every asset is.
//!
//! Source: OCI distribution specification 1.1 (pull, content discovery), OCI image specification 1.1.

mod external;
mod name;
mod published;
mod search;
mod source;
#[cfg(test)]
#[path = "../../../crates/imager/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::get;
use cosign::{SignatureTag, signed_by_tag};
use extent::{Digest, ExtentMap};
use imager::{Arch, Factory, INDEX, InstallerName, Lists, Version};
use schematics::Schematic;
use serde_json::json;

use self::name::{Repository, Wanted};
use self::published::{Document, Published};
use crate::error::Error;
use crate::metrics::{Download, Metrics};
use crate::precondition::ETag;
use crate::representation::Representation;
use crate::site::{Service, Site};
use crate::sources::told;
use crate::{cache, schematic};

pub use self::external::{External, ExternalError};
pub use self::published::Memory;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Tags in one answer, unless fewer are asked for.
const TAGS_MAX: usize = 1000;

/// What the query may say.
#[derive(Debug, Default)]
struct Page {
    /// How many tags at most, as it was written.
    n: Option<String>,
    /// The tag before the first.
    last: Option<String>,
    /// The only type of referrers that is wanted.
    artifact_type: Option<String>,
}

/// A request to the registry.
struct Request {
    factory: Factory,
    site: Arc<Site>,
    metrics: Metrics,
    memory: Arc<Memory>,
    page: Page,
    method: Method,
    headers: HeaderMap,
}

/// Everything below `/v2`.
pub fn routes() -> Router<Service> {
    let ping = || async { ([(API_VERSION, "registry/2.0")], "") };
    Router::new().route("/v2", get(ping)).route("/v2/", get(ping)).route("/v2/{*path}", get(answer))
}

async fn answer(
    State(Service { factory, site, registry }): State<Service>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path(path) = path.map_err(|rejection| Error::from(rejection).because("name-invalid"))?;
    let Query(fields) = query?;
    let page = Page::of(fields);
    let (repository, wanted) = name::parse(path.trim_matches('/'))?;
    let metrics = site.metrics.clone();
    let request = Request { factory, site, metrics, memory: registry, page, method, headers };
    let mut response = match repository {
        Repository::Installer { image, schematic } => request.installer(&image, &schematic, wanted).await?,
        Repository::Source(repository) => request.source(&repository, wanted).await?,
    };
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    Ok(response)
}

impl Page {
    /// What the first field of each name says.
    fn of(fields: Vec<(String, String)>) -> Self {
        let mut page = Self::default();
        for (name, value) in fields {
            let field = match name.as_str() {
                "n" => &mut page.n,
                "last" => &mut page.last,
                "artifactType" => &mut page.artifact_type,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        page
    }

    /// How many tags at most.
    fn count(&self) -> Result<usize, Error> {
        let Some(n) = &self.n else { return Ok(TAGS_MAX) };
        let count: usize = n.parse().map_err(|_| {
            let text = "`n` is no number: expected how many tags are wanted at most, as `?n=100`";
            Error::bad_request(text).because("pagination-number-invalid")
        })?;
        Ok(count.min(TAGS_MAX))
    }
}

impl Request {
    /// Answers for an installer image.
    async fn installer(&self, image: &InstallerName, id: &str, wanted: Wanted) -> Result<Response, Error> {
        let schematic = schematic::find(&self.factory, &self.metrics, id).await?;
        // Before any version is looked at: the platform may not exist.
        image.asset(Arch::Amd64).or_else(|_| image.asset(Arch::Arm64))?;
        match wanted {
            Wanted::Tag(tag) if signed_by_tag(&tag).is_some() => {
                let absent =
                    || Error::not_found(format!("there is no tag `{tag}`")).because("manifest-unknown");
                let (subject, kind) = signed_by_tag(&tag).ok_or_else(absent)?;
                let published = self.find(&schematic, image, subject).await?.ok_or_else(absent)?;
                let signature = published.signature(&subject).ok_or_else(absent)?;
                let digest = match kind {
                    SignatureTag::Signature => signature.image.manifest_digest(),
                    SignatureTag::Referrers => Digest::of(&signature.referrers),
                };
                self.document(&published, digest, cache::CATALOGUE).await
            }
            Wanted::Tag(tag) => {
                let (version, arch) = self.version(&tag).await?;
                let published =
                    self.memory.published(&self.factory, &self.site, &schematic, image, &version).await?;
                let digest = named(&published, arch)?;
                if let Some(external) = &self.site.external {
                    let name = format!("{image}/{}:{version}", schematic.id());
                    let (store, signer) = (self.factory.store(), self.site.signer.as_ref());
                    external.publish(store, &self.metrics, signer, &published, &name);
                }
                self.document(&published, digest, cache::CATALOGUE).await
            }
            Wanted::Manifest(digest) => {
                let published = self.find(&schematic, image, digest).await?;
                let published =
                    published.filter(|all| all.document(&digest).is_some_and(|one| one.is_manifest));
                let published = published.ok_or_else(|| unknown_manifest(&digest))?;
                self.document(&published, digest, cache::IMMUTABLE).await
            }
            Wanted::Blob(digest) => {
                let published = self.find(&schematic, image, digest).await?;
                let published = published.ok_or_else(|| unknown_blob(&digest))?;
                self.document(&published, digest, cache::IMMUTABLE).await
            }
            Wanted::Referrers(digest) => {
                let published = self.find(&schematic, image, digest).await?;
                let signature = published.as_ref().and_then(|published| published.signature(&digest));
                self.referrers(signature.map(|signature| signature.referrers.as_slice())).await
            }
            Wanted::Tags => {
                let mut tags: Vec<String> = self.versions().await?.iter().map(ToString::to_string).collect();
                tags.sort();
                self.tags(&format!("{image}/{id}"), &tags).await
            }
        }
    }

    /// The versions that are offered, ascending.
    async fn versions(&self) -> Result<Vec<Version>, Error> {
        let mut versions = self.factory.versions().await?;
        versions.retain(|version| self.site.offers(version));
        Ok(versions)
    }

    /// The version that `tag` names, and the architecture if it names one: `latest`, `v1.2.3`, `1.2.3`, `v1.2.3-arm64`.
    async fn version(&self, tag: &str) -> Result<(Version, Option<Arch>), Error> {
        let (tag, arch) = Arch::ALL
            .into_iter()
            .find_map(|arch| Some((tag.strip_suffix(arch.name())?.strip_suffix('-')?, Some(arch))))
            .unwrap_or((tag, None));
        if tag == "latest" {
            let versions = self.versions().await?;
            let newest = versions.into_iter().rfind(|version| !version.is_prerelease());
            let newest = newest
                .ok_or_else(|| Error::not_found("there is no version yet").because("manifest-unknown"))?;
            return Ok((newest, arch));
        }
        let version = tag.parse().map_err(|_| {
            let text = format!("there is no tag `{tag}`: tags are versions, as `v1.2.3`, and `latest`");
            Error::not_found(text).because("manifest-unknown")
        })?;
        Ok((version, arch))
    }

    async fn find(
        &self,
        schematic: &Schematic,
        image: &InstallerName,
        digest: Digest,
    ) -> Result<Option<Arc<Published>>, Error> {
        let versions = self.versions().await?;
        self.memory.find(&self.factory, &self.site, schematic, image, &versions, digest).await
    }

    async fn document(
        &self,
        published: &Published,
        digest: Digest,
        cache_control: &'static str,
    ) -> Result<Response, Error> {
        let document = published.document(&digest).ok_or_else(|| unknown_blob(&digest))?.clone();
        self.stream(document, digest, cache_control).await
    }

    /// Answers with `document`.
    async fn stream(
        &self,
        document: Document,
        digest: Digest,
        cache_control: &'static str,
    ) -> Result<Response, Error> {
        let Document { media_type, extents, is_manifest } = document;
        let media_type = HeaderValue::from_str(&media_type).map_err(|_| unknown_manifest(&digest))?;
        let representation = Representation {
            map: extents,
            etag: ETag::of(digest),
            media_type: "application/octet-stream",
            disposition: None,
            cache_control,
        };
        let answer = representation.answer(&self.method, &self.headers);
        let store = self.factory.store();
        let is_ok = answer.status.is_success();
        let mut response = if is_manifest {
            answer.stream(store, &self.method).await?
        } else {
            answer.download(store, &self.method, Download::of_blob(&self.metrics)).await?
        };
        let headers = response.headers_mut();
        if is_ok && is_manifest {
            headers.insert(CONTENT_TYPE, media_type);
        }
        let digest = HeaderValue::from_str(&digest.to_string()).expect("a digest is visible ASCII");
        headers.insert(CONTENT_DIGEST, digest);
        Ok(response)
    }

    /// A page of `tags`, which are sorted.
    async fn tags(&self, repository: &str, tags: &[String]) -> Result<Response, Error> {
        let after = |tag: &&String| self.page.last.as_ref().is_none_or(|last| *tag > last);
        let rest: Vec<&String> = tags.iter().filter(after).collect();
        let count = self.page.count()?;
        let page: Vec<&String> = rest.iter().take(count).copied().collect();
        let body = json!({"name": repository, "tags": page});
        let mut response = self.listed("application/json", &body).await?;
        if let Some(last) = page.last().filter(|_| page.len() < rest.len()) {
            // Tags and names are made of letters that need no escape.
            let link = format!("</v2/{repository}/tags/list?n={count}&last={last}>; rel=\"next\"");
            let link = HeaderValue::from_str(&link).expect("tags are visible ASCII");
            response.headers_mut().insert(LINK, link);
        }
        // Tags are versions, and no more of them come while their source fails.
        Ok(told(response, &self.factory.standings(), Lists::Versions))
    }

    /// What refers to an image: `index`, or nothing.
    async fn referrers(&self, index: Option<&[u8]>) -> Result<Response, Error> {
        let mut body = index
            .and_then(|index| serde_json::from_slice(index).ok())
            .unwrap_or_else(|| json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}));
        if let (Some(wanted), Some(all)) = (&self.page.artifact_type, body["manifests"].as_array_mut()) {
            all.retain(|one| one["artifactType"] == *wanted);
        }
        let mut response = self.listed(INDEX, &body).await?;
        if self.page.artifact_type.is_some() {
            response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }

    /// Answers with a list that is made here.
    async fn listed(&self, media_type: &'static str, list: &serde_json::Value) -> Result<Response, Error> {
        let map = ExtentMap::inline(serde_json::to_vec(list).expect("a value can be written"));
        let representation = Representation {
            etag: ETag::of(map.id()),
            map,
            media_type,
            disposition: None,
            cache_control: cache::CATALOGUE,
        };
        let answer = representation.answer(&self.method, &self.headers);
        answer.stream(self.factory.store(), &self.method).await
    }
}

/// What a tag names: the index, whatever the client accepts, so that one answer is right for all who share a cache; the
/// manifest for `arch` where the tag has one.
fn named(published: &Published, arch: Option<Arch>) -> Result<Digest, Error> {
    let Some(wanted) = arch else { return Ok(published.index) };
    let found = published.manifests.iter().find(|(arch, _)| *arch == wanted);
    found.map(|(_, digest)| *digest).ok_or_else(|| {
        Error::not_found(format!("there is no installer for {wanted}")).because("manifest-unknown")
    })
}

fn unknown_manifest(digest: &Digest) -> Error {
    Error::not_found(format!("there is no manifest {digest} here")).because("manifest-unknown")
}

fn unknown_blob(digest: &Digest) -> Error {
    Error::not_found(format!("there is no blob {digest} here")).because("blob-unknown")
}

/// Whether errors of `uri` have the registry's form.
pub fn is_registry(uri: &Uri) -> bool {
    uri.path() == "/v2" || uri.path().starts_with("/v2/")
}
