//! What one tag of an installer image stands for: every document and every layer, by digest.
//!
//! Nothing of it is kept: it follows from two locks, and is put together again when it was forgotten. Who asks for a digest
//! that is not known here (another process gave it out) is answered by going through the versions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cosign::SigningKey;
use extent::{Digest, ExtentMap};
use futures::future::try_join_all;
use imager::{Arch, CONFIG, Factory, INDEX, Installer, MANIFEST, Resolved, Version};
use schematics::{Schematic, SchematicId};
use tokio::sync::Semaphore;

use super::name::ImageName;
use super::signatures::Signature;
use crate::error::Error;
use crate::site::Site;

/// An index and all that it names.
#[derive(Debug)]
pub struct Published {
    /// The index of all architectures.
    pub index: Digest,
    /// The manifest for each.
    pub manifests: Vec<(Arch, Digest)>,
    documents: HashMap<Digest, Document>,
    /// By what they sign; empty where there is no key.
    signatures: HashMap<Digest, Signature>,
}

/// Bytes with a digest.
#[derive(Clone, Debug)]
pub struct Document {
    /// The media type.
    pub media_type: String,
    /// The bytes.
    pub extents: ExtentMap,
    /// Whether it is asked for as a manifest.
    pub is_manifest: bool,
}

/// What was put together of late.
#[derive(Debug)]
pub struct Memory {
    /// By the locks.
    published: Mutex<HashMap<Vec<Digest>, Arc<Published>>>,
    /// Which version a digest belongs to.
    places: Mutex<HashMap<Place, Version>>,
    /// Since when a digest is known to belong to none.
    absent: Mutex<HashMap<Place, Instant>>,
    /// The turn of who goes through all versions.
    searching: Semaphore,
}

/// A digest, of an image.
type Place = (SchematicId, ImageName, Digest);

impl Default for Memory {
    fn default() -> Self {
        Self {
            published: Mutex::default(),
            places: Mutex::default(),
            absent: Mutex::default(),
            searching: Semaphore::new(1),
        }
    }
}

/// Some 800 KiB each.
const PUBLISHED_MAX: usize = 32;
/// Some 200 bytes each.
const PLACES_MAX: usize = 50_000;
/// How long a digest that belongs to no version is not looked for again: versions may come meanwhile.
const ABSENT_FOR: Duration = Duration::from_secs(30);

impl Published {
    fn of(installers: &[Installer], signer: Option<&SigningKey>, name: &str) -> Self {
        let index = imager::installer_index(installers);
        let mut documents = HashMap::new();
        let mut put = |digest: Digest, media_type: &str, extents: ExtentMap, is_manifest: bool| {
            let media_type = media_type.to_owned();
            documents.insert(digest, Document { media_type, extents, is_manifest });
        };
        for installer in installers {
            put(installer.digest(), MANIFEST, ExtentMap::inline(installer.manifest.clone()), true);
            let config = installer.config.clone();
            put(Digest::of(&config), CONFIG, ExtentMap::inline(config), false);
            for layer in &installer.layers {
                put(layer.descriptor.digest, &layer.media_type, layer.extents.clone(), false);
            }
        }
        let digest = Digest::of(&index);
        put(digest, INDEX, ExtentMap::inline(index), true);
        let manifests = installers.iter().map(|installer| (installer.arch, installer.digest())).collect();
        let mut signatures = HashMap::new();
        if let Some(key) = signer {
            for (digest, document) in documents.iter().filter(|(_, document)| document.is_manifest) {
                let len = document.extents.len();
                signatures.insert(*digest, Signature::of(key, name, &document.media_type, *digest, len));
            }
        }
        let signed: Vec<_> = signatures.values().flat_map(|signature| signature.documents.clone()).collect();
        documents.extend(signed);
        Self { index: digest, manifests, documents, signatures }
    }

    /// The signature of the manifest `digest`, if it is one of these and there is a key.
    pub fn signature(&self, digest: &Digest) -> Option<&Signature> {
        self.signatures.get(digest)
    }

    /// The document `digest`, if it is one of these.
    pub fn document(&self, digest: &Digest) -> Option<&Document> {
        self.documents.get(digest)
    }
}

