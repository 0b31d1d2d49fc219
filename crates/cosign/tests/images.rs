//! Stock cosign accepts our signatures of images in a registry, of both shapes, and refuses their tampered twins; we
//! accept its.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use cosign::{
    Policy, Referrer, SignatureImage, SigningKey, VerifyError, bundle_layer, image_bundle, signature_layers,
    signature_tag,
};
use extent::Digest;
use support::Cosign;
use support::registry::Registry;

/// What cosign says to an image without a signature of the shape.
const NOTHING: &str = "no signatures found";
/// To a signature image that is not by the key, or whose payload is not the signed one.
const NOT_SIGNED: &str = "no matching signatures";
/// To a signature image that is by the key and for another image.
const OTHER_CLAIM: &str = "no matching signatures: invalid or missing digest in claim";
/// To a bundle that is not by the key, or whose statement is not the signed one.
const NOT_ENVELOPED: &str = "could not verify envelope: accepted signatures do not match threshold";
/// To a bundle that is by the key and for another image.
const OTHER_SUBJECT: &str = "provided artifact digest does not match any digest in statement";

fn verify<'a>(key: &'a str, image: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["verify", "--insecure-ignore-tlog=true", "--allow-http-registry=true", "--key", key];
    args.extend(more);
    args.push(image);
    args
}

#[test]
fn cosign_accepts_our_signature_image() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    for registry in Registry::all() {
        let image = registry.push_image("old/installer", b"old");
        cosign.refuses(verify("ours.pub", &image.reference, &[]), NOTHING);

        let signature = SignatureImage::new(&key, &image.name, &image.subject.digest);
        registry.push_signature("old/installer", &image.subject.digest, &signature);
        // Without a bundle it looks for the old shape by itself.
        cosign.ok(verify("ours.pub", &image.reference, &[]));
        cosign.ok(verify("ours.pub", &image.reference, &["--new-bundle-format=false"]));
    }
}

#[test]
fn cosign_accepts_our_bundle() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    for registry in Registry::all() {
        let image = registry.push_image("new/installer", b"new");
        let bundle = image_bundle(&key, &image.subject.digest);
        let referrer = Referrer::new(&image.subject, bundle);
        registry.push_referrer("new/installer", &image.subject.digest, &referrer);
        cosign.ok(verify("ours.pub", &image.reference, &[]));
        cosign.ok(verify("ours.pub", &image.reference, &["--new-bundle-format=true"]));
        // It was not accepted for a signature of the old shape.
        cosign.refuses(verify("ours.pub", &image.reference, &["--new-bundle-format=false"]), NOTHING);
    }
}

#[test]
fn cosign_accepts_our_signatures_of_an_index_by_its_tag() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    for registry in Registry::all() {
        let index = registry.push_index("both/installer", "v1.13.0", &[b"amd64", b"arm64"]);
        let digest = index.subject.digest;
        cosign.refuses(verify("ours.pub", &index.reference, &[]), NOTHING);
        let signature = SignatureImage::new(&key, &index.name, &digest);
        registry.push_signature("both/installer", &digest, &signature);
        let referrer = Referrer::new(&index.subject, image_bundle(&key, &digest));
        registry.push_referrer("both/installer", &digest, &referrer);
        cosign.ok(verify("ours.pub", &index.reference, &["--new-bundle-format=true"]));
        cosign.ok(verify("ours.pub", &index.reference, &["--new-bundle-format=false"]));
    }
}

#[test]
fn cosign_refuses_the_tampered_twins_of_our_signature_image() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    cosign.key("stranger.pub");
    for registry in Registry::all() {
        let image = registry.push_image("twin/installer", b"twin");
        let digest = image.subject.digest;
        let signature = SignatureImage::new(&key, &image.name, &digest);
        registry.push_signature("twin/installer", &digest, &signature);
        cosign.refuses(verify("stranger.pub", &image.reference, &[]), NOT_SIGNED);

        let others = SignatureImage::new(&key, &image.name, &Digest::of(b"another image"));
        registry.push_signature("twin/installer", &digest, &others);
        cosign.refuses(verify("ours.pub", &image.reference, &[]), OTHER_CLAIM);

        // A payload with a flipped bit, listed as if it were the one that was signed.
        let mut flipped = signature.clone();
        let at = flipped.payload.len() - 2;
        flipped.payload[at] ^= 1;
        let listed = String::from_utf8(flipped.manifest.clone()).unwrap();
        let listed =
            listed.replace(&signature.payload_digest().to_string(), &flipped.payload_digest().to_string());
        flipped.manifest = listed.into_bytes();
        registry.push_signature("twin/installer", &digest, &flipped);
        cosign.refuses(verify("ours.pub", &image.reference, &[]), NOT_SIGNED);

        registry.push_signature("twin/installer", &digest, &signature);
        cosign.ok(verify("ours.pub", &image.reference, &[]));
    }
}

