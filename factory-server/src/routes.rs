//! The routes.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::header::LOCATION;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, middleware};
use imager::Factory;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::error::Error;
use crate::site::{Service, Site};
use crate::{access, cors, document, image, openapi, problem, pxe, registry, schematic, talosctl, version};

/// Everything that is answered, by `factory`, as `site` wants it.
pub fn routes(factory: Factory, site: Site) -> Router {
    let cors = cors::layer(&site);
    let (interface, document) = OpenApiRouter::new()
        .routes(routes!(schematic::take).layer(DefaultBodyLimit::max(schematics::MAX_LEN)))
        .routes(routes!(schematic::give))
        .routes(routes!(image::image))
        .routes(routes!(pxe::script))
        .routes(routes!(version::versions))
        .routes(routes!(version::extensions))
        .routes(routes!(version::overlays))
        .routes(routes!(talosctl::list))
        .routes(routes!(talosctl::file))
        .routes(routes!(document::signing_cert))
        .routes(routes!(document::cosign_key))
        .routes(routes!(document::healthz))
        .routes(routes!(document::readyz))
        .split_for_parts();
    interface
        .route("/", get(document::index))
        .route("/llms.txt", get(document::llms))
        .merge(openapi::routes(document))
        .merge(registry::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(|| async { Error::no_method() })
        .layer(cors)
        .layer(middleware::from_fn(problem::formed))
        .layer(middleware::from_fn_with_state(site.metrics.clone(), access::logged))
        .with_state(Service { factory, site: Arc::new(site), registry: Arc::default() })
}

/// Whoever appends paths to an address that ends in a slash is sent to the path without the slashes too many, as the
/// reference does.
async fn no_route(method: Method, uri: Uri) -> Response {
    let words = uri.path().split('/').filter(|word| !word.is_empty());
    let path: String = words.flat_map(|word| ["/", word]).collect();
    if path.is_empty() || path == uri.path() {
        return Error::no_route().into_response();
    }
    let to = uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    // What has a body is sent again with it.
    let is_read = [Method::GET, Method::HEAD].contains(&method);
    let status = if is_read { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
    (status, [(LOCATION, to)]).into_response()
}
