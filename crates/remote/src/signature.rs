//! Signatures of an image, judged before anything of the image is read.
//!
//! Both shapes are looked for: Sigstore bundles among the image's referrers, and the image under the tag
//! `sha256-<hex>.sig`. One that is believed is enough; those that are believed can be kept, so that a mirror gives
//! them on.

use std::collections::BTreeMap;

use bytes::Bytes;
use cosign::{
    ImageSignature, MAX_BUNDLE_LEN, MAX_PAYLOAD_LEN, Policy, SigningKey, Subject, bundle_layer,
    referrers_tag, signature_layers, signature_tag,
};
use extent::{Digest, ExtentMap};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use store::Store;

use crate::image::{Document, Image, sha256};
use crate::source::Source;
use crate::{Described, Error};

/// Referrers of one image that are looked at: a registry cannot make us fetch thousands.
const MAX_REFERRERS: usize = 64;
/// The longest configuration or layer of a signature that is kept, and the most of all of one: see
/// [`cosign::MAX_BUNDLE_LEN`].
const MAX_DOCUMENT_LEN: u64 = 4 * MAX_BUNDLE_LEN;
/// What the artifact types of bundles begin with; a version follows.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// The signatures of one image, described: what is pushed with it.
#[derive(Debug, Clone, Default)]
pub struct Signatures {
    /// The image of the old shape.
    pub(crate) image: Option<Described>,
    /// Bundles, and how they are listed.
    pub(crate) referrers: Vec<(Descriptor, Described)>,
}

/// Signatures that were found, and are believed if that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The manifest of the old shape.
    image: Option<Bytes>,
    /// Manifests of bundles, as they are listed.
    referrers: Vec<(Descriptor, Bytes)>,
}

/// A tag that is to be written.
pub(crate) type Tag = (String, Descriptor);

impl Signatures {
    /// `key`'s signature of the manifest or index of `media_type` in both shapes; it claims to be in the repository
    /// `docker_reference`.
    pub fn by(key: &SigningKey, docker_reference: &str, media_type: &MediaType, manifest: &[u8]) -> Self {
        let (digest, len) = (Digest::of(manifest), manifest.len() as u64);
        let subject = Subject { media_type: media_type.to_string(), digest, len };
        let ImageSignature { image, referrer, referrers } =
            ImageSignature::new(key, docker_reference, &subject);
        let listed: ImageIndex = serde_json::from_slice(&referrers).expect("cosign writes an index");
        let described = |manifest: Vec<u8>, blobs: [Vec<u8>; 2]| {
            let blobs = blobs.map(|bytes| (Digest::of(&bytes), ExtentMap::inline(bytes)));
            Described::new((MediaType::ImageManifest, manifest.into()), [], BTreeMap::from(blobs))
        };
        let referrer = described(referrer.manifest, [referrer.config, referrer.bundle]);
        Self {
            image: Some(described(image.manifest, [image.config, image.payload])),
            referrers: listed.manifests().iter().map(|listed| (listed.clone(), referrer.clone())).collect(),
        }
    }

    /// The signatures of `image` that are in `repository` of `store`: those that `policy` believes, at least one; or all
    /// that there are.
    ///
    /// # Errors
    /// `Unverified`; `Store`.
    pub async fn in_store(
        store: &Store,
        repository: &str,
        image: &Digest,
        policy: Option<&Policy>,
    ) -> Result<Self, Error> {
        let found = Found::look(Source::Store(store, repository), image, policy).await?;
        let mut signatures = Self::default();
        if let Some(manifest) = found.image {
            signatures.image = Some(Described::of_digest(store, Digest::of(&manifest)).await?);
        }
        for (listed, manifest) in found.referrers {
            signatures.referrers.push((listed, Described::of_digest(store, Digest::of(&manifest)).await?));
        }
        Ok(signatures)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.image.is_none() && self.referrers.is_empty()
    }

    /// What lies under which tag, where signatures of `image` have only tags.
    pub fn tagged(&self, image: &Digest) -> Vec<(String, Described)> {
        let mut tagged = Vec::new();
        if let Some(described) = &self.image {
            tagged.push((signature_tag(image), described.clone()));
        }
        if !self.referrers.is_empty() {
            let bytes = list(self.referrers.iter().map(|(listed, _)| listed.clone()).collect());
            let index = Document { digest: Digest::of(&bytes), media_type: MediaType::ImageIndex, bytes };
            let (mut documents, mut blobs) = (vec![index], BTreeMap::new());
            for (_, referrer) in &self.referrers {
                documents.extend(referrer.documents.iter().cloned());
                blobs.extend(referrer.blobs.iter().map(|(digest, map)| (*digest, map.clone())));
            }
            tagged.push((referrers_tag(image), Described { documents, blobs }));
        }
        tagged
    }
}

impl Found {
    /// The signatures of `image`: those that `policy` believes, at least one; or all that there are.
    ///
    /// # Errors
    /// `Unverified`. What a network has is among its reasons, unless nothing else was found: then it is the error.
    /// Without a policy, what a network has.
    pub(crate) async fn look(
        source: Source<'_>,
        image: &Digest,
        policy: Option<&Policy>,
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut refusals = Vec::new();
        if let Err(error) = found.look_for_bundles(source, image, policy, &mut refusals).await {
            refusals.push(error);
        }
        match signature_image(source, image, policy, &mut refusals).await {
            Ok(manifest) => found.image = manifest,
            Err(error) => refusals.push(error),
        }
        refusals.retain(|refusal| !matches!(refusal, Error::NotFound { .. }));
        let network = refusals.iter().position(Error::is_transient);
        match (policy, network) {
            (Some(_), _) if found.image.is_some() || !found.referrers.is_empty() => Ok(found),
            // No verdict: a network that failed is no forger.
            (Some(_), Some(i)) if refusals.iter().all(Error::is_transient) => Err(refusals.swap_remove(i)),
            (Some(_), _) => Err(Error::Unverified { digest: *image, refusals }),
            // What is there must not be lost on the way; what is no signature is not missed.
            (None, _) => match refusals.into_iter().find(|one| !matches!(one, Error::Signature { .. })) {
                Some(error) => Err(error),
                None => Ok(found),
            },
        }
    }