#[test]
fn cosign_refuses_the_tampered_twins_of_our_bundle() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    cosign.key("stranger.pub");
    for registry in Registry::all() {
        let image = registry.push_image("twins/installer", b"twins");
        let digest = image.subject.digest;
        let bundle = image_bundle(&key, &digest);
        let push = |repository: &str, bundle: Vec<u8>| {
            let image = registry.push_image(repository, b"twins");
            registry.push_referrer(repository, &digest, &Referrer::new(&image.subject, bundle));
            image.reference
        };
        let good = push("twins/good", bundle.clone());
        cosign.ok(verify("ours.pub", &good, &[]));
        cosign.refuses(verify("stranger.pub", &good, &[]), NOT_ENVELOPED);

        let others = push("twins/others", image_bundle(&key, &Digest::of(b"another image")));
        cosign.refuses(verify("ours.pub", &others, &[]), OTHER_SUBJECT);

        // Six bits of the statement, which is then about another image or is no statement at all.
        let mut value: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
        let payload = value["dsseEnvelope"]["payload"].as_str().unwrap();
        let other = if &payload[100..101] == "A" { "B" } else { "A" };
        value["dsseEnvelope"]["payload"] = format!("{}{other}{}", &payload[..100], &payload[101..]).into();
        let flipped = push("twins/flipped", value.to_string().into_bytes());
        cosign.refuses(verify("ours.pub", &flipped, &[]), NOT_ENVELOPED);
    }
}

#[test]
fn we_accept_cosigns_signatures() {
    let Some(cosign) = Cosign::find() else { return };
    let key = cosign.key("ours.pub");
    cosign.write("ours.pem", key.to_pem().as_bytes());
    cosign.ok(["import-key-pair", "--key", "ours.pem", "--output-key-prefix", "ours"]);
    let policy = Policy::Key(key.public_key());
    let stranger = Policy::Key(SigningKey::generate().unwrap().public_key());
    let sign = |image: &str, shape: &str| {
        let offline = ["--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry=true"];
        let mut args = vec!["sign", "--yes", "--key", "ours.key", shape];
        args.extend(offline);
        args.push(image);
        cosign.ok(args);
    };
    for registry in Registry::programs() {
        let repository = "cosigns/installer";
        let image = registry.push_image(repository, b"cosigns");
        let digest = image.subject.digest;

        sign(&image.reference, "--new-bundle-format=false");
        let manifest = registry.get(repository, &format!("manifests/{}", signature_tag(&digest)));
        let layer = signature_layers(&manifest).unwrap().remove(0);
        let payload = registry.get(repository, &format!("blobs/{}", layer.payload.digest));
        policy.verify_payload(&digest, &layer, &payload).unwrap();
        policy.verify_signature_image(&digest, &manifest, &[&payload]).unwrap();
        let error = stranger.verify_payload(&digest, &layer, &payload).unwrap_err();
        assert!(matches!(error, VerifyError::Signature), "{error}");
        // The same key makes the same payload: ours is theirs, byte for byte.
        let ours = SignatureImage::new(&key, &image.name, &digest);
        assert_eq!(String::from_utf8(ours.payload).unwrap(), String::from_utf8(payload).unwrap());

        sign(&image.reference, "--new-bundle-format=true");
        let referrer = registry.referrer(repository, &digest);
        let bundle = registry.get(repository, &format!("blobs/{}", bundle_layer(&referrer).unwrap().digest));
        policy.verify_image_bundle(&digest, &bundle).unwrap();
        let error = stranger.verify_image_bundle(&digest, &bundle).unwrap_err();
        assert!(matches!(error, VerifyError::OtherKey { .. }), "{error}");
        let error = policy.verify_image_bundle(&Digest::of(b"another"), &bundle).unwrap_err();
        assert!(matches!(error, VerifyError::OtherDigest { .. }), "{error}");
        // The manifest around it is ours too, but for the date.
        let ours = Referrer::new(&image.subject, bundle);
        let [mut ours, mut theirs] = [&ours.manifest, &referrer]
            .map(|json| serde_json::from_slice::<serde_json::Value>(json).unwrap());
        for manifest in [&mut ours, &mut theirs] {
            manifest["annotations"]["org.opencontainers.image.created"].take();
            manifest["config"].as_object_mut().unwrap().remove("artifactType");
        }
        assert_eq!(ours, theirs);
    }
}
