//! `--source`: a registry that gives the source images which the store does not have.

use std::path::PathBuf;

use ::store::Store;
use imager::{Components, Core, Factory, Origin, Sources};
use remote::Registry;

use crate::exit::{Exit, Tag as _, refuse, refuse_hint};
use crate::policy;
use crate::transfer::client;

/// Where source images come from that the store does not have.
#[derive(clap::Args)]
pub struct Source {
    /// A registry for source images that the store does not have, e.g. `ghcr.io`; what is pulled stays in the store
    #[arg(long = "source", value_name = "REGISTRY[/NAMESPACE]", env = "IMAGER_SOURCE")]
    registry: Option<String>,
    /// Take them only with a signature by this key, PEM as `cosign` writes it
    #[arg(long = "source-key", value_name = "FILE", env = "IMAGER_SOURCE_KEY")]
    key: Option<PathBuf>,
    /// Take them without asking for a signature
    #[arg(long = "source-unsigned", env = "IMAGER_SOURCE_UNSIGNED", conflicts_with = "key")]
    unsigned: bool,
}

impl Source {
    /// A factory over `store` that pulls from here.
    pub fn factory(&self, store: Store) -> anyhow::Result<Factory> {
        let factory = Factory::open(store);
        let Some(text) = &self.registry else {
            if self.key.is_some() || self.unsigned {
                return refuse(
                    Exit::Input,
                    "how images are taken is said, and not from where: use `--source`",
                );
            }
            return Ok(factory);
        };
        let policy = match &self.key {
            Some(path) => Some(policy::key(path)?),
            None if self.unsigned => None,
            None => {
                let says = format!("nothing says whose images of `{text}` are believed");
                return refuse_hint(Exit::Input, says, "use `--source-key FILE`, or `--source-unsigned`");
            }
        };
        let (registry, namespace) = text.split_once('/').unwrap_or((text, ""));
        let namespace = namespace.trim_matches('/');
        if !namespace.is_empty() && !::store::is_repository(namespace) {
            let says = format!(
                "`{namespace}` is no beginning of a repository's name: words of lower case, parted by `/`"
            );
            return refuse(Exit::Input, says);
        }
        let origin = Origin {
            registry: registry.parse::<Registry>().exit(Exit::Input)?,
            namespace: namespace.to_owned(),
            client: client(false, &[])?,
            policy,
        };
        let core = Core { origin, components: Components::default() };
        Ok(factory.with_sources(Sources { core: Some(core), ..Sources::default() }))
    }
}
