//! The keys, their defaults, and what they mean.
//!
//! The comments of the fields are the documentation of the keys: `docs/configuration.md` is made of them.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use imager::Version;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::artifacts::{Artifacts, ContainerSignature, Enterprise, Registry};
use super::value::{ListenAddr, Time, Url};
use crate::server::Settings;

/// The configuration of the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Config {
    /// Addresses, certificates, limits of connections.
    #[schema(inline)]
    pub http: Http,
    /// Which versions are offered.
    #[schema(inline)]
    pub build: Build,
    /// Whose signatures source images must have.
    #[schema(inline)]
    pub container_signature: ContainerSignature,
    /// What is signed.
    #[schema(inline)]
    pub cache: Cache,
    /// Metrics for Prometheus.
    #[schema(inline)]
    pub metrics: Metrics,
    /// Signing for secure boot.
    #[schema(inline)]
    pub secure_boot: SecureBoot,
    /// Where images come from and go.
    #[schema(inline)]
    pub artifacts: Artifacts,
    /// How registries are spoken to.
    #[schema(inline)]
    pub registry: Registry,
    /// What the reference has in its paid edition.
    #[schema(inline)]
    pub enterprise: Enterprise,
    /// Where everything is kept.
    #[schema(inline)]
    pub store: Store,
    /// The log, on standard error.
    #[schema(inline)]
    pub log: Log,
}

/// Addresses, certificates, limits of connections.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Http {
    /// Where to listen: `HOST:PORT`, or `:PORT` for every address of the machine. Without any configuration it is
    /// `127.0.0.1:8080`.
    #[schema(value_type = String)]
    pub http_listen_addr: ListenAddr,
    /// The certificates for TLS, as PEM, the server's own first. Read again when it changes.
    #[schema(value_type = Option<String>)]
    pub cert_file: Option<PathBuf>,
    /// The key of the certificate, as PEM. Read again when it changes.
    #[schema(value_type = Option<String>)]
    pub key_file: Option<PathBuf>,
    /// The address that clients use. Default: where the server listens.
    #[serde(rename = "externalURL")]
    #[schema(value_type = Option<String>)]
    pub external_url: Option<Url>,
    /// The address that booting machines use. Default: `http.externalURL`.
    #[serde(rename = "externalPXEURL")]
    #[schema(value_type = Option<String>)]
    pub external_pxe_url: Option<Url>,
    /// Whose web pages may read answers (CORS); `*` is everyone's.
    pub allowed_origins: Vec<String>,
    /// How many connections there may be. Who comes then waits for one to end.
    #[schema(value_type = usize)]
    pub max_connections: NonZeroUsize,
    /// How long a request header may take, the wait for it on a kept connection included. Over HTTP/2, how long a connection
    /// may be without a request.
    #[schema(value_type = String)]
    pub header_timeout: Time,
    /// How long the body of a request may take.
    #[schema(value_type = String)]
    pub body_timeout: Time,
    /// How long a client may take none of what is sent to it. Over HTTP/2, none of all its answers: while it takes one, others
    /// may wait.
    #[schema(value_type = String)]
    pub send_timeout: Time,
    /// Whether the kernel sends files over plain HTTP/1.1 without a copy. With `false`, what somebody changes in the store by hand
    /// while it is downloaded is never given out; with `true`, the download may end with an error after some of it.
    pub send_files: bool,
    /// How long downloads may go on after the server was told to stop. Longer ones are cut and resume elsewhere.
    #[schema(value_type = String)]
    pub drain_timeout: Time,
}

/// Which versions are offered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Build {
    /// The oldest version that is offered. Default: all.
    #[schema(value_type = Option<String>)]
    pub min_talos_version: Option<Version>,
    /// Versions that must not be offered. `/versions?broken=true` lists them.
    #[schema(value_type = Vec<String>)]
    pub broken_talos_versions: Vec<Version>,
}

/// What is signed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Cache {
    /// The private key that signs installer images and assets, as PEM (ECDSA on P-256). Default: `keys/signing.pem` in the
    /// store, made on the first start.
    #[schema(value_type = Option<String>)]
    pub signing_key_path: Option<PathBuf>,
}

/// Metrics for Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Metrics {
    /// Where `/metrics` is served, as in `http.httpListenAddr`; empty for nowhere. Without any configuration it is
    /// `127.0.0.1:2122`.
    #[serde(with = "maybe_empty")]
    #[schema(value_type = String)]
    pub addr: Option<ListenAddr>,
}

/// Signing for secure boot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct SecureBoot {
    /// Whether the signing certificate is given out.
    pub enabled: bool,
    /// Keys in files.
    #[schema(inline)]
    pub file: SecureBootFile,
}

/// Keys in files.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct SecureBootFile {
    /// The certificate that machines enrol, as PEM.
    #[schema(value_type = Option<String>)]
    pub signing_cert_path: Option<PathBuf>,
}

