//! The factory: a store, and what is asked of the engine.

mod planning;
mod work;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use extent::{Digest, ExtentMap};
use schematics::{Schematic, SchematicId};
use store::Store;
use tokio::sync::Semaphore;
use tracing::{Instrument as _, debug_span};

use self::planning::PLANS_MAX;
use crate::resolve::Resolver;
use crate::resolve::memory::Memory;
use crate::sources::{self, Sources, Standing, Supply};
use crate::{Arch, Asset, Checksum, Error, InstallerName, Lock, Offer, OverlayOffer, Version};

pub use self::planning::{Planned, Planning};

/// Resolves requests against a store. Cheap to clone; clones share what they remember.
///
/// What touches the store is asynchronous and runs on tokio's threads for blocking work: a tokio runtime must be
/// there.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = store::Store::open("/var/lib/imager")?;
/// let factory = imager::Factory::open(store.clone());
/// let schematic = schematics::Schematic::parse(b"customization: {}")?;
/// let resolved = factory.resolve(&schematic, &"v13.1.0".parse()?, &"kernel-amd64".parse()?).await?;
/// let artifact = imager::plan(&resolved)?;
/// store.write_file(&artifact.extents, artifact.name.as_ref(), &|_| {})?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Factory {
    /// Resolves with what is recorded.
    resolver: Arc<Resolver>,
    /// Derives what is not.
    deriver: Arc<Resolver>,
    supply: Arc<Supply>,
    /// Whether what is missing is pulled.
    is_pulling: bool,
    /// Turns of those who derive. Who waits for one has no thread.
    deriving: Arc<Semaphore>,
    /// Turns of those whose plans take long.
    planning: Arc<Semaphore>,
    /// What was planned of late, by lock.
    plans: Memory<Digest, Planned>,
}

/// A lock and the few bytes that planning must look into.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What decides the bytes.
    pub lock: Lock,
    /// systemd-stub, where a UKI is made; else nothing.
    pub(crate) stub: bytes::Bytes,
}

/// The longest canonical schematic in bytes.
const SCHEMATIC_LEN_MAX: u64 = schematics::MAX_LEN as u64;

impl Factory {
    /// A factory over `store`, at the address that the reference has when it is told none: images that are made
    /// with and without a server are the same.
    pub fn open(store: Store) -> Self {
        Self::at(store, "https://localhost/")
    }

    /// A factory over `store` that clients know as `external_url`. Machines show the address as part of the
    /// author of their schematic; it is in every image that has an initramfs.
    pub fn at(store: Store, external_url: &str) -> Self {
        let author = format!("Image Factory ({external_url})");
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let supply = sources::nothing(store.clone());
        let deriver = Arc::new(Resolver::new(store, author, Arc::clone(&supply)));
        Self {
            resolver: Arc::new(deriver.recorded()),
            deriver,
            supply,
            is_pulling: true,
            // Work of whole processors; and some of those who have a turn wait for what another derives.
            deriving: Arc::new(Semaphore::new(2 * processors)),
            planning: Arc::new(Semaphore::new(processors)),
            plans: Memory::of(PLANS_MAX),
        }
    }

    /// The same factory, which pulls from `sources` what the store does not have, and keeps it there. It has to be there
    /// before the first request: what was remembered is forgotten.
    #[must_use]
    pub fn with_sources(self, sources: Sources) -> Self {
        let (store, author) = (self.store().clone(), self.deriver.author().to_owned());
        let supply = Arc::new(Supply::new(store.clone(), sources));
        let deriver = Arc::new(Resolver::new(store, author, Arc::clone(&supply)));
        Self { resolver: Arc::new(deriver.recorded()), deriver, supply, ..self }
    }

    /// The same factory, which answers with what the store has: what would have to be pulled is `NotPulled`.
    #[must_use]
    pub fn offline(&self) -> Self {
        Self { is_pulling: false, ..self.clone() }
    }

    /// Asks the core source, if there is one, which versions there are. The list is kept in the store.
    ///
    /// # Errors
    /// `Source`; then the last list still serves.
    pub async fn refresh_versions(&self) -> Result<(), Error> {
        self.supply.refresh_versions().await
    }

    /// Asks all sources what the catalogues that the store has are now, and pulls those that have changed.
    pub async fn refresh_catalogues(&self) {
        self.supply.refresh_catalogues().await;
    }

    /// How it stands with the sources, the core first.
    pub fn standings(&self) -> Vec<Standing> {
        self.supply.standings()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.deriver.store()
    }

    /// The versions that there are, ascending, as the reference lists them: no pre-releases but those of the
    /// newest minor.
    ///
    /// # Errors
    /// `Source` where the list was never known, and the store has no version either.
    pub async fn versions(&self) -> Result<Vec<Version>, Error> {
        let unknown = self.know_versions().await.err();
        let versions = self.run(Resolver::versions).await?;
        match unknown {
            Some(error) if versions.is_empty() => Err(error),
            _ => Ok(versions),
        }
    }

