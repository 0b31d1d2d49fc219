//! The keys of images: where they come from, whose signatures they have, where they go.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::value::Time;

/// Whose signatures source images must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ContainerSignature {
    /// The public key that source images are signed with, as PEM (ECDSA on P-256).
    #[schema(value_type = Option<String>)]
    pub public_key_file: Option<PathBuf>,
    /// What is hashed for signatures with the key: `sha256`.
    pub public_key_hash_algo: String,
    /// Whether source images are taken from registries without a signature.
    pub disabled: bool,
    /// Whose keyless signatures are believed, beside those with the key: an expression that is found in an e-mail address or
    /// the URI of a workflow.
    pub subject_reg_exp: String,
    /// The OpenID provider that knows them.
    pub issuer: String,
    /// The same as an expression that is found in it, which goes before.
    pub issuer_reg_exp: String,
    /// Certificate authorities and logs for keyless signatures: Sigstore's `trusted_root.json`. Nothing is fetched for it.
    #[schema(value_type = Option<String>)]
    pub trusted_root_file: Option<PathBuf>,
}

/// Where images come from and go.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Artifacts {
    /// The images that versions are made of.
    #[schema(inline)]
    pub core: Core,
    /// How often it is looked which versions there are.
    #[schema(value_type = String)]
    pub talos_version_recheck_interval: Time,
    /// How often it is looked whether catalogues in the store have changed at their source.
    #[schema(value_type = String)]
    pub refresh_interval: Time,
    /// Further catalogues of extensions, for instance of one's own. Each has `registry`, `namespace` (before the names of its
    /// repositories), `repository`, `overlays` (a repository of overlays), `insecure`, `name` (for logs and metrics) and a
    /// `containerSignature` as the one above. What they list goes before what the core's catalogue lists under the same
    /// name; a version that they do not have is passed over.
    #[schema(inline)]
    pub catalogues: Vec<Catalogue>,
    /// Installer images.
    #[schema(inline)]
    pub installer: Installer,
}

/// The images that versions are made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Core {
    /// The registry that gives source images which the store does not have, as `ghcr.io`. Default: none, the store has
    /// what there is. Logins are taken from Docker's configuration.
    pub registry: Option<String>,
    /// What stands before the names of its repositories, as in a mirror.
    pub namespace: String,
    /// Whether it is spoken to without TLS. On the loopback that is so anyway.
    pub insecure: bool,
    /// What the images are called there.
    #[schema(inline)]
    pub components: Components,
}

/// What the core images are called.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Components {
    /// What installer images are built on.
    pub installer_base: String,
    /// The installer of versions without such a base.
    pub installer: String,
    /// Boot files. Its tags are the versions that there are.
    pub imager: String,
    /// The catalogue of extensions.
    pub extension_manifest: String,
    /// The catalogue of overlays.
    pub overlay_manifest: String,
    /// Command-line clients.
    pub talosctl: String,
}

/// A further catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Catalogue {
    /// What logs and metrics call it. Default: where it is.
    pub name: Option<String>,
    /// The registry of the catalogue and of what it lists.
    pub registry: String,
    /// What stands before the names of its repositories.
    pub namespace: String,
    /// The repository of the catalogue.
    pub repository: String,
    /// The repository of a catalogue of overlays.
    pub overlays: Option<String>,
    /// Whether the registry is spoken to without TLS.
    pub insecure: bool,
    /// Whose signatures its images must have.
    #[schema(inline)]
    pub container_signature: ContainerSignature,
}

/// How registries are spoken to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Registry {
    /// How many blobs are pulled at once, from all sources together, but four from each at least. More than 64 are 64.
    #[schema(value_type = usize)]
    pub jobs: NonZeroUsize,
    /// Mirrors that are asked before a registry: `REGISTRY=MIRROR`, with a path where the mirror has it below one, as in
    /// `ghcr.io=harbor.example/ghcr-proxy`; `*` for all registries, `http://` before a mirror without TLS.
    pub mirrors: Vec<String>,
}

/// What the reference has in its paid edition.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Enterprise {
    /// A further catalogue of extensions, as the reference knows it.
    #[schema(inline)]
    pub extra_extensions: ExtraExtensions,
}

/// A further catalogue of extensions, as the reference knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ExtraExtensions {
    /// Where the catalogue is.
    #[schema(inline)]
    pub manifest: Manifest,
}

/// Where a catalogue is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Manifest {
    /// The registry of a further catalogue of extensions and of what it lists; `containerSignature` holds for it. With
    /// `artifacts.catalogues` there are several, each with a key of its own.
    pub registry: Option<String>,
    /// The first part of the name of the catalogue's repository.
    pub namespace: String,
    /// The rest of it.
    pub repository: String,
    /// Whether the registry is spoken to without TLS.
    pub insecure: bool,
}

/// Installer images.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Installer {
    /// Where they are written through to.
    #[schema(inline)]
    pub external: External,
}

/// A registry that installer images are written through to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct External {
    /// The registry, `HOST` or `HOST:PORT`. Installer images that are asked for by tag are pushed to it in the background, signed,
    /// and still answered from here. Default: none.
    pub registry: String,
    /// What is before the names of images there.
    pub namespace: String,
    /// What is behind the namespace and before the names of images.
    pub repository: String,
    /// Whether plain HTTP is spoken with it. On the loopback it always is.
    pub insecure: bool,
}

impl Default for ContainerSignature {
    fn default() -> Self {
        Self {
            public_key_file: None,
            public_key_hash_algo: "sha256".to_owned(),
            disabled: false,
            subject_reg_exp: String::new(),
            issuer: "https://accounts.google.com".to_owned(),
            issuer_reg_exp: String::new(),
            trusted_root_file: None,
        }
    }
}

impl Default for Artifacts {
    fn default() -> Self {
        Self {
            core: Core::default(),
            talos_version_recheck_interval: Time(Duration::from_mins(15)),
            refresh_interval: Time(Duration::from_mins(5)),
            catalogues: Vec::new(),
            installer: Installer::default(),
        }
    }
}

impl Default for Components {
    fn default() -> Self {
        let engine = imager::Components::default();
        Self {
            installer_base: engine.installer_base,
            installer: engine.installer,
            imager: engine.imager,
            extension_manifest: engine.extension_manifest,
            overlay_manifest: engine.overlay_manifest,
            talosctl: engine.talosctl,
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self { jobs: NonZeroUsize::new(16).expect("it is not zero"), mirrors: Vec::new() }
    }
}
