//! What one tag of an installer image stands for: every document and every layer, by digest.
//!
//! Nothing of it is kept: it follows from two locks, and is put together again when it was forgotten. Who asks for a digest
//! that is not known here (another process gave it out) is answered by going through the versions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosign::{ImageSignature, SigningKey, Subject};
use extent::{Digest, ExtentMap};
use imager::{Arch, Factory, InstallerImage, InstallerName, Version};
use remote::Described;
use schematics::{Schematic, SchematicId};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::site::Site;

/// An index and all that it names.
#[derive(Debug)]
pub struct Published {
    /// The index of all architectures.
    pub index: Digest,
    /// The manifest for each.
    pub manifests: Vec<(Arch, Digest)>,
    /// The index and the manifests, the index first, each behind its media type.
    pub images: Vec<(&'static str, Bytes)>,
    /// Configurations and layers.
    blobs: Vec<Digest>,
    documents: HashMap<Digest, Document>,
    /// By what they sign; empty where there is no key.
    signatures: HashMap<Digest, ImageSignature>,
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
type Place = (SchematicId, InstallerName, Digest);

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

/// Clients know from the manifest what a blob is.
const BLOB: &str = "application/octet-stream";
/// Some 800 KiB each.
const PUBLISHED_MAX: usize = 32;
/// Some 200 bytes each.
const PLACES_MAX: usize = 50_000;
/// How long a digest that belongs to no version is not looked for again: versions may come meanwhile.
const ABSENT_FOR: Duration = Duration::from_secs(30);

impl Published {
    fn of(image: &InstallerImage, signer: Option<&SigningKey>, name: &str) -> Self {
        let mut documents = HashMap::new();
        let mut signatures = HashMap::new();
        for (media_type, bytes) in image.manifests() {
            let digest = Digest::of(bytes);
            if let Some(key) = signer {
                let len = bytes.len() as u64;
                let subject = Subject { media_type: media_type.to_owned(), digest, len };
                let signature = ImageSignature::new(key, name, &subject);
                for document in signature.documents() {
                    documents.insert(Digest::of(document.bytes), Document::of_signature(document));
                }
                signatures.insert(digest, signature);
            }
            let (media_type, extents) = (media_type.to_owned(), ExtentMap::inline(bytes.clone()));
            documents.insert(digest, Document { media_type, extents, is_manifest: true });
        }
        let mut blobs = Vec::new();
        for (digest, extents) in image.blobs() {
            blobs.push(digest);
            documents.insert(digest, Document { media_type: BLOB.to_owned(), extents, is_manifest: false });
        }
        let manifests =
            image.installers.iter().map(|installer| (installer.arch, installer.digest())).collect();
        let images = image.manifests().map(|(media_type, bytes)| (media_type, bytes.clone())).collect();
        Self { index: image.digest(), manifests, images, blobs, documents, signatures }
    }

    /// The signature of the manifest `digest`, if it is one of these and there is a key.
    pub fn signature(&self, digest: &Digest) -> Option<&ImageSignature> {
        self.signatures.get(digest)
    }

    /// The image without signatures, for another registry.
    pub fn described(&self) -> Described {
        let blobs = self.blobs.iter().filter_map(|digest| {
            let document = self.documents.get(digest)?;
            Some((*digest, document.extents.clone()))
        });
        let mut images = self.images.iter().map(|(media_type, bytes)| ((*media_type).into(), bytes.clone()));
        let top = images.next().expect("the index comes first");
        Described::new(top, images, blobs.collect())
    }

    /// The document `digest`, if it is one of these.
    pub fn document(&self, digest: &Digest) -> Option<&Document> {
        self.documents.get(digest)
    }
}

impl Document {
    fn of_signature(document: cosign::Document<'_>) -> Self {
        let cosign::Document { bytes, media_type, is_manifest } = document;
        Self { media_type: media_type.to_owned(), extents: ExtentMap::inline(bytes.to_vec()), is_manifest }
    }
}

impl Memory {
    /// What `image` of `schematic` is in `version`: for every architecture that the version has.
    pub async fn published(
        &self,
        factory: &Factory,
        site: &Site,
        schematic: &Schematic,
        image: &InstallerName,
        version: &Version,
    ) -> Result<Arc<Published>, Error> {
        let resolved = factory.resolve_installers(schematic, version, image).await?;
        if resolved.is_empty() {
            let text = format!("version {} has no boot files for any architecture", version.bare());
            return Err(Error::not_found(text).because("manifest-unknown"));
        }
        let key: Vec<Digest> = resolved.iter().map(|resolved| resolved.lock.digest()).collect();
        if let Some(published) = lock(&self.published).get(&key) {
            return Ok(Arc::clone(published));
        }
        let installer = factory.installer_image(resolved).await?;
        let name = format!("{}/{image}/{}", site.authority(), schematic.id());
        let published = Arc::new(Published::of(&installer, site.signer.as_deref(), &name));
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
        image: &InstallerName,
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
        // A digest that nobody gave out must not make us pull every version that there is.
        let offline = factory.offline();
        // The newest are asked for most.
        for version in versions.iter().rev() {
            match self.published(&offline, site, schematic, image, version).await {
                Ok(published) if published.document(&digest).is_some() => return Ok(Some(published)),
                // A version that the schematic does not go with has none of it.
                Ok(_) => {}
                Err(error) if error.is_clients() || error.is_not_pulled() => {}
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that can panic happens under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
