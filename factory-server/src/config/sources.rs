//! Sources of images, as they are configured.

use std::io;
use std::path::{Path, PathBuf};

use cosign::{KeyError, Keyless, Pattern, PatternError, Policy, PublicKey, TrustedRoot, TrustedRootError};
use imager::{FurtherCatalogue, IMAGES_AT_ONCE, Origin, Sources};
use remote::{Client, Credentials, Options, PlainHttp, Proxies};

use super::artifacts::{Catalogue, Components, ContainerSignature};
use super::keys::Config;

/// Threads that write blobs which come in: half of those that a server has for what blocks.
const JOBS_MAX: usize = 64;
/// Tries of a request while a client waits: five seconds, if the registry answers at once that it cannot.
const TRIES: u32 = 4;

/// What is wrong with sources as they are configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError {
    /// Nothing says whose images are believed.
    #[error(
        "images of `{registry}` are taken with a signature only: set `{group}.publicKeyFile` or `{group}.subjectRegExp`, or \
         `{group}.disabled` to take them without"
    )]
    NoPolicy {
        /// The registry.
        registry: String,
        /// The group of the keys to set.
        group: String,
    },
    /// Keyless signatures are asked for, and nobody who could vouch for them.
    #[error(
        "`{group}.subjectRegExp` asks for keyless signatures: set `{group}.trustedRootFile` to a file with Sigstore's \
         `trusted_root.json`"
    )]
    NoTrustedRoot {
        /// The group of the keys.
        group: String,
    },
    /// Not a trusted root.
    #[error("reading the trusted root `{}`", path.display())]
    TrustedRoot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TrustedRootError,
    },
    /// Not a pattern.
    #[error("`{key}`")]
    Pattern {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// Not a mirror.
    #[error("`registry.mirrors`")]
    Mirror(#[source] remote::Error),
    /// The environment names a proxy that is none.
    #[error("the proxies of the environment")]
    Proxy(#[source] remote::Error),
    /// Another hash than signatures are made of here.
    #[error("`{group}.publicKeyHashAlgo` is `{found}`: signatures with a key are over `sha256`")]
    Hash {
        /// The group of the key.
        group: String,
        /// What was set.
        found: String,
    },
    /// The file of a key cannot be read.
    #[error("reading `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of a key has none.
    #[error("reading the key `{}`", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Not a registry.
    #[error("`{key}`")]
    Registry {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: remote::Error,
    },
    /// Not the name of a repository.
    #[error("`{key}`: `{found}` is no name of a repository: words of lower case, parted by `/`")]
    Repository {
        /// The key.
        key: String,
        /// What was set, behind its namespace.
        found: String,
    },
    /// A time after which something is done again and again, and no time.
    #[error("`{key}` must be longer than nothing, as `5m`")]
    Interval {
        /// The key.
        key: &'static str,
    },
    /// Docker's configuration is there and cannot be used.
    #[error(transparent)]
    Login(remote::Error),
}

/// A registry as it is configured.
struct Place<'a> {
    /// The group of keys that it is configured by.
    group: String,
    registry: &'a str,
    namespace: &'a str,
    insecure: bool,
    signature: &'a ContainerSignature,
    /// The group of the signature's keys.
    signature_group: String,
}

impl Config {
    /// Where source images come from. Reads the files of keys and Docker's configuration; asks nobody.
    ///
    /// # Errors
    /// The first thing that is wrong, by the name of its key.
    pub fn sources(&self) -> Result<Sources, SourcesError> {
        let mut sources = Sources::default();
        let artifacts = &self.artifacts;
        let intervals = [
            ("artifacts.talosVersionRecheckInterval", artifacts.talos_version_recheck_interval),
            ("artifacts.refreshInterval", artifacts.refresh_interval),
        ];
        if let Some((key, _)) = intervals.into_iter().find(|(_, time)| time.0.is_zero()) {
            return Err(SourcesError::Interval { key });
        }
        if let Some(registry) = &artifacts.core.registry {
            let place = Place {
                group: "artifacts.core".to_owned(),
                registry,
                namespace: &artifacts.core.namespace,
                insecure: artifacts.core.insecure,
                signature: &self.container_signature,
                signature_group: "containerSignature".to_owned(),
            };
            let origin = place.origin(self)?;
            let components = components(&artifacts.core.components, &place, &origin)?;
            sources.core = Some(imager::Core { origin, components });
        }
        for (index, catalogue) in artifacts.catalogues.iter().enumerate() {
            sources.catalogues.push(further(catalogue, index, self)?);
        }
        let manifest = &self.enterprise.extra_extensions.manifest;
        if let Some(registry) = &manifest.registry {
            let place = Place {
                group: "enterprise.extraExtensions.manifest".to_owned(),
                registry,
                // What the catalogue lists has its whole path.
                namespace: "",
                insecure: manifest.insecure,
                signature: &self.container_signature,
                signature_group: "containerSignature".to_owned(),
            };
            let origin = place.origin(self)?;
            let namespace = manifest.namespace.trim_matches('/');
            let repository = format!("{namespace}/{}", manifest.repository);
            let extensions = place.repository("repository", repository.trim_start_matches('/'), &origin)?;
            let name = format!("{registry}/{extensions}");
            let extensions = Some(extensions);
            sources.catalogues.push(FurtherCatalogue { name, origin, extensions, overlays: None });
        }
        Ok(sources)
    }

    /// How many sources are configured; one, if none is.
    fn source_count(&self) -> usize {
        let artifacts = &self.artifacts;
        let further = self.enterprise.extra_extensions.manifest.registry.as_ref();
        let others = artifacts.catalogues.len() + usize::from(further.is_some());
        (usize::from(artifacts.core.registry.is_some()) + others).max(1)
    }
}

fn components(
    components: &Components,
    place: &Place<'_>,
    origin: &Origin,
) -> Result<imager::Components, SourcesError> {
    let named = |key: &str, name: &str| place.repository(&format!("components.{key}"), name, origin);
    Ok(imager::Components {
        installer_base: named("installerBase", &components.installer_base)?,
        installer: named("installer", &components.installer)?,
        imager: named("imager", &components.imager)?,
        extension_manifest: named("extensionManifest", &components.extension_manifest)?,
        overlay_manifest: named("overlayManifest", &components.overlay_manifest)?,
        talosctl: named("talosctl", &components.talosctl)?,
    })
}

fn further(catalogue: &Catalogue, index: usize, config: &Config) -> Result<FurtherCatalogue, SourcesError> {
    let group = format!("artifacts.catalogues[{index}]");
    let place = Place {
        signature_group: format!("{group}.containerSignature"),
        group,
        registry: &catalogue.registry,
        namespace: &catalogue.namespace,
        insecure: catalogue.insecure,
        signature: &catalogue.container_signature,
    };
    let origin = place.origin(config)?;
    let extensions = place.repository("repository", &catalogue.repository, &origin)?;
    let overlays = catalogue.overlays.as_deref();
    let overlays = overlays.map(|name| place.repository("overlays", name, &origin)).transpose()?;
    let name = catalogue.name.clone().unwrap_or_else(|| {
        let namespace = Some(&origin.namespace).filter(|namespace| !namespace.is_empty());
        let parts = [Some(&catalogue.registry), namespace, Some(&extensions)];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("/")
    });
    Ok(FurtherCatalogue { name, origin, extensions: Some(extensions), overlays })
}

impl Place<'_> {
    fn origin(&self, config: &Config) -> Result<Origin, SourcesError> {
        let registry = self.registry.parse();
        let registry = registry
            .map_err(|source| SourcesError::Registry { key: format!("{}.registry", self.group), source })?;
        let mut options = Options::default();
        options.credentials = Credentials::from_env().map_err(SourcesError::Login)?;
        let images = IMAGES_AT_ONCE * config.source_count();
        options.proxies = Proxies::from_env().map_err(SourcesError::Proxy)?;
        for mirror in &config.registry.mirrors {
            let mirror = mirror.parse().map_err(SourcesError::Mirror)?;
            options.mirrors = options.mirrors.with(mirror).map_err(SourcesError::Mirror)?;
        }
        options.parallel_blobs = (config.registry.jobs.get().min(JOBS_MAX) / images).max(1);
        options.tries = TRIES;
        if self.insecure {
            options.plain_http = PlainHttp::Always;
        }
        Ok(Origin {
            registry,
            namespace: self.namespace.trim_matches('/').to_owned(),
            client: Client::new(options),
            policy: self.policy()?,
        })
    }

    /// Whose signatures are believed; none takes images without one. The one place that decides it.
    fn policy(&self) -> Result<Option<Policy>, SourcesError> {
        let group = || self.signature_group.clone();
        let signature = self.signature;
        if signature.disabled {
            return Ok(None);
        }
        let mut policies = Vec::new();
        if let Some(path) = &signature.public_key_file {
            if signature.public_key_hash_algo != "sha256" {
                let found = signature.public_key_hash_algo.clone();
                return Err(SourcesError::Hash { group: group(), found });
            }
            let key = PublicKey::from_pem(&String::from_utf8_lossy(&read(path)?));
            policies
                .push(Policy::Key(key.map_err(|source| SourcesError::Key { path: path.clone(), source })?));
        }
        if !signature.subject_reg_exp.is_empty() {
            policies.push(Policy::Keyless(self.keyless()?));
        }
        match policies.len() {
            0 => Err(SourcesError::NoPolicy { registry: self.registry.to_owned(), group: group() }),
            1 => Ok(policies.pop()),
            // In the reference's order.
            _ => Ok(Some(Policy::Any(policies))),
        }
    }

    fn keyless(&self) -> Result<Keyless, SourcesError> {
        let signature = self.signature;
        let group = || self.signature_group.clone();
        let path = signature.trusted_root_file.as_ref();
        let path = path.ok_or_else(|| SourcesError::NoTrustedRoot { group: group() })?;
        let trusted_root = TrustedRoot::from_json(&read(path)?)
            .map_err(|source| SourcesError::TrustedRoot { path: path.clone(), source })?;
        let wrong = |key| move |source| SourcesError::Pattern { key: format!("{}.{key}", group()), source };
        let identity = Pattern::expression(&signature.subject_reg_exp).map_err(wrong("subjectRegExp"))?;
        let issuer = Pattern::preferring(&signature.issuer_reg_exp, &signature.issuer)
            .map_err(wrong("issuerRegExp"))?;
        Ok(Keyless { trusted_root, identity, issuer })
    }

    /// `name`, if it is that of a repository behind the namespace.
    fn repository(&self, key: &str, name: &str, origin: &Origin) -> Result<String, SourcesError> {
        let full = format!("{}/{name}", origin.namespace);
        let found = full.trim_start_matches('/');
        if store::is_repository(found) {
            return Ok(name.to_owned());
        }
        Err(SourcesError::Repository { key: format!("{}.{key}", self.group), found: found.to_owned() })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SourcesError> {
    std::fs::read(path).map_err(|source| SourcesError::Read { path: path.to_owned(), source })
}
