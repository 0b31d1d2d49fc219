//! The routes.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post};
use axum::{Router, middleware};
use imager::Factory;

use crate::error::Error;
use crate::site::{Service, Site};
use crate::{access, cors, document, image, problem, pxe, schematic, talosctl, version};

/// Everything that is answered, by `factory`, as `site` wants it.
pub fn routes(factory: Factory, site: Site) -> Router {
    let cors = cors::layer(&site);
    let take = post(schematic::take).layer(DefaultBodyLimit::max(schematics::MAX_LEN));
    let routes: [(&str, MethodRouter<Service>); 15] = [
        ("/", get(document::index)),
        ("/healthz", get(|| async {})),
        ("/readyz", get(|| async {})),
        ("/llms.txt", get(document::llms)),
        ("/schematics", take),
        ("/schematics/{id}", get(schematic::give)),
        ("/image/{schematic}/{version}/{path}", get(image::image)),
        ("/pxe/{schematic}/{version}/{path}", get(pxe::script)),
        ("/versions", get(version::versions)),
        ("/version/{version}/extensions/official", get(version::extensions)),
        ("/version/{version}/overlays/official", get(version::overlays)),
        ("/talosctl/{version}", get(talosctl::list)),
        ("/talosctl/{version}/{path}", get(talosctl::file)),
        ("/secureboot/signing-cert.pem", get(document::signing_cert)),
        ("/oci/cosign/signing-key.pub", get(document::cosign_key)),
    ];
    let router = routes.into_iter().fold(Router::new(), |router, (path, answer)| router.route(path, answer));
    router
        .fallback(|| async { Error::no_route() })
        .method_not_allowed_fallback(|| async { Error::no_method() })
        .layer(cors)
        .layer(middleware::from_fn(problem::formed))
        .layer(middleware::from_fn(access::logged))
        .with_state(Service { factory, site: Arc::new(site) })
}
