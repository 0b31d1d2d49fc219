//! Nothing passes but what was signed: every signature has its tampered twins.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

use std::sync::LazyLock;

use cosign::{
    MAX_BUNDLE_LEN, Part, Policy, Referrer, SIGNATURE_ANNOTATION, SignatureImage, SigningKey, Subject,
    VerifyError, blob_bundle, bundle_layer, image_bundle, signature_layers,
};
use extent::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_pem(include_str!("keys/pkcs8.pem")).unwrap());
static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::Key(KEY.public_key()));
static IMAGE: LazyLock<Digest> = LazyLock::new(|| Digest::of(b"image"));
const REPOSITORY: &str = "factory.example/installer";

fn stranger() -> Policy {
    Policy::Key(SigningKey::generate().unwrap().public_key())
}

fn edited(json: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(json).unwrap();
    edit(&mut value);
    serde_json::to_vec(&value).unwrap()
}

/// What of a bundle a signature depends on. The rest may be changed by anybody and is not believed.
fn signed(bundle: &[u8]) -> Value {
    let mut bundle: Value = serde_json::from_slice(bundle).unwrap();
    bundle.as_object_mut().unwrap().remove("verificationMaterial");
    bundle
}

#[test]
fn our_own_signatures_verify() {
    let signature = SignatureImage::new(&KEY, REPOSITORY, &IMAGE);
    POLICY.verify_signature_image(&IMAGE, &signature.manifest, &[&signature.payload]).unwrap();
    POLICY.verify_image_bundle(&IMAGE, &image_bundle(&KEY, &IMAGE)).unwrap();
    POLICY.verify_blob_bundle(&IMAGE, &blob_bundle(&KEY, &IMAGE)).unwrap();

    let layer = signature_layers(&signature.manifest).unwrap().remove(0);
    assert_eq!(layer.payload.digest, signature.payload_digest());
    let subject = Subject { media_type: "x/y".to_owned(), digest: *IMAGE, len: 5 };
    let referrer = Referrer::new(&subject, image_bundle(&KEY, &IMAGE));
    assert_eq!(bundle_layer(&referrer.manifest).unwrap().digest, referrer.bundle_digest());
}

#[test]
fn another_key_is_refused() {
    let signature = SignatureImage::new(&KEY, REPOSITORY, &IMAGE);
    let payloads: &[&[u8]] = &[&signature.payload];
    let error = stranger().verify_signature_image(&IMAGE, &signature.manifest, payloads).unwrap_err();
    assert!(matches!(error, VerifyError::Signature), "{error}");
    let error = stranger().verify_image_bundle(&IMAGE, &image_bundle(&KEY, &IMAGE)).unwrap_err();
    assert!(matches!(&error, VerifyError::OtherKey { found, .. } if *found == KEY.hint()), "{error}");
    let error = stranger().verify_blob_bundle(&IMAGE, &blob_bundle(&KEY, &IMAGE)).unwrap_err();
    assert!(matches!(&error, VerifyError::OtherKey { found, .. } if *found == KEY.hint()), "{error}");
}

#[test]
fn a_hint_proves_nothing() {
    let stranger = SigningKey::generate().unwrap();
    let bundle = edited(&image_bundle(&stranger, &IMAGE), |bundle| {
        bundle["verificationMaterial"]["publicKey"]["hint"] = json!(KEY.hint());
    });
    let error = POLICY.verify_image_bundle(&IMAGE, &bundle).unwrap_err();
    assert!(matches!(error, VerifyError::Signature), "{error}");
    // Nor does its absence matter: other tools write other hints.
    let bundle = edited(&image_bundle(&KEY, &IMAGE), |b| b["verificationMaterial"]["publicKey"] = json!({}));
    POLICY.verify_image_bundle(&IMAGE, &bundle).unwrap();
}

#[test]
fn another_images_signature_is_refused() {
    let other = Digest::of(b"another image");
    let signature = SignatureImage::new(&KEY, REPOSITORY, &other);
    let results = [
        POLICY.verify_signature_image(&IMAGE, &signature.manifest, &[&signature.payload]),
        POLICY.verify_image_bundle(&IMAGE, &image_bundle(&KEY, &other)),
        POLICY.verify_blob_bundle(&IMAGE, &blob_bundle(&KEY, &other)),
    ];
    for error in results.map(Result::unwrap_err) {
        let named = matches!(&error, VerifyError::OtherDigest { found, .. } if found.contains(&other.hex()));
        assert!(named, "{error}");
    }
    // The digest beside a file's signature is changed to fit.
    let fitted = edited(&blob_bundle(&KEY, &other), |bundle| {
        let own: Value = serde_json::from_slice(&blob_bundle(&KEY, &IMAGE)).unwrap();
        bundle["messageSignature"]["messageDigest"] = own["messageSignature"]["messageDigest"].clone();
    });
    let error = POLICY.verify_blob_bundle(&IMAGE, &fitted).unwrap_err();
    assert!(matches!(error, VerifyError::Signature), "{error}");
}

