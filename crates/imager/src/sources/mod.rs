//! Where source images come from when the store does not have them.
//!
//! ```text
//! resolver ── it is not in the store ──▶ what is wanted ──▶ pulls, one for each image ──▶ store ──▶ resolver, again
//! ```
//!
//! The resolver blocks and knows no network: it says what it misses, all at once where it can, and is asked again when
//! that has come. What was pulled stays in the store, signatures with it, under the names that the engine knows, so that
//! it serves without the source from then on. Nothing is looked into that is not signed as the source's policy wants it.
//!
//! The images of the core set have the names of the reference. Those of further catalogues are kept apart, below
//! `catalogues/<registry>/`: who signs a catalogue of extensions must not be able to replace a kernel.

mod pull;
mod refresh;
mod standing;
mod versions;
mod wanted;

use std::sync::{Arc, Mutex};

use cosign::Policy;
use extent::Digest;
use remote::{Client, Registry};
use store::Store;
use tokio::sync::Semaphore;

use self::pull::Board;
use self::versions::Listed;
use crate::Version;
use crate::resolve::{EXTENSIONS, IMAGER, INSTALLER, INSTALLER_BASE, OVERLAYS, TALOSCTL};

pub use standing::{Lists, Standing};
pub(crate) use wanted::Want;
pub use wanted::Wanted;

/// Where images come from. None at all: the store has what there is.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The images that versions are made of.
    pub core: Option<Core>,
    /// Further catalogues of extensions and overlays. What they list goes before what the core's catalogue lists under the
    /// same name, and the first of them before the others.
    pub catalogues: Vec<FurtherCatalogue>,
}

/// A registry, and whose signature its images have.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The registry.
    pub registry: Registry,
    /// What its repositories have before their names, without slashes at either end; empty for nothing.
    pub namespace: String,
    /// How it is spoken to.
    pub client: Client,
    /// Whose signature is believed; none takes images without one.
    pub policy: Option<Policy>,
}

/// The source of the images that versions are made of.
#[derive(Clone, Debug)]
pub struct Core {
    /// Where they are.
    pub origin: Origin,
    /// What they are called there.
    pub components: Components,
}

/// The repositories of the core images, without the namespace.
///
/// Source: `artifacts.core.components` of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// What installer images are built on.
    pub installer_base: String,
    /// The installer of versions without such a base.
    pub installer: String,
    /// Boot files; its tags are the versions that there are.
    pub imager: String,
    /// The catalogue of extensions.
    pub extension_manifest: String,
    /// The catalogue of overlays.
    pub overlay_manifest: String,
    /// Command-line clients.
    pub talosctl: String,
}

/// A catalogue beside the core's. Images that it lists come from its own registry.
#[derive(Clone, Debug)]
pub struct FurtherCatalogue {
    /// What logs and metrics call it.
    pub name: String,
    /// Where it and what it lists are.
    pub origin: Origin,
    /// The repository of the catalogue of extensions, without the namespace.
    pub extensions: Option<String>,
    /// The repository of the catalogue of overlays, without the namespace.
    pub overlays: Option<String>,
}

/// Which of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Core,
    Catalogue(usize),
}

/// A list that a catalogue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Extensions,
    Overlays,
}

/// Sources, the store that they fill, and what is known of them.
pub(crate) struct Supply {
    store: Store,
    sources: Sources,
    board: Mutex<Board>,
    /// Turns of images that are pulled, of each source its own: a slow one holds nobody up but those who want its images.
    turns: Vec<Semaphore>,
    listed: Mutex<Option<Listed>>,
    /// One at a time asks for the versions; since when the last answer holds.
    listing: tokio::sync::Mutex<Option<versions::Answer>>,
    standings: Mutex<Vec<Standing>>,
}

/// Images that are pulled at once from a source. Each has several blobs on their way, and each of these a thread that writes
/// it.
pub const IMAGES_AT_ONCE: usize = 4;

/// What logs and metrics call the core source.
pub const CORE: &str = "core";

impl Default for Components {
    fn default() -> Self {
        Self {
            installer_base: INSTALLER_BASE.to_owned(),
            installer: INSTALLER.to_owned(),
            imager: IMAGER.to_owned(),
            extension_manifest: EXTENSIONS.to_owned(),
            overlay_manifest: OVERLAYS.to_owned(),
            talosctl: TALOSCTL.to_owned(),
        }
    }
}

