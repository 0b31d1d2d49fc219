//! What a site decides: the addresses that clients know it by, and what it holds back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use bytes::Bytes;
use cosign::SigningKey;
use imager::{Factory, Version};

use crate::metrics::Metrics;
use crate::registry;

/// What the handlers need to know of the configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Site {
    /// The address that clients use, without a slash at its end.
    pub external_url: String,
    /// The address that booting machines use, without a slash at its end.
    pub external_pxe_url: String,
    /// Versions that must not be offered.
    pub broken_versions: Vec<Version>,
    /// The oldest version that is offered.
    pub min_version: Option<Version>,
    /// Whose pages may read answers; `*` is everyone's.
    pub allowed_origins: Vec<String>,
    /// The certificate that signs for secure boot, as PEM.
    pub signing_cert: Option<Bytes>,
    /// The key that signs installer images and checksums.
    pub signer: Option<Arc<SigningKey>>,
    /// Where installer images are written through to.
    pub external: Option<Arc<registry::External>>,
    /// How long the body of a request may take.
    pub body_timeout: Duration,
    /// What is counted and measured.
    pub metrics: Metrics,
}

/// A schematic has at most 1 MiB: slower is no link that could fetch an image.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Service {
    /// The engine.
    pub factory: Factory,
    /// The site.
    pub site: Arc<Site>,
    /// What the registry remembers.
    pub registry: Arc<registry::Memory>,
}

impl Default for Site {
    fn default() -> Self {
        Self::at("http://127.0.0.1:8080")
    }
}

impl Site {
    /// A site that clients and machines know by one address.
    pub fn at(url: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self {
            external_url: url.clone(),
            external_pxe_url: url,
            broken_versions: Vec::new(),
            min_version: None,
            allowed_origins: vec!["*".to_owned()],
            signing_cert: None,
            signer: None,
            external: None,
            body_timeout: BODY_TIMEOUT,
            metrics: Metrics::default(),
        }
    }
}

impl Site {
    /// The same site, known to clients by `url`, and to booting machines by `pxe_url` or the same.
    #[must_use]
    pub fn known_by(self, url: &str, pxe_url: Option<&str>) -> Self {
        let url = url.trim_end_matches('/');
        let external_pxe_url = pxe_url.unwrap_or(url).to_owned();
        Self { external_url: url.to_owned(), external_pxe_url, ..self }
    }

    /// Host and port of the address that clients use: where they pull images from.
    pub fn authority(&self) -> &str {
        let rest = self.external_url.split_once("://").map_or(self.external_url.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Whether `version` is to be offered.
    pub fn offers(&self, version: &Version) -> bool {
        !self.broken_versions.contains(version) && self.min_version.as_ref().is_none_or(|min| version >= min)
    }
}

impl FromRef<Service> for Factory {
    fn from_ref(service: &Service) -> Self {
        service.factory.clone()
    }
}

impl FromRef<Service> for Metrics {
    fn from_ref(service: &Service) -> Self {
        service.site.metrics.clone()
    }
}

impl FromRef<Service> for Arc<Site> {
    fn from_ref(service: &Service) -> Self {
        Arc::clone(&service.site)
    }
}