#[test]
fn a_files_signature_is_not_an_images() {
    let error = POLICY.verify_image_bundle(&IMAGE, &blob_bundle(&KEY, &IMAGE)).unwrap_err();
    assert!(matches!(error, VerifyError::Content { wanted: "dsseEnvelope" }), "{error}");
    let error = POLICY.verify_blob_bundle(&IMAGE, &image_bundle(&KEY, &IMAGE)).unwrap_err();
    assert!(matches!(error, VerifyError::Content { wanted: "messageSignature" }), "{error}");
}

#[test]
fn a_signature_names_what_is_wrong_with_it() {
    type Edit = fn(&mut Value);
    type Expected = fn(&VerifyError) -> bool;
    let cases: [(&str, Edit, Expected); 8] = [
        (
            "media type",
            |b| b["mediaType"] = json!("text/plain"),
            |e| matches!(e, VerifyError::MediaType { part: Part::Bundle, .. }),
        ),
        (
            "no signatures",
            |b| b["dsseEnvelope"]["signatures"] = json!([]),
            |e| matches!(e, VerifyError::NoSignature { part: Part::Bundle }),
        ),
        (
            "empty signature",
            |b| b["dsseEnvelope"]["signatures"] = json!([{ "sig": "" }]),
            |e| matches!(e, VerifyError::NoSignature { part: Part::Bundle }),
        ),
        (
            "two signatures",
            |b| {
                let one = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"] = json!([one, one]);
            },
            |e| matches!(e, VerifyError::SignatureCount { count: 2 }),
        ),
        (
            "payload type",
            |b| b["dsseEnvelope"]["payloadType"] = json!("text/plain"),
            |e| matches!(e, VerifyError::PayloadType { part: Part::Bundle, .. }),
        ),
        (
            "base64",
            |b| b["dsseEnvelope"]["payload"] = json!("*"),
            |e| matches!(e, VerifyError::NotBase64 { part: Part::Statement }),
        ),
        (
            "certificate",
            |b| b["verificationMaterial"]["certificate"] = json!({ "rawBytes": "" }),
            |e| matches!(e, VerifyError::Certificate),
        ),
        (
            "shape",
            |b| b["dsseEnvelope"] = json!([]),
            |e| matches!(e, VerifyError::Malformed { part: Part::Bundle, .. }),
        ),
    ];
    for (name, edit, expected) in cases {
        let bundle = edited(&image_bundle(&KEY, &IMAGE), edit);
        let error = POLICY.verify_image_bundle(&IMAGE, &bundle).unwrap_err();
        assert!(expected(&error), "{name}: {error}");
    }

    let long = vec![b' '; usize::try_from(MAX_BUNDLE_LEN).unwrap() + 1];
    let error = POLICY.verify_image_bundle(&IMAGE, &long).unwrap_err();
    assert!(matches!(error, VerifyError::TooLong { part: Part::Bundle, .. }), "{error}");
}

#[test]
fn a_signature_image_names_what_is_wrong_with_it() {
    let signature = SignatureImage::new(&KEY, REPOSITORY, &IMAGE);
    let refused = |edit: fn(&mut Value)| {
        let manifest = edited(&signature.manifest, edit);
        POLICY.verify_signature_image(&IMAGE, &manifest, &[&signature.payload]).unwrap_err()
    };
    let error = refused(|m| m["layers"] = json!([]));
    assert!(matches!(error, VerifyError::NoSignature { part: Part::Manifest }), "{error}");
    let error = refused(|m| m["layers"][0]["annotations"] = json!({}));
    assert!(matches!(error, VerifyError::NoSignature { part: Part::Manifest }), "{error}");
    let error = refused(|m| m["layers"][0]["mediaType"] = json!("text/plain"));
    assert!(matches!(error, VerifyError::MediaType { part: Part::Payload, .. }), "{error}");
    let error = refused(|m| m["mediaType"] = json!("text/plain"));
    assert!(matches!(error, VerifyError::MediaType { part: Part::Manifest, .. }), "{error}");
    let error = refused(|m| m["layers"][0]["annotations"][SIGNATURE_ANNOTATION] = json!("*"));
    assert!(matches!(error, VerifyError::NotBase64 { part: Part::Signature }), "{error}");
    let error = refused(|m| {
        // Bytes that are no signature, beside somebody's certificate.
        let annotations = &mut m["layers"][0]["annotations"];
        annotations[SIGNATURE_ANNOTATION] = json!("AAAA");
        annotations["dev.sigstore.cosign/certificate"] = json!("-----BEGIN CERTIFICATE-----");
    });
    assert!(matches!(error, VerifyError::Certificate), "{error}");
    let error = refused(|m| m["layers"][0]["size"] = json!(1_u64 << 40));
    assert!(matches!(error, VerifyError::TooLong { part: Part::Payload, .. }), "{error}");

    let error = POLICY.verify_signature_image(&IMAGE, &signature.manifest, &[]).unwrap_err();
    assert!(matches!(error, VerifyError::NoSignature { part: Part::Payload }), "{error}");
    let error = POLICY.verify_signature_image(&IMAGE, &signature.manifest, &[b"{}"]).unwrap_err();
    assert!(matches!(error, VerifyError::OtherPayload { .. }), "{error}");
}

