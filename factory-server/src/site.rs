//! What a site decides: the addresses that clients know it by, and what it holds back.

use std::sync::Arc;

use axum::extract::FromRef;
use bytes::Bytes;
use imager::{Factory, Version};

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
}

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Service {
    /// The engine.
    pub factory: Factory,
    /// The site.
    pub site: Arc<Site>,
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
        }
    }
}

impl Site {
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

impl FromRef<Service> for Arc<Site> {
    fn from_ref(service: &Service) -> Self {
        Arc::clone(&service.site)
    }
}
