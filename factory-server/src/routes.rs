//! The routes.

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};
use imager::Factory;

use crate::error::Error;
use crate::{access, image, schematic, version};

/// Everything that is answered, by `factory`.
pub fn routes(factory: Factory) -> Router {
    Router::new()
        .route("/healthz", get(|| async {}))
        .route("/schematics", post(schematic::take).layer(DefaultBodyLimit::max(schematics::MAX_LEN)))
        .route("/schematics/{id}", get(schematic::give))
        .route("/image/{schematic}/{version}/{path}", get(image::image))
        .route("/versions", get(version::versions))
        .route("/version/{version}/extensions/official", get(version::extensions))
        .fallback(|| async { Error::no_route() })
        .method_not_allowed_fallback(|| async { Error::no_method() })
        .layer(middleware::from_fn(access::logged))
        .with_state(factory)
}
