//! The same key and the same digest make the same bytes, on every machine and in every version.
//!
//! A changed file changes the digest of every signed image; set `BLESS` to write them anew.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

use std::path::Path;
use std::{env, fs};

use cosign::{Policy, Referrer, SignatureImage, SigningKey, Subject, blob_bundle, image_bundle};
use extent::Digest;

fn compare(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(str::from_utf8(bytes).unwrap(), fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn signatures_are_the_same_bytes_as_ever() {
    let key = SigningKey::from_pem(include_str!("keys/pkcs8.pem")).unwrap();
    let policy = Policy::Key(key.public_key());
    // What `ci/fuzz` begins with is about this digest too.
    let image = Digest::of(b"image");

    let signature = SignatureImage::new(&key, "factory.example/installer", &image);
    policy.verify_signature_image(&image, &signature.manifest, &[&signature.payload]).unwrap();
    compare("signature-manifest.json", &signature.manifest);
    compare("signature-config.json", &signature.config);
    compare("signature-payload.json", &signature.payload);

    let media_type = "application/vnd.oci.image.index.v1+json".to_owned();
    let referrer = Referrer::new(&Subject { media_type, digest: image, len: 5 }, image_bundle(&key, &image));
    policy.verify_image_bundle(&image, &referrer.bundle).unwrap();
    compare("referrer-manifest.json", &referrer.manifest);
    compare("image-bundle.json", &referrer.bundle);

    let bundle = blob_bundle(&key, &image);
    policy.verify_blob_bundle(&image, &bundle).unwrap();
    compare("blob-bundle.json", &bundle);
}
