//! The routes.

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};
use store::Store;

use crate::error::Error;
use crate::{access, schematic};

/// Everything that is answered, from the blobs in `store`.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route("/healthz", get(|| async {}))
        .route("/schematics", post(schematic::take).layer(DefaultBodyLimit::max(schematics::MAX_LEN)))
        .route("/schematics/{id}", get(schematic::give))
        .fallback(|| async { Error::no_route() })
        .method_not_allowed_fallback(|| async { Error::no_method() })
        .layer(middleware::from_fn(access::logged))
        .with_state(store)
}
