//! Stock cosign accepts our signatures of files and refuses their tampered twins; we accept its.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::fs;
use std::path::Path;

use cosign::{Policy, PublicKey, SigningKey, VerifyError, blob_bundle};
use extent::Digest;
use support::Cosign;

const FILE: &[u8] = b"a disk, or what is left of it";

/// What cosign says to a signature that is not by the key and of the bytes.
const REFUSED: &str = "could not verify message";

fn verify<'a>(key: &'a str, bundle: &'a str, file: &'a str) -> [&'a str; 7] {
    ["verify-blob", "--key", key, "--insecure-ignore-tlog=true", "--bundle", bundle, file]
}

#[test]
fn cosign_accepts_our_signature_of_a_file() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    cosign.write("file", FILE);
    cosign.write("bundle.json", blob_bundle(&key, &Digest::of(FILE)));
    cosign.ok(verify("ours.pub", "bundle.json", "file"));
    // It too knows files by their digest.
    cosign.ok(verify("ours.pub", "bundle.json", &Digest::of(FILE).to_string()));
}

#[test]
fn cosign_refuses_the_tampered_twins() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    cosign.key("stranger.pub");
    cosign.write("file", FILE);
    let bundle = blob_bundle(&key, &Digest::of(FILE));
    cosign.write("bundle.json", &bundle);

    cosign.refuses(verify("stranger.pub", "bundle.json", "file"), REFUSED);
    let mut flipped = FILE.to_vec();
    flipped[7] ^= 1;
    cosign.write("flipped", &flipped);
    cosign.refuses(verify("ours.pub", "bundle.json", "flipped"), REFUSED);
    cosign.write("others.json", blob_bundle(&key, &Digest::of(b"another file")));
    cosign.refuses(verify("ours.pub", "others.json", "file"), REFUSED);

    // Six bits in the middle of the signature.
    let mut value: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let signature = value["messageSignature"]["signature"].as_str().unwrap();
    let middle = signature.len() / 2;
    let other = if &signature[middle..=middle] == "A" { "B" } else { "A" };
    let twin = format!("{}{other}{}", &signature[..middle], &signature[middle + 1..]);
    value["messageSignature"]["signature"] = twin.into();
    cosign.write("twin.json", value.to_string());
    cosign.refuses(verify("ours.pub", "twin.json", "file"), REFUSED);
}

/// Signs `file` with cosign and the key in `key`, and returns the bundle.
fn sign(cosign: &Cosign, key: &Path, file: &str) -> Vec<u8> {
    cosign.ok([
        "sign-blob".as_ref(),
        "--yes".as_ref(),
        "--use-signing-config=false".as_ref(),
        "--tlog-upload=false".as_ref(),
        "--key".as_ref(),
        key.as_os_str(),
        "--bundle".as_ref(),
        "cosigns.json".as_ref(),
        file.as_ref(),
    ]);
    fs::read(cosign.path("cosigns.json")).unwrap()
}

#[test]
fn we_accept_cosigns_signature_by_its_own_key() {
    let Some(cosign) = Cosign::find() else { return };
    cosign.ok(["generate-key-pair"]);
    let public = fs::read_to_string(cosign.path("cosign.pub")).unwrap();
    let public = PublicKey::from_pem(&public).unwrap();
    // What it keeps for itself is encrypted, even without a password.
    let private = fs::read_to_string(cosign.path("cosign.key")).unwrap();
    SigningKey::from_pem(&private).unwrap_err();

    cosign.write("file", FILE);
    let bundle = sign(&cosign, &cosign.path("cosign.key"), "file");
    let value: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    assert_eq!(value["verificationMaterial"]["publicKey"]["hint"], public.hint());

    Policy::Key(public.clone()).verify_blob_bundle(&Digest::of(FILE), &bundle).unwrap();
    let error = Policy::Key(public).verify_blob_bundle(&Digest::of(b"another"), &bundle).unwrap_err();
    assert!(matches!(error, VerifyError::OtherDigest { .. }), "{error}");
    let stranger = Policy::Key(SigningKey::generate().unwrap().public_key());
    let error = stranger.verify_blob_bundle(&Digest::of(FILE), &bundle).unwrap_err();
    assert!(matches!(error, VerifyError::OtherKey { .. }), "{error}");
}

#[test]
fn we_accept_cosigns_signature_by_our_key() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    cosign.write("ours.pem", key.to_pem().as_bytes());
    cosign.ok(["import-key-pair", "--key", "ours.pem", "--output-key-prefix", "imported"]);
    cosign.write("file", FILE);
    let bundle = sign(&cosign, &cosign.path("imported.key"), "file");
    Policy::Key(key.public_key()).verify_blob_bundle(&Digest::of(FILE), &bundle).unwrap();
}
