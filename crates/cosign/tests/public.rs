//! Signatures that Sigstore's public instance made, of both shapes. `public/README.md` says where they are from.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cosign::{Keyless, Part, Pattern, Policy, TrustedRoot, VerifyError};
use extent::Digest;
use serde_json::{Value, json};

const ROOT: &[u8] = include_bytes!("public/trusted_root.json");
const BUNDLE: &[u8] = include_bytes!("public/blob.sigstore.json");
const BLOB: &[u8] = include_bytes!("public/blob.txt");

/// A Google service account's signature of an image, as in the old releases of the reference's images.
const MANIFEST: &[u8] = include_bytes!("public/signature-manifest.json");
const PAYLOAD: &[u8] = include_bytes!("public/signature-payload.json");
const IMAGE: &str = "83ab2ba6689713f2d68104cd208feadfebdd6bc881c455dcb55d2b45ac3a0753";
const GOOGLE: &str = "https://accounts.google.com";

fn policy(identity: &str, issuer: &str) -> Policy {
    Policy::Keyless(Keyless {
        trusted_root: TrustedRoot::from_json(ROOT).unwrap(),
        identity: Pattern::expression(identity).unwrap(),
        issuer: Pattern::exact(issuer).unwrap(),
    })
}

#[test]
fn an_image_that_a_service_account_signed_in_2022_verifies() {
    let image = Digest::from_hex(IMAGE).unwrap();
    let account = r"^cosign@cosign-test-365209\.iam\.gserviceaccount\.com$";
    let verify = |policy: Policy| policy.verify_signature_image(&image, MANIFEST, &[PAYLOAD]);
    verify(policy(account, GOOGLE)).unwrap();

    let error = verify(policy(r"@siderolabs\.com$", GOOGLE)).unwrap_err();
    assert!(matches!(error, VerifyError::OtherIdentity { .. }), "{error}");
    let error = verify(policy(account, "https://token.actions.githubusercontent.com")).unwrap_err();
    assert!(matches!(&error, VerifyError::OtherIssuer { found, .. } if found == GOOGLE), "{error}");
    let policy = policy(account, GOOGLE);
    let error = policy.verify_signature_image(&Digest::of(b"another"), MANIFEST, &[PAYLOAD]).unwrap_err();
    assert!(matches!(error, VerifyError::OtherDigest { .. }), "{error}");
    let moved = str::from_utf8(MANIFEST).unwrap().replace("1665481948", "1665481949");
    let error = policy.verify_signature_image(&image, moved.as_bytes(), &[PAYLOAD]).unwrap_err();
    let promise = matches!(error, VerifyError::Evidence { part: Part::InclusionPromise, .. });
    assert!(promise, "{error}");
}

#[test]
fn a_file_that_cosign_3_signed_verifies() {
    type Edit = fn(&mut Value);
    let bundle: Value = serde_json::from_slice(BUNDLE).unwrap();
    let blob = Digest::of(BLOB);
    let policy = policy(r"@gmail\.com$", "https://github.com/login/oauth");
    policy.verify_blob_bundle(&blob, BUNDLE).unwrap();
    policy.verify_blob_bundle(&Digest::of(b"another"), BUNDLE).unwrap_err();

    let twins: [(Part, Edit); 4] = [
        (Part::InclusionPromise, |entry| entry["integratedTime"] = json!("1764787004")),
        (Part::InclusionPromise, |entry| entry["logIndex"] = json!("1")),
        (Part::LogKey, |entry| entry["logId"]["keyId"] = json!(STANDARD.encode([0; 32]))),
        (Part::InclusionProof, |entry| entry["inclusionProof"]["hashes"] = json!([])),
    ];
    for (wanted, edit) in twins {
        let mut twin = bundle.clone();
        edit(&mut twin["verificationMaterial"]["tlogEntries"][0]);
        let error = policy.verify_blob_bundle(&blob, twin.to_string().as_bytes()).unwrap_err();
        let told = matches!(&error, VerifyError::Evidence { part, .. } if *part == wanted);
        assert!(told, "{wanted:?}: {error}");
    }
    let mut twin = bundle.clone();
    let pointer = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    let token = twin.pointer_mut(pointer).unwrap();
    let mut der = STANDARD.decode(token.as_str().unwrap()).unwrap();
    *der.last_mut().unwrap() ^= 1;
    *token = json!(STANDARD.encode(der));
    let error = policy.verify_blob_bundle(&blob, twin.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, VerifyError::Evidence { part: Part::Timestamp, .. }), "{error}");
}