#[test]
fn one_good_signature_among_others_is_enough() {
    let good = SignatureImage::new(&KEY, REPOSITORY, &IMAGE);
    let bad = SignatureImage::new(&SigningKey::generate().unwrap(), REPOSITORY, &IMAGE);
    let elsewhere = SignatureImage::new(&KEY, REPOSITORY, &Digest::of(b"another image"));
    let layer = |image: &SignatureImage| {
        serde_json::from_slice::<Value>(&image.manifest).unwrap()["layers"][0].clone()
    };
    let manifest = edited(&good.manifest, |manifest| {
        manifest["layers"] = json!([layer(&bad), layer(&good), layer(&elsewhere)]);
    });
    let payloads: &[&[u8]] = &[&elsewhere.payload, &bad.payload];
    // The payloads of `good` and `bad` are the same bytes; their signatures are not.
    POLICY.verify_signature_image(&IMAGE, &manifest, payloads).unwrap();
    stranger().verify_signature_image(&IMAGE, &manifest, payloads).unwrap_err();
}

#[test]
fn of_thousands_of_signatures_the_newest_are_fetched() {
    let signature = SignatureImage::new(&KEY, REPOSITORY, &IMAGE);
    let manifest = edited(&signature.manifest, |manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"] = (0..1000)
            .map(|at| {
                let mut layer = layer.clone();
                layer["size"] = json!(at);
                layer
            })
            .collect();
    });
    let layers = signature_layers(&manifest).unwrap();
    assert_eq!((layers.len(), layers[0].payload.len), (64, 999));
}

#[test]
fn no_bit_of_what_is_signed_can_be_flipped() {
    for bundle in [image_bundle(&KEY, &IMAGE), blob_bundle(&KEY, &IMAGE)] {
        for at in 0..bundle.len() {
            for bit in 0..8 {
                let mut twin = bundle.clone();
                twin[at] ^= 1 << bit;
                let passes = POLICY.verify_image_bundle(&IMAGE, &twin).is_ok()
                    || POLICY.verify_blob_bundle(&IMAGE, &twin).is_ok();
                assert!(!passes || signed(&twin) == signed(&bundle), "bit {bit} of byte {at}");
            }
        }
    }
    let signature = SignatureImage::new(&KEY, REPOSITORY, &IMAGE);
    for at in 0..signature.payload.len() {
        let mut twin = signature.payload.clone();
        twin[at] ^= 1;
        POLICY.verify_signature_image(&IMAGE, &signature.manifest, &[&twin]).unwrap_err();
        // A registry that lists the twin cannot sign it.
        let manifest = edited(&signature.manifest, |manifest| {
            manifest["layers"][0]["digest"] = json!(Digest::of(&twin));
        });
        let error = POLICY.verify_signature_image(&IMAGE, &manifest, &[&twin]).unwrap_err();
        assert!(matches!(error, VerifyError::Signature), "{error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(POLICY.verify_image_bundle(&IMAGE, &bytes).is_err());
        prop_assert!(POLICY.verify_blob_bundle(&IMAGE, &bytes).is_err());
        prop_assert!(POLICY.verify_signature_image(&IMAGE, &bytes, &[&bytes]).is_err());
        prop_assert!(bundle_layer(&bytes).is_err());
        if let Ok(text) = str::from_utf8(&bytes) {
            prop_assert!(SigningKey::from_pem(text).is_err());
        }
    }

    #[test]
    fn mutated_signatures_are_refused_or_sign_the_same(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6),
    ) {
        let mutated = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for (at, byte, how) in &edits {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = *byte,
                    1 => bytes.insert(at, *byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        };
        let bundle = image_bundle(&KEY, &IMAGE);
        let twin = mutated(&bundle);
        if POLICY.verify_image_bundle(&IMAGE, &twin).is_ok() {
            prop_assert_eq!(signed(&twin), signed(&bundle));
        }
        let bundle = blob_bundle(&KEY, &IMAGE);
        let twin = mutated(&bundle);
        if POLICY.verify_blob_bundle(&IMAGE, &twin).is_ok() {
            prop_assert_eq!(signed(&twin), signed(&bundle));
        }
        let signature = SignatureImage::new(&KEY, REPOSITORY, &IMAGE);
        let _ = POLICY.verify_signature_image(&IMAGE, &mutated(&signature.manifest), &[&signature.payload]);
        let twin = mutated(&signature.payload);
        if twin != signature.payload {
            prop_assert!(POLICY.verify_signature_image(&IMAGE, &signature.manifest, &[&twin]).is_err());
        }
    }
}
