//! Signs the source images of a store, as whoever publishes them does.

use std::collections::BTreeSet;

use cosign::{ImageSignature, SigningKey, Subject, referrers_tag, signature_tag};
use extent::Digest;
use imager::Factory;
use oci_spec::image::MediaType;
use store::Store;

/// Signs every image of `version` that has a tag, and the extensions of its catalogue, in both shapes.
pub fn everything(store: &Store, key: &SigningKey, version: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let offers =
        runtime.block_on(Factory::open(store.clone()).extensions(&version.parse().unwrap())).unwrap();
    let mut images: BTreeSet<(String, Digest)> =
        offers.into_iter().map(|offer| (offer.name, offer.digest)).collect();
    for (repository, _) in imager::SOURCE_IMAGES {
        if let Some(descriptor) = store.resolve_tag(repository, version).unwrap() {
            images.insert((repository.to_owned(), descriptor.digest().to_string().parse().unwrap()));
        }
    }
    for (repository, image) in images {
        let bytes = store.bytes(&image, 4 << 20).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let media_type = value["mediaType"].as_str().unwrap().to_owned();
        let subject = Subject { media_type, digest: image, len: bytes.len() as u64 };
        let signature = ImageSignature::new(key, &format!("r.example/{repository}"), &subject);
        for document in signature.documents() {
            store.put_bytes(document.bytes).unwrap();
        }
        for (tag, bytes, media_type) in [
            (signature_tag(&image), &signature.image.manifest, MediaType::ImageManifest),
            (referrers_tag(&image), &signature.referrers, MediaType::ImageIndex),
        ] {
            let descriptor = store.put_bytes(bytes).unwrap().oci(media_type);
            store.tag(&repository, &tag, &descriptor).unwrap();
        }
    }
}
