//! Signatures of identities: certificates, promises, timestamps, bundles and trusted roots. What was not signed does not
//! pass.
#![no_main]
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cosign::{Keyless, Pattern, Policy, TrustedRoot};
use extent::Digest;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let root = include_bytes!("../../crates/cosign/tests/public/trusted_root.json");
    let trusted_root = TrustedRoot::from_json(root).expect("a trusted root");
    let anything = Pattern::expression(".").expect("an expression");
    Policy::Keyless(Keyless { trusted_root, identity: anything.clone(), issuer: anything })
});
const PAYLOAD: &[u8] = include_bytes!("../../crates/cosign/tests/public/signature-payload.json");
static MANIFEST: LazyLock<Value> = LazyLock::new(|| {
    let manifest = include_bytes!("../../crates/cosign/tests/public/signature-manifest.json");
    serde_json::from_slice(manifest).expect("a manifest")
});
static BUNDLE: LazyLock<Value> = LazyLock::new(|| {
    let bundle = include_bytes!("../../crates/cosign/tests/public/blob.sigstore.json");
    serde_json::from_slice(bundle).expect("a bundle")
});

/// The members of a bundle that are parsed further.
const MEMBERS: [&str; 4] = [
    "/verificationMaterial/certificate/rawBytes",
    "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
    "/verificationMaterial/tlogEntries/0/canonicalizedBody",
    "/verificationMaterial/tlogEntries/0/inclusionPromise/signedEntryTimestamp",
];

fuzz_target!(|bytes: &[u8]| {
    // No seed is a signature of this.
    let other = Digest::of(b"another image");
    let refused = |document: &[u8]| {
        assert!(POLICY.verify_image_bundle(&other, document).is_err());
        assert!(POLICY.verify_blob_bundle(&other, document).is_err());
        assert!(POLICY.verify_signature_image(&other, document, &[PAYLOAD, bytes]).is_err());
    };
    refused(bytes);
    let blob = Digest::of(include_bytes!("../../crates/cosign/tests/public/blob.txt"));
    let _ = POLICY.verify_blob_bundle(&blob, bytes);
    let _ = TrustedRoot::from_json(bytes);

    let encoded = STANDARD.encode(bytes);
    for member in MEMBERS {
        let mut bundle = BUNDLE.clone();
        if let Some(member) = bundle.pointer_mut(member) {
            *member = encoded.clone().into();
        }
        let _ = POLICY.verify_blob_bundle(&blob, bundle.to_string().as_bytes());
    }
    let mut manifest = MANIFEST.clone();
    let annotations = &mut manifest["layers"][0]["annotations"];
    annotations["dev.sigstore.cosign/certificate"] =
        format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n").into();
    refused(manifest.to_string().as_bytes());
    if let Ok(text) = str::from_utf8(bytes) {
        let mut manifest = MANIFEST.clone();
        manifest["layers"][0]["annotations"]["dev.sigstore.cosign/bundle"] = text.into();
        refused(manifest.to_string().as_bytes());
        let mut bundle = BUNDLE.clone();
        let envelope = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";
        if let Some(envelope) = bundle.pointer_mut(envelope) {
            *envelope = text.into();
        }
        let _ = POLICY.verify_blob_bundle(&blob, bundle.to_string().as_bytes());
        if let Ok(pattern) = Pattern::expression(text) {
            let _ = pattern.matches("someone@example.org");
        }
    }
});
