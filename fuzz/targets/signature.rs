//! Signatures of images and files: what was not signed does not pass.
#![no_main]
use std::sync::LazyLock;

use cosign::{Policy, PublicKey, SigningKey, bundle_layer, signature_layers};
use extent::Digest;
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let key = include_str!("../../crates/cosign/tests/keys/public.pem");
    Policy::Key(PublicKey::from_pem(key).expect("a key"))
});
const PAYLOAD: &[u8] = include_bytes!("../../crates/cosign/tests/golden/signature-payload.json");

fuzz_target!(|bytes: &[u8]| {
    // The seeds are signatures of the first.
    let (signed, other) = (Digest::of(b"image"), Digest::of(b"another image"));
    for verify in [Policy::verify_image_bundle, Policy::verify_blob_bundle] {
        let _ = verify(&POLICY, &signed, bytes);
        assert!(verify(&POLICY, &other, bytes).is_err());
    }
    let payloads = [PAYLOAD, bytes];
    let _ = POLICY.verify_signature_image(&signed, bytes, &payloads);
    assert!(POLICY.verify_signature_image(&other, bytes, &payloads).is_err());
    let _ = (bundle_layer(bytes), signature_layers(bytes));
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = (SigningKey::from_pem(text).is_ok(), PublicKey::from_pem(text).is_ok());
    }
});