    /// Asks for the versions if nobody ever has.
    async fn know_versions(&self) -> Result<(), Error> {
        if !self.is_pulling || !self.supply.has_core() {
            return Ok(());
        }
        let supply = Arc::clone(&self.supply);
        if self.run(move |_| Ok(supply.listed().is_some())).await? {
            return Ok(());
        }
        self.supply.refresh_versions().await
    }

    /// The extensions of `version`, in the order of its catalogue.
    ///
    /// # Errors
    /// `VersionNotAvailable` with the nearest versions.
    pub async fn extensions(&self, version: &Version) -> Result<Vec<Offer>, Error> {
        let version = version.clone();
        self.supplied(move |resolver| resolver.extensions(&version)).await
    }

    /// Those of the extensions of `version` that `names` name, by their own names or by ones they had before.
    ///
    /// # Errors
    /// `ExtensionNotAvailable` and `VersionNotAvailable` with the nearest names.
    pub async fn extensions_named(&self, version: &Version, names: &[String]) -> Result<Vec<Offer>, Error> {
        let (version, names) = (version.clone(), names.to_vec());
        self.supplied(move |resolver| resolver.extensions_named(&version, &names)).await
    }

    /// The overlays of `version`, in the order of its catalogue.
    ///
    /// # Errors
    /// `VersionNotAvailable` with the nearest versions.
    pub async fn overlays(&self, version: &Version) -> Result<Vec<OverlayOffer>, Error> {
        let version = version.clone();
        self.supplied(move |resolver| resolver.overlays(&version)).await
    }

    /// The command-line clients of `version`, by file name.
    ///
    /// # Errors
    /// `VersionNotAvailable` with the nearest versions.
    pub async fn talosctl(&self, version: &Version) -> Result<BTreeMap<String, ExtentMap>, Error> {
        let version = version.clone();
        self.supplied(move |resolver| resolver.talosctl(&version)).await
    }

    /// The checksum of the bytes that `map` describes, in hexadecimal: seconds the first time, then remembered.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn checksum(&self, map: &ExtentMap, checksum: Checksum) -> Result<String, Error> {
        let map = map.clone();
        self.derived(move |resolver| checksum.of(&map, resolver.store())).await
    }

    /// Everything that decides the bytes of `asset`, with every blob of it in the store. What must be computed
    /// is computed now, once.
    ///
    /// # Errors
    /// All of [`Error`] but those of planning.
    pub async fn resolve(
        &self,
        schematic: &Schematic,
        version: &Version,
        asset: &Asset,
    ) -> Result<Resolved, Error> {
        let span = debug_span!("resolve", schematic = %schematic.id(), %version, %asset);
        let (schematic, version, asset) = (schematic.clone(), version.clone(), *asset);
        self.supplied(move |resolver| {
            let resolved = resolver.resolve(&schematic, &version, asset)?;
            tracing::debug!(extensions = resolved.lock.extensions.len(), "resolved");
            Ok(resolved)
        })
        .instrument(span)
        .await
    }

    /// The locks of the installer image `name`, for every architecture that `version` has: none if it has none.
    ///
    /// # Errors
    /// Those of [`Self::resolve`], but for an architecture that is not there.
    pub async fn resolve_installers(
        &self,
        schematic: &Schematic,
        version: &Version,
        name: &InstallerName,
    ) -> Result<Vec<Resolved>, Error> {
        let one = async |arch: Arch| {
            let asset = name.asset(arch)?;
            match self.resolve(schematic, version, &asset).await {
                Ok(resolved) => Ok(Some(resolved)),
                // The store may have been seeded for some architectures only.
                Err(error @ Error::NoPlatform { .. }) => {
                    tracing::debug!(%arch, error = %error, "an installer has no such architecture");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        let [first, second] = Arch::ALL;
        // Each hashes a layer when it is asked for the first time.
        let (first, second) = tokio::try_join!(one(first), one(second))?;
        Ok(first.into_iter().chain(second).collect())
    }

    /// Keeps `schematic`: its canonical form is the blob that its id names.
    pub async fn put_schematic(&self, schematic: &Schematic) -> Result<SchematicId, Error> {
        let canonical = schematic.canonical();
        self.run(move |resolver| Ok(resolver.store().put_bytes(canonical.as_bytes())?.digest.into())).await
    }

    /// The schematic `id`, if it was kept. A blob that is no schematic was not: ids are digests, and a client
    /// may ask for any.
    pub async fn schematic(&self, id: SchematicId) -> Result<Option<Schematic>, Error> {
        self.run(move |resolver| {
            let bytes = match resolver.store().bytes(&id.digest(), SCHEMATIC_LEN_MAX) {
                Ok(bytes) => bytes,
                Err(store::Error::NotFound { .. } | store::Error::TooLarge { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            Ok(Schematic::parse(&bytes).ok().filter(|schematic| schematic.id() == id))
        })
        .await
    }
}