/// Where everything is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Store {
    /// The directory. Default: `$IMAGER_STORE`, else `imager/store` in the user's data directory.
    #[schema(value_type = Option<String>)]
    pub dir: Option<PathBuf>,
}

/// The log, on standard error.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Log {
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, also by part, as in `info,store=debug`.
    /// `$RUST_LOG` goes before it.
    pub level: String,
    /// `text` for people, `json` for programs.
    #[schema(value_type = String)]
    pub format: LogFormat,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Http {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            http_listen_addr: ListenAddr::new("", 8080),
            cert_file: None,
            key_file: None,
            external_url: None,
            external_pxe_url: None,
            allowed_origins: vec!["*".to_owned()],
            max_connections: settings.connections_max.try_into().expect("the default is not zero"),
            header_timeout: Time(settings.header_timeout),
            body_timeout: Time(crate::site::BODY_TIMEOUT),
            send_timeout: Time(settings.send_timeout),
            send_files: settings.send_files,
            drain_timeout: Time(settings.drain),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { addr: Some(ListenAddr::new("", 2122)) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// What holds where nobody configured anything: a machine that others share sees no new open port.
    pub(super) fn loopback() -> Self {
        let mut config = Self::default();
        config.http.http_listen_addr = ListenAddr::new("127.0.0.1", 8080);
        config.metrics.addr = Some(ListenAddr::new("127.0.0.1", 2122));
        config
    }
}

/// Empty text for none.
mod maybe_empty {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::ListenAddr;

    // The signature is serde's.
    #[allow(clippy::ref_option)]
    pub fn serialize<S: Serializer>(addr: &Option<ListenAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        addr.as_ref().map(ToString::to_string).unwrap_or_default().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ListenAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
    }
}

/// Keys of the reference that mean nothing here: their group, their names in it, and why.
pub(super) type Unused = (&'static str, &'static [&'static str], &'static str);

const REPOSITORY: &[&str] = &["registry", "namespace", "repository", "insecure"];

const NOT_BUILT: &str = "nothing is built, so nothing waits in a queue";
const NOT_STORED: &str = "images are planned and streamed, so there is nothing to keep";
const NOT_REDIRECTED: &str = "downloads are not redirected; a CDN in front may keep them, by `Cache-Control`";
const NOT_LOOKED_UP: &str = "schematics are small files in the store";
const LOGGED: &str = "the log tells of it: `log.level: remote=debug`";
const NOT_SIGNED: &str = "images are not signed for secure boot yet";
const KEY_FILE: &str = "a key in a file signs: `cache.signingKeyPath`";
const NO_USERS: &str = "there are no users here; a proxy in front may know them";
const PAID: &str = "it belongs to the reference's paid edition";

/// Taken without an effect, so that a configuration of the reference starts this server.
pub(super) const UNUSED: &[Unused] = &[
    ("build", &["maxConcurrency"], NOT_BUILT),
    ("cache.gsa", &["serviceAccountEmail", "keyFile", "fulcioURL", "rekorURL", "tsaURL"], KEY_FILE),
    ("cache.oci", REPOSITORY, NOT_STORED),
    ("cache.s3", &["enabled", "bucket", "endpoint", "region", "insecure", "presignedURLTTL"], NOT_STORED),
    ("cache.cdn", &["enabled", "host", "trimPrefix"], NOT_REDIRECTED),
    ("cache.schematic", &["capacity", "negativeTTL"], NOT_LOOKED_UP),
    ("secureBoot.file", &["signingKeyPath", "pcrKeyPath"], NOT_SIGNED),
    ("secureBoot.azureKeyVault", &["url", "certificateName", "keyName"], NOT_SIGNED),
    ("secureBoot.awsKMS", &["keyID", "pcrKeyID", "certPath", "certARN", "region"], NOT_SIGNED),
    ("artifacts.schematic", REPOSITORY, NOT_LOOKED_UP),
    ("artifacts.installer.internal", REPOSITORY, NOT_STORED),
    ("registry", &["debug"], LOGGED),
    ("authentication", &["enabled", "provider", "htpasswdPath", "downloadTokenKeyPath"], NO_USERS),
    (
        "authentication.auth0",
        &[
            "domain",
            "audience",
            "machineScope",
            "clientID",
            "clientSecret",
            "sessionKey",
            "maxNodeAppsPerOrg",
        ],
        NO_USERS,
    ),
    ("authentication.downloadTokenTTL", &["default", "min", "max"], NO_USERS),
    ("enterprise.scanner", &["databaseURL", "databaseUpdateAt", "databaseRootDir"], PAID),
    ("enterprise.scanner.cache", REPOSITORY, PAID),
    ("enterprise.spdx.cache", REPOSITORY, PAID),
    ("enterprise.vex.data", REPOSITORY, PAID),
    ("enterprise.vex.cache", REPOSITORY, PAID),
    ("audit", &["mode"], PAID),
    ("audit.file", &["path", "maxAge", "maxSizeMB", "maxBackups"], PAID),
];