    async fn look_for_bundles(
        &mut self,
        source: Source<'_>,
        image: &Digest,
        policy: Option<&Policy>,
        refusals: &mut Vec<Error>,
    ) -> Result<(), Error> {
        let listed = source.referrers(image).await?;
        let digest = Digest::of(&listed);
        let what = "list of referrers";
        let index: ImageIndex =
            serde_json::from_slice(&listed).map_err(|source| Error::Malformed { what, digest, source })?;
        let is_bundle = |descriptor: &&Descriptor| {
            let artifact_type = descriptor.artifact_type().as_ref();
            artifact_type.is_none_or(|artifact_type| artifact_type.as_ref().starts_with(BUNDLE_TYPE))
        };
        for descriptor in index.manifests().iter().filter(is_bundle).take(MAX_REFERRERS) {
            match bundle(source, image, policy, digest, descriptor).await {
                Ok(manifest) => self.referrers.push((descriptor.clone(), manifest)),
                Err(error) => refusals.push(error),
            }
        }
        Ok(())
    }

    /// Puts all documents of these signatures into `store`. The tags that name them are for the caller to write.
    pub(crate) async fn keep(
        &self,
        source: Source<'_>,
        store: &Store,
        image: &Digest,
    ) -> Result<(Vec<Tag>, u64), Error> {
        let mut tags = Vec::new();
        let mut fetched = 0;
        if let Some(manifest) = &self.image {
            let (descriptor, len) = keep_one(source, store, manifest).await?;
            fetched += len;
            tags.push((signature_tag(image), descriptor));
        }
        let mut listed = Vec::new();
        for (descriptor, manifest) in &self.referrers {
            fetched += keep_one(source, store, manifest).await?.1;
            listed.push(descriptor.clone());
        }
        if !listed.is_empty() {
            let blob = store.put_bytes(&list(listed))?;
            tags.push((referrers_tag(image), blob.oci(MediaType::ImageIndex)));
        }
        Ok((tags, fetched))
    }
}

/// The index that lists referrers, as it lies under the tag that stands for the list.
pub(crate) fn list(listed: Vec<Descriptor>) -> Bytes {
    let mut index = ImageIndex::default();
    index.set_schema_version(2);
    index.set_media_type(Some(MediaType::ImageIndex));
    index.set_manifests(listed);
    // By way of a value, whose maps are sorted: the same referrers make the same bytes.
    let value = serde_json::to_value(&index).expect("an index has text for keys");
    value.to_string().into()
}

/// Puts a signature's manifest into the store, and before it what it lists.
async fn keep_one(source: Source<'_>, store: &Store, manifest: &Bytes) -> Result<(Descriptor, u64), Error> {
    let digest = store.put_bytes(manifest)?.digest;
    let image = Image::read(Source::store(store), digest, &[], MAX_DOCUMENT_LEN).await?;
    let mut fetched = 0;
    for (&digest, &len) in &image.blobs {
        fetched += source.fetch(store, store::Descriptor { digest, len }, &|_| ()).await?;
    }
    Ok((image.top, fetched))
}

/// The manifest of the referrer `descriptor`, whose bundle is believed.
async fn bundle(
    source: Source<'_>,
    image: &Digest,
    policy: Option<&Policy>,
    list: Digest,
    descriptor: &Descriptor,
) -> Result<Bytes, Error> {
    let digest = sha256(list, descriptor)?;
    let at = digest.to_string();
    let manifest = source.manifest(digest).await?.0;
    if manifest.len() as u64 != descriptor.size() {
        return Err(Error::BadManifest { digest, wanted: "it has the length that its index says" });
    }
    let refused = |source| Error::Signature { at: at.clone(), source };
    let layer = bundle_layer(&manifest).map_err(refused)?;
    if let Some(policy) = policy {
        let bundle = source.small_blob(&layer.digest, "bundle", MAX_BUNDLE_LEN).await?;
        policy.verify_image_bundle(image, &bundle).map_err(refused)?;
    }
    Ok(manifest)
}

/// The manifest of the old shape if a signature in it is believed.
async fn signature_image(
    source: Source<'_>,
    image: &Digest,
    policy: Option<&Policy>,
    refusals: &mut Vec<Error>,
) -> Result<Option<Bytes>, Error> {
    let tag = signature_tag(image);
    let manifest = source.tagged(&tag).await?;
    let refused = |source| Error::Signature { at: tag.clone(), source };
    let layers = signature_layers(&manifest).map_err(refused)?;
    let Some(policy) = policy else { return Ok(Some(manifest)) };
    for layer in layers {
        let payload = source.small_blob(&layer.payload.digest, "payload", MAX_PAYLOAD_LEN).await;
        match payload.and_then(|payload| policy.verify_payload(image, &layer, &payload).map_err(refused)) {
            Ok(()) => return Ok(Some(manifest)),
            Err(error) => refusals.push(error),
        }
    }
    Ok(None)
}