impl Core {
    /// What the core image that the engine calls `repository` is called here.
    fn component(&self, repository: &str) -> Option<&str> {
        let components = &self.components;
        Some(match repository {
            INSTALLER_BASE => &components.installer_base,
            INSTALLER => &components.installer,
            IMAGER => &components.imager,
            EXTENSIONS => &components.extension_manifest,
            OVERLAYS => &components.overlay_manifest,
            TALOSCTL => &components.talosctl,
            _ => return None,
        })
    }
}

impl FurtherCatalogue {
    /// The repository of a list.
    fn repository(&self, list: List) -> Option<&str> {
        match list {
            List::Extensions => self.extensions.as_deref(),
            List::Overlays => self.overlays.as_deref(),
        }
    }
}

impl Origin {
    /// The full name of `repository`, with the namespace.
    fn path(&self, repository: &str) -> String {
        match self.namespace.as_str() {
            "" => repository.to_owned(),
            namespace => format!("{namespace}/{repository}"),
        }
    }

    /// What `repository` is called in the store where it must not be taken for a core image: `<root>/<registry>/<path>`.
    fn apart(&self, root: &str, repository: &str) -> String {
        let path = self.path(repository);
        // No host has an underscore, so no two registries become one.
        let name = format!("{root}/{}/{path}", self.registry.as_str().replace(':', "_"));
        if store::is_repository(&name) {
            return name;
        }
        let digest = Digest::of(format!("{}/{path}", self.registry).as_bytes());
        format!("{root}/{}", digest.hex())
    }
}

impl Supply {
    pub fn new(store: Store, sources: Sources) -> Self {
        let standings = Standing::all(&sources);
        let turns = (0..=sources.catalogues.len()).map(|_| Semaphore::new(IMAGES_AT_ONCE)).collect();
        Self {
            store,
            sources,
            board: Mutex::default(),
            turns,
            listed: Mutex::default(),
            listing: tokio::sync::Mutex::default(),
            standings: Mutex::new(standings),
        }
    }

    pub fn has_core(&self) -> bool {
        self.sources.core.is_some()
    }

    /// The further catalogues that have `list`.
    pub fn catalogues(&self, list: List) -> impl Iterator<Item = Place> {
        let all = self.sources.catalogues.iter().enumerate();
        all.filter(move |(_, one)| one.repository(list).is_some()).map(|(index, _)| Place::Catalogue(index))
    }

    /// The turns of images that are pulled from `place`.
    fn turns(&self, place: Place) -> &Semaphore {
        match place {
            Place::Core => &self.turns[0],
            Place::Catalogue(index) => &self.turns[1 + index],
        }
    }

    fn origin(&self, place: Place) -> Option<&Origin> {
        match place {
            Place::Core => self.sources.core.as_ref().map(|core| &core.origin),
            Place::Catalogue(index) => self.sources.catalogues.get(index).map(|catalogue| &catalogue.origin),
        }
    }

    /// The core image `repository` of `version`; none where no source has it.
    pub fn core(&self, repository: &str, version: &Version) -> Option<Want> {
        let component = self.sources.core.as_ref()?.component(repository)?;
        let is_for_all = matches!(repository, INSTALLER_BASE | INSTALLER);
        Some(Want {
            place: Place::Core,
            repository: component.to_owned(),
            tag: Some(version.to_string()),
            digest: None,
            name: repository.to_owned(),
            is_amd64: !is_for_all,
        })
    }

    /// The image of a further catalogue's `list` for `version`.
    pub fn catalogue(&self, place: Place, list: List, version: &Version) -> Option<Want> {
        let Place::Catalogue(index) = place else { return None };
        let catalogue = self.sources.catalogues.get(index)?;
        let repository = catalogue.repository(list)?;
        Some(Want {
            place,
            repository: repository.to_owned(),
            tag: Some(version.to_string()),
            digest: None,
            name: catalogue.origin.apart("catalogues", repository),
            is_amd64: true,
        })
    }

