//! How registries are spoken to.

use std::time::Duration;

use crate::{Credentials, Mirrors, Proxies};

/// Where plain HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// With registries on the loopback interface.
    #[default]
    Loopback,
    /// With every registry.
    Always,
    /// With none.
    Never,
}

/// How registries are spoken to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The logins.
    pub credentials: Credentials,
    /// Where else images are asked for.
    pub mirrors: Mirrors,
    /// The proxies: those of the environment have to be asked for with [`Proxies::from_env`].
    pub proxies: Proxies,
    /// Where plain HTTP is spoken.
    pub plain_http: PlainHttp,
    /// How long is waited for a credential helper.
    pub helper: Duration,
    /// How long is waited for a connection.
    pub connect: Duration,
    /// How long is waited for an answer, and for every 4 KiB of one.
    pub stall: Duration,
    /// How often a request is sent in all before it has failed. A blob starts anew after each MiB that came.
    pub tries: u32,
    /// The wait after the first failure; each is twice the one before.
    pub first_wait: Duration,
    /// The longest wait of our own.
    pub longest_wait: Duration,
    /// The longest wait that a registry can ask for.
    pub longest_asked_wait: Duration,
    /// Blobs that come or go at once, of one image.
    pub parallel_blobs: usize,
    /// The longest blob that is fetched. The largest layers of source images, firmware, have 1 GiB.
    pub max_blob_len: u64,
    /// The longest image that is fetched, all its platforms together.
    pub max_image_len: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            mirrors: Mirrors::none(),
            proxies: Proxies::none(),
            plain_http: PlainHttp::default(),
            helper: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            tries: 6,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(10),
            longest_asked_wait: Duration::from_mins(1),
            parallel_blobs: 4,
            max_blob_len: 16 << 30,
            max_image_len: 64 << 30,
        }
    }
}
