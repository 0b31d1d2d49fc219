//! What one tag of an installer image stands for: every document and every layer, by digest.
//!
//! Nothing of it is kept: it follows from two locks, and is put together again when it was forgotten. Who asks for a digest
//! that is not known here (another process gave it out) is answered by going through the versions; for that nothing is
//! forgotten that clients were given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use cosign::{ImageSignature, SigningKey, Subject};
use extent::{Digest, ExtentMap};
use imager::{Arch, Factory, InstallerImage, InstallerName, Version};
use remote::Described;
use schematics::{Schematic, SchematicId};

use super::search::Searches;
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
#[derive(Debug, Default)]
pub struct Memory {
    /// By the locks.
    published: Mutex<HashMap<Locks, Arc<Published>>>,
    /// Which version a digest belongs to.
    places: Mutex<HashMap<Place, Version>>,
    /// Of digests that are in no place.
    searches: Searches,
}

/// A digest, of an image.
type Place = (SchematicId, InstallerName, Digest);
/// The digests of the locks, one for each architecture.
type Locks = Vec<Digest>;

/// Clients know from the manifest what a blob is.
const BLOB: &str = "application/octet-stream";
/// Some 800 KiB each.
const PUBLISHED_MAX: usize = 32;
/// Some 200 bytes each.
const PLACES_MAX: usize = 50_000;

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
        let (locks, published) = self.put_together(factory, site, schematic, image, version).await?;
        self.remember(locks, &published, schematic, image, version);
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
        let search = self.searches.of(&(schematic.id(), image.clone()), versions, Instant::now());
        // Who comes second to the same image finds what the first has seen.
        let mut search = search.lock().await;
        if let Some(version) = search.seen(&digest).cloned() {
            // It may have to be pulled anew.
            drop(search);
            return self.holding(factory, site, schematic, &version, &place).await;
        }
        // A digest that nobody gave out must not make us pull every version that there is.
        let offline = factory.offline();
        while let Some(version) = search.next() {
            let turn = self.searches.turn().await;
            let passed = self.put_together(&offline, site, schematic, image, &version).await;
            drop(turn);
            match passed {
                Ok((locks, published)) => {
                    search.passed(published.documents.keys().copied());
                    if published.document(&digest).is_some() {
                        self.remember(locks, &published, schematic, image, &version);
                        return Ok(Some(published));
                    }
                }
                // A version that the schematic does not go with has none of it.
                Err(error) if error.is_clients() || error.is_not_pulled() => search.passed([]),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What `image` of `schematic` is in `version`, and the locks that it follows from.
    async fn put_together(
        &self,
        factory: &Factory,
        site: &Site,
        schematic: &Schematic,
        image: &InstallerName,
        version: &Version,
    ) -> Result<(Locks, Arc<Published>), Error> {
        let resolved = factory.resolve_installers(schematic, version, image).await?;
        if resolved.is_empty() {
            let text = format!("version {} has no boot files for any architecture", version.bare());
            return Err(Error::not_found(text).because("manifest-unknown"));
        }
        let locks: Locks = resolved.iter().map(|resolved| resolved.lock.digest()).collect();
        if let Some(published) = lock(&self.published).get(&locks) {
            return Ok((locks, Arc::clone(published)));
        }
        let installer = factory.installer_image(resolved).await?;
        let name = format!("{}/{image}/{}", site.authority(), schematic.id());
        Ok((locks, Arc::new(Published::of(&installer, site.signer.as_deref(), &name))))
    }

    /// Remembers what a client was given.
    fn remember(
        &self,
        locks: Locks,
        published: &Arc<Published>,
        schematic: &Schematic,
        image: &InstallerName,
        version: &Version,
    ) {
        let place = |digest: &Digest| (schematic.id(), image.clone(), *digest);
        let mut places = lock(&self.places);
        if !places.contains_key(&place(&published.index)) {
            if places.len() >= PLACES_MAX {
                places.clear();
            }
            places.extend(published.documents.keys().map(|digest| (place(digest), version.clone())));
        }
        drop(places);
        let mut all = lock(&self.published);
        if all.len() >= PUBLISHED_MAX && !all.contains_key(&locks) {
            all.clear();
        }
        all.insert(locks, Arc::clone(published));
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
        self.holding(factory, site, schematic, &version, place).await
    }

    /// What `version` is, if it still holds the digest of `place`.
    async fn holding(
        &self,
        factory: &Factory,
        site: &Site,
        schematic: &Schematic,
        version: &Version,
        place: &Place,
    ) -> Result<Option<Arc<Published>>, Error> {
        let (_, image, digest) = place;
        match self.published(factory, site, schematic, image, version).await {
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

#[cfg(test)]
mod tests {
    use super::super::support::{SCHEMATIC, VERSION, complete};
    use super::*;

    #[tokio::test]
    async fn searches_push_out_nothing_that_clients_were_given() {
        let made = complete();
        // More versions than are remembered.
        for name in ["siderolabs/imager", "siderolabs/installer-base"] {
            let image = made.store.resolve_tag(name, VERSION).unwrap().unwrap();
            for patch in 1..=PUBLISHED_MAX + 2 {
                made.store.tag(name, &format!("v13.1.{patch}"), &image).unwrap();
            }
        }
        let (factory, site, memory) = (&made.factory, Site::default(), Memory::default());
        let versions = factory.versions().await.unwrap();
        assert!(versions.len() > PUBLISHED_MAX);
        let image = InstallerName::parse("installer").unwrap();
        let [given, other] = [SCHEMATIC, "{}"].map(|text| Schematic::parse(text.as_bytes()).unwrap());
        let oldest = VERSION.parse().unwrap();
        let published = memory.published(factory, &site, &given, &image, &oldest).await.unwrap();
        let remembered = || {
            let all = lock(&memory.published);
            (all.values().any(|one| Arc::ptr_eq(one, &published)), all.len(), lock(&memory.places).len())
        };
        let before = remembered();
        assert_eq!((before.0, before.1), (true, 1));
        let find = async |digest| memory.find(factory, &site, &other, &image, &versions, digest).await;
        for text in ["nobody's", "nobody's either"] {
            assert!(find(Digest::of(text.as_bytes())).await.unwrap().is_none(), "{text}");
            assert_eq!(remembered(), before);
        }
        // What another process gave out is found, in the very last version, and remembered.
        let elsewhere = Memory::default().published(factory, &site, &other, &image, &oldest).await.unwrap();
        let found = find(elsewhere.index).await.unwrap().unwrap();
        assert_eq!(found.index, elsewhere.index);
        assert_eq!(remembered(), (true, 2, before.2 + found.documents.len()));
    }
}