    /// An image that a catalogue of `place` lists as `reference` with `digest`: its registry is replaced by that of the
    /// source.
    pub fn listed_image(&self, place: Place, reference: &str, digest: Digest) -> Option<Want> {
        let origin = self.origin(place)?;
        let (repository, tag) = reference.split_once('/')?.1.rsplit_once(':')?;
        let name = match place {
            Place::Core => repository.to_owned(),
            Place::Catalogue(_) => origin.apart("catalogues", repository),
        };
        Some(Want {
            place,
            repository: repository.to_owned(),
            tag: Some(tag.to_owned()).filter(|tag| store::is_tag(tag)),
            digest: Some(digest),
            name,
            is_amd64: false,
        })
    }
}

impl std::fmt::Debug for Supply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supply").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// What `mutex` guards. Nothing that can panic happens under it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A supply that never gives anything.
pub(crate) fn nothing(store: Store) -> Arc<Supply> {
    Arc::new(Supply::new(store, Sources::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(registry: &str, namespace: &str) -> Origin {
        let client = Client::new(remote::Options::default());
        let (registry, namespace) = (registry.parse().unwrap(), namespace.to_owned());
        Origin { registry, namespace, client, policy: None }
    }

    fn supply() -> (tempfile::TempDir, Supply) {
        let dir = tempfile::tempdir().unwrap();
        let core = Core { origin: origin("r.example", "m/a"), components: Components::default() };
        let catalogue = FurtherCatalogue {
            name: "acme".to_owned(),
            origin: origin("[::1]:5000", "p"),
            extensions: Some("siderolabs/extensions".to_owned()),
            overlays: None,
        };
        let sources = Sources { core: Some(core), catalogues: vec![catalogue] };
        let store = Store::open(dir.path()).unwrap();
        (dir, Supply::new(store, sources))
    }

    #[test]
    fn images_are_looked_for_below_the_namespace_and_kept_under_the_engines_names() {
        let (_dir, supply) = supply();
        let version = Version::new(13, 1, 0);
        let core = &supply.sources.core.as_ref().unwrap().origin;
        let want = supply.core(IMAGER, &version).unwrap();
        assert_eq!(want.reference(core).unwrap().to_string(), "r.example/m/a/siderolabs/imager:v13.1.0");
        assert_eq!(want.name(), ("siderolabs/imager", "v13.1.0"));
        let digest = Digest::of(b"");
        let listed = supply.listed_image(Place::Core, "ghcr.io/siderolabs/drbd:9", digest).unwrap();
        let reference = listed.reference(core).unwrap().to_string();
        assert_eq!(reference, format!("r.example/m/a/siderolabs/drbd:9@{digest}"));
        assert_eq!(listed.name(), ("siderolabs/drbd", "9"));
        // Versions with build metadata have no tag.
        let built = supply.core(IMAGER, &"v1.2.3+a".parse().unwrap()).unwrap();
        assert!(built.reference(core).is_err());
    }

    #[test]
    fn nothing_of_a_further_catalogue_has_a_name_of_the_core() {
        let (_dir, supply) = supply();
        let place = Place::Catalogue(0);
        let catalogue = supply.catalogue(place, List::Extensions, &Version::new(13, 1, 0)).unwrap();
        let listed =
            supply.listed_image(place, "ghcr.io/siderolabs/imager:v13.1.0", Digest::of(b"")).unwrap();
        for want in [&catalogue, &listed] {
            let (name, tag) = want.name();
            assert!(name.starts_with("catalogues/") && store::is_repository(name), "{name}");
            assert_eq!(tag, "v13.1.0");
        }
        assert_ne!(catalogue.name(), listed.name());
        let plain = origin("r.example:5000", "").apart("catalogues", "acme/extensions");
        assert_eq!(plain, "catalogues/r.example_5000/acme/extensions");
    }

    #[test]
    fn catalogues_that_name_no_repository_are_not_looked_for() {
        let (_dir, supply) = supply();
        for text in ["nothing", "ghcr.io/siderolabs/drbd", ""] {
            assert!(supply.listed_image(Place::Core, text, Digest::of(b"")).is_none(), "{text}");
        }
        for text in ["ghcr.io/../../etc:1", "ghcr.io/UPPER:1", "ghcr.io/a?b:1"] {
            let want = supply.listed_image(Place::Core, text, Digest::of(b"")).unwrap();
            assert!(want.reference(supply.origin(Place::Core).unwrap()).is_err(), "{text}");
        }
    }
}
