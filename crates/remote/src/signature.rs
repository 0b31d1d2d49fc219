//! Signatures of an image in its registry, judged before anything of the image is read.
//!
//! Both shapes are looked for: Sigstore bundles among the image's referrers, and the image under the tag
//! `sha256-<hex>.sig`. One that is believed is enough; those that are believed can be kept, so that a mirror gives
//! them on.

use bytes::Bytes;
use cosign::{MAX_BUNDLE_LEN, MAX_PAYLOAD_LEN, Policy, bundle_layer, signature_layers, signature_tag};
use extent::Digest;
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use store::Store;

use crate::image::{Image, Source, sha256};
use crate::{Client, Error, Reference};

/// Referrers of one image that are looked at: a registry cannot make us fetch thousands.
const MAX_REFERRERS: usize = 64;
/// The longest configuration or layer of a signature that is kept, and the most of all of one: see
/// [`cosign::MAX_BUNDLE_LEN`].
const MAX_DOCUMENT_LEN: u64 = 4 * MAX_BUNDLE_LEN;
/// What the artifact types of bundles begin with; a version follows.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// Signatures that are believed.
#[derive(Debug, Default)]
pub(crate) struct Signatures {
    /// The manifest of the old shape.
    image: Option<Bytes>,
    /// Manifests of bundles, as the registry lists them.
    referrers: Vec<(Descriptor, Bytes)>,
}

/// A tag that is to be written.
pub(crate) type Tag = (String, Descriptor);

impl Signatures {
    /// The signatures of `image` that `policy` believes: at least one.
    ///
    /// # Errors
    /// `Unverified`. What a network has is among its reasons, unless nothing else was found: then it is the error.
    pub(crate) async fn verified(
        client: &Client,
        repository: &Reference,
        image: &Digest,
        policy: &Policy,
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut refusals = Vec::new();
        if let Err(error) = found.look_for_bundles(client, repository, image, policy, &mut refusals).await {
            refusals.push(error);
        }
        match signature_image(client, repository, image, policy, &mut refusals).await {
            Ok(manifest) => found.image = manifest,
            Err(error) => refusals.push(error),
        }
        if found.image.is_some() || !found.referrers.is_empty() {
            return Ok(found);
        }
        refusals.retain(|refusal| !matches!(refusal, Error::NotFound { .. }));
        // No verdict: a network that failed is no forger.
        match refusals.iter().position(Error::is_transient) {
            Some(i) if refusals.iter().all(Error::is_transient) => Err(refusals.swap_remove(i)),
            _ => Err(Error::Unverified { digest: *image, refusals }),
        }
    }

    async fn look_for_bundles(
        &mut self,
        client: &Client,
        repository: &Reference,
        image: &Digest,
        policy: &Policy,
        refusals: &mut Vec<Error>,
    ) -> Result<(), Error> {
        let listed = client.referrers(repository, image).await?;
        let digest = Digest::of(&listed);
        let what = "list of referrers";
        let index: ImageIndex =
            serde_json::from_slice(&listed).map_err(|source| Error::Malformed { what, digest, source })?;
        let is_bundle = |descriptor: &&Descriptor| {
            let artifact_type = descriptor.artifact_type().as_ref();
            artifact_type.is_none_or(|artifact_type| artifact_type.as_ref().starts_with(BUNDLE_TYPE))
        };
        for descriptor in index.manifests().iter().filter(is_bundle).take(MAX_REFERRERS) {
            match bundle(client, repository, image, policy, digest, descriptor).await {
                Ok(manifest) => self.referrers.push((descriptor.clone(), manifest)),
                Err(error) => refusals.push(error),
            }
        }
        Ok(())
    }

    /// Puts all documents of these signatures into `store`. The tags that name them are for the caller to write.
    pub(crate) async fn keep(
        &self,
        client: &Client,
        repository: &Reference,
        store: &Store,
        image: &Digest,
    ) -> Result<(Vec<Tag>, u64), Error> {
        let mut tags = Vec::new();
        let mut fetched = 0;
        if let Some(manifest) = &self.image {
            let (descriptor, len) = keep_one(client, repository, store, manifest).await?;
            fetched += len;
            tags.push((signature_tag(image), descriptor));
        }
        let mut listed = Vec::new();
        for (descriptor, manifest) in &self.referrers {
            fetched += keep_one(client, repository, store, manifest).await?.1;
            listed.push(descriptor.clone());
        }
        if !listed.is_empty() {
            let mut index = ImageIndex::default();
            index.set_schema_version(2);
            index.set_media_type(Some(MediaType::ImageIndex));
            index.set_manifests(listed);
            // By way of a value, whose maps are sorted: the same referrers make the same bytes.
            let text = serde_json::to_value(&index).map(|value| value.to_string());
            let malformed = |source| Error::Malformed { what: "list of referrers", digest: *image, source };
            let blob = store.put_bytes(text.map_err(malformed)?.as_bytes())?;
            tags.push((cosign::referrers_tag(image), blob.oci(MediaType::ImageIndex)));
        }
        Ok((tags, fetched))
    }
}

/// Puts a signature's manifest into the store, and before it what it lists.
async fn keep_one(
    client: &Client,
    repository: &Reference,
    store: &Store,
    manifest: &Bytes,
) -> Result<(Descriptor, u64), Error> {
    let digest = store.put_bytes(manifest)?.digest;
    let source = Source::Store(store);
    let image = Image::read(source, digest, &[], MAX_DOCUMENT_LEN).await?;
    let mut fetched = 0;
    for (&digest, &len) in &image.blobs {
        fetched += client.fetch(repository, store, store::Descriptor { digest, len }, &|_| ()).await?;
    }
    Ok((image.top, fetched))
}

/// The manifest of the referrer `descriptor`, whose bundle is believed.
async fn bundle(
    client: &Client,
    repository: &Reference,
    image: &Digest,
    policy: &Policy,
    list: Digest,
    descriptor: &Descriptor,
) -> Result<Bytes, Error> {
    let digest = sha256(list, descriptor)?;
    let at = digest.to_string();
    let manifest = client.manifest(&repository.with_digest(digest)).await?.bytes;
    if manifest.len() as u64 != descriptor.size() {
        return Err(Error::BadManifest { digest, wanted: "it has the length that its index says" });
    }
    let refused = |source| Error::Signature { at: at.clone(), source };
    let layer = bundle_layer(&manifest).map_err(refused)?;
    let bundle = client.small_blob(repository, &layer.digest, "bundle", MAX_BUNDLE_LEN).await?;
    policy.verify_image_bundle(image, &bundle).map_err(refused)?;
    Ok(manifest)
}

/// The manifest of the old shape if a signature in it is believed.
async fn signature_image(
    client: &Client,
    repository: &Reference,
    image: &Digest,
    policy: &Policy,
    refusals: &mut Vec<Error>,
) -> Result<Option<Bytes>, Error> {
    let tag = signature_tag(image);
    let manifest = client.manifest(&repository.with_tag(&tag)?).await?.bytes;
    let refused = |source| Error::Signature { at: tag.clone(), source };
    for layer in signature_layers(&manifest).map_err(refused)? {
        let payload = client.small_blob(repository, &layer.payload.digest, "payload", MAX_PAYLOAD_LEN).await;
        match payload.and_then(|payload| policy.verify_payload(image, &layer, &payload).map_err(refused)) {
            Ok(()) => return Ok(Some(manifest)),
            Err(error) => refusals.push(error),
        }
    }
    Ok(None)
}