impl Memory {
    /// What `image` of `schematic` is in `version`: for every architecture that the version has.
    pub async fn published(
        &self,
        factory: &Factory,
        site: &Site,
        schematic: &Schematic,
        image: &ImageName,
        version: &Version,
    ) -> Result<Arc<Published>, Error> {
        let resolved = resolved(factory, schematic, image, version).await?;
        let key: Vec<Digest> = resolved.iter().map(|resolved| resolved.lock.digest()).collect();
        if let Some(published) = lock(&self.published).get(&key) {
            return Ok(Arc::clone(published));
        }
        let installers =
            try_join_all(resolved.into_iter().map(|resolved| factory.installer(resolved))).await?;
        let name = format!("{}/{image}/{}", site.authority(), schematic.id());
        let published = Arc::new(Published::of(&installers, site.signer.as_deref(), &name));
        let mut places = lock(&self.places);
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        for digest in published.documents.keys() {
            places.insert((schematic.id(), image.clone(), *digest), version.clone());
        }
        drop(places);
        let mut all = lock(&self.published);
        if all.len() >= PUBLISHED_MAX {
            all.clear();
        }
        all.insert(key, Arc::clone(&published));
        Ok(published)
    }

    /// What `digest` belongs to, among `versions`.
    pub async fn find(
        &self,
        factory: &Factory,
        site: &Site,
        schematic: &Schematic,
        image: &ImageName,
        versions: &[Version],
        digest: Digest,
    ) -> Result<Option<Arc<Published>>, Error> {
        let place = (schematic.id(), image.clone(), digest);
        if let Some(published) = self.known(factory, site, schematic, &place).await? {
            return Ok(Some(published));
        }
        // Work for every version: one at a time, so that digests that nobody gave out take no more than that.
        let _turn = self.searching.acquire().await.expect("the semaphore is never closed");
        // Whoever had the turn before may have looked for the same.
        if let Some(published) = self.known(factory, site, schematic, &place).await? {
            return Ok(Some(published));
        }
        if lock(&self.absent).get(&place).is_some_and(|since| since.elapsed() < ABSENT_FOR) {
            return Ok(None);
        }
        // The newest are asked for most.
        for version in versions.iter().rev() {
            match self.published(factory, site, schematic, image, version).await {
                Ok(published) if published.document(&digest).is_some() => return Ok(Some(published)),
                // A version that the schematic does not go with has none of it.
                Ok(_) => {}
                Err(error) if error.is_clients() => {}
                Err(error) => return Err(error),
            }
        }
        let mut absent = lock(&self.absent);
        if absent.len() >= PLACES_MAX {
            absent.clear();
        }
        absent.insert(place, Instant::now());
        Ok(None)
    }

    /// What the digest of `place` belongs to, if it was put together here and still is what it was.
    async fn known(
        &self,
        factory: &Factory,
        site: &Site,
        schematic: &Schematic,
        place: &Place,
    ) -> Result<Option<Arc<Published>>, Error> {
        let Some(version) = lock(&self.places).get(place).cloned() else { return Ok(None) };
        let (_, image, digest) = place;
        match self.published(factory, site, schematic, image, &version).await {
            Ok(published) => Ok(published.document(digest).is_some().then_some(published)),
            Err(error) if error.is_clients() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The locks of all architectures that there are.
async fn resolved(
    factory: &Factory,
    schematic: &Schematic,
    image: &ImageName,
    version: &Version,
) -> Result<Vec<Resolved>, Error> {
    let one = |arch: Arch| async move {
        let asset = image.asset(arch)?;
        match factory.resolve(schematic, version, &asset).await {
            Ok(resolved) => Ok(Some(resolved)),
            // The store may have been seeded for some architectures only.
            Err(error @ imager::Error::NoPlatform { .. }) => {
                tracing::debug!(%arch, error = %error, "an installer has no such architecture");
                Ok(None)
            }
            Err(error) => Err(Error::from(error)),
        }
    };
    let found: Vec<Resolved> = try_join_all(Arch::ALL.map(one)).await?.into_iter().flatten().collect();
    if found.is_empty() {
        let text = format!("version {} has no boot files for any architecture", version.bare());
        return Err(Error::not_found(text).because("manifest-unknown"));
    }
    Ok(found)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that can panic happens under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
