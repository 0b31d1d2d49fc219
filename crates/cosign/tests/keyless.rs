//! A keyless signature is believed for one identity, image and time; each thing that speaks for it has its tampered
//! twin.
//!
//! The material is a little Sigstore's of our own, which `keyless_cosign.rs` shows to stock cosign. One file, longer than
//! others, because every twin is made from the same few values and read beside what it is a twin of.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cosign::{
    Keyless, Part, Pattern, Policy, SIGNATURE_ANNOTATION, SignatureImage, SigningKey, TrustedRoot,
    TrustedRootError, VerifyError, blob_bundle, image_bundle,
};
use extent::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::sigstore::{Certified, DAY, Identity, Log, NOW, Sigstore, VALID};

const SUBJECT: &str = "someone@example.org";
const ISSUER: &str = "https://accounts.example.org";
const REPOSITORY: &str = "factory.example/installer";
const LOGS: [Log; 3] = [Log::Dsse, Log::Intoto, Log::Tiles];

static SIGSTORE: LazyLock<Sigstore> = LazyLock::new(Sigstore::new);
static BY: LazyLock<Certified> = LazyLock::new(|| SIGSTORE.certify(&Identity::new(SUBJECT, ISSUER)));
static IMAGE: LazyLock<Digest> = LazyLock::new(|| Digest::of(b"image"));
static POLICY: LazyLock<Policy> = LazyLock::new(|| policy(&SIGSTORE.trusted_root()));

fn policy(root: &Value) -> Policy {
    wanting(root, Pattern::exact(SUBJECT).unwrap(), Pattern::exact(ISSUER).unwrap())
}

fn wanting(root: &Value, identity: Pattern, issuer: Pattern) -> Policy {
    let trusted_root = TrustedRoot::from_json(root.to_string().as_bytes()).unwrap();
    Policy::Keyless(Keyless { trusted_root, identity, issuer })
}

fn verify_old(policy: &Policy, signature: &SignatureImage) -> Result<(), VerifyError> {
    policy.verify_signature_image(&IMAGE, &signature.manifest, &[&signature.payload])
}

fn verify_new(policy: &Policy, bundle: &Value) -> Result<(), VerifyError> {
    policy.verify_image_bundle(&IMAGE, bundle.to_string().as_bytes())
}

fn old() -> SignatureImage {
    SIGSTORE.signature_image(&BY, REPOSITORY, &IMAGE, NOW)
}

fn new(log: Log) -> Value {
    SIGSTORE.bundle(&BY, &IMAGE, log, NOW)
}

/// What `policy` says to each of the signatures, of all shapes.
fn verdicts(policy: &Policy) -> Vec<(String, Result<(), VerifyError>)> {
    let mut all = vec![("old".to_owned(), verify_old(policy, &old()))];
    all.extend(LOGS.map(|log| (format!("{log:?}"), verify_new(policy, &new(log)))));
    all
}

#[track_caller]
fn refused(name: &str, result: Result<(), VerifyError>, wanted: Part) {
    let error = result.expect_err(name);
    let told = matches!(&error, VerifyError::Evidence { part, .. } if *part == wanted);
    assert!(told, "{name}: {wanted:?} expected: {error}");
}

fn annotated(signature: &SignatureImage, edit: impl FnOnce(&mut Value)) -> SignatureImage {
    let mut manifest: Value = serde_json::from_slice(&signature.manifest).unwrap();
    edit(&mut manifest["layers"][0]["annotations"]);
    SignatureImage { manifest: manifest.to_string().into_bytes(), ..signature.clone() }
}

fn annotation(signature: &SignatureImage, name: &str) -> String {
    let manifest: Value = serde_json::from_slice(&signature.manifest).unwrap();
    manifest["layers"][0]["annotations"][name].as_str().unwrap().to_owned()
}

#[test]
fn signatures_of_all_shapes_verify() {
    for (name, verdict) in verdicts(&POLICY) {
        verdict.expect(&name);
    }
}

#[test]
fn the_issuer_is_read_from_either_extension_and_the_newer_counts() {
    let identity = |v1: Option<&str>, v2: Option<&str>| Identity {
        subject: SUBJECT.to_owned(),
        issuer: v1.map(str::to_owned),
        issuer_v2: v2.map(str::to_owned),
    };
    for (who, believed) in [
        (identity(Some(ISSUER), None), true),
        (identity(None, Some(ISSUER)), true),
        (identity(Some("https://other.example"), Some(ISSUER)), true),
        (identity(Some(ISSUER), Some("https://other.example")), false),
        (identity(None, None), false),
    ] {
        let by = SIGSTORE.certify(&who);
        let old = verify_old(&POLICY, &SIGSTORE.signature_image(&by, REPOSITORY, &IMAGE, NOW));
        let new = verify_new(&POLICY, &SIGSTORE.bundle(&by, &IMAGE, Log::Dsse, NOW));
        for verdict in [old, new] {
            match verdict {
                Ok(()) => assert!(believed),
                Err(VerifyError::OtherIssuer { .. }) => assert!(!believed),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn another_identity_or_issuer_is_refused() {
    let root = SIGSTORE.trusted_root();
    let exact = |text| Pattern::exact(text).unwrap();
    let expression = |text| Pattern::expression(text).unwrap();
    for (name, verdict) in verdicts(&wanting(&root, expression("@example.org$"), expression("^https://acc")))
    {
        verdict.expect(&name);
    }
    for pattern in [exact("another@example.org"), exact("example.org"), expression("^example")] {
        for (name, verdict) in verdicts(&wanting(&root, pattern, exact(ISSUER))) {
            let error = verdict.unwrap_err();
            let told = matches!(&error, VerifyError::OtherIdentity { found, .. } if found == SUBJECT);
            assert!(told, "{name}: {error}");
        }
    }
    for pattern in [exact("https://accounts.google.com"), expression("google")] {
        for (name, verdict) in verdicts(&wanting(&root, exact(SUBJECT), pattern)) {
            let error = verdict.unwrap_err();
            let told = matches!(&error, VerifyError::OtherIssuer { found, .. } if found == ISSUER);
            assert!(told, "{name}: {error}");
        }
    }
    // A workflow's name is a URI.
    let workflow = "https://git.example/a/b/.ci/release.yaml@refs/tags/v1";
    let by = SIGSTORE.certify(&Identity::new(workflow, ISSUER));
    let policy = wanting(&root, exact(workflow), exact(ISSUER));
    verify_new(&policy, &SIGSTORE.bundle(&by, &IMAGE, Log::Tiles, NOW)).unwrap();
}

#[test]
fn each_of_the_trusted_has_to_have_vouched() {
    let stranger = Sigstore::new().trusted_root();
    let with = |member: &str| {
        let mut root = SIGSTORE.trusted_root();
        root[member] = stranger[member].clone();
        policy(&root)
    };
    for (name, verdict) in verdicts(&with("certificateAuthorities")) {
        refused(&name, verdict, Part::CertificateChain);
    }
    for (name, verdict) in verdicts(&with("ctlogs")) {
        refused(&name, verdict, Part::CertificateTimestamp);
    }
    for (name, verdict) in verdicts(&with("tlogs")) {
        refused(&name, verdict, Part::LogKey);
    }
    refused("Tiles", verify_new(&with("timestampAuthorities"), &new(Log::Tiles)), Part::Timestamp);
    // The others have no timestamp and need no authority for one.
    verify_new(&with("timestampAuthorities"), &new(Log::Dsse)).unwrap();

    // Another's key under the name of ours.
    let named = |member: &str| {
        let mut root = SIGSTORE.trusted_root();
        root[member][0]["publicKey"] = stranger[member][0]["publicKey"].clone();
        policy(&root)
    };
    for (name, verdict) in verdicts(&named("ctlogs")) {
        refused(&name, verdict, Part::CertificateTimestamp);
    }
    refused("old", verify_old(&named("tlogs"), &old()), Part::InclusionPromise);
    refused("Dsse", verify_new(&named("tlogs"), &new(Log::Dsse)), Part::InclusionPromise);
    refused("Tiles", verify_new(&named("tlogs"), &new(Log::Tiles)), Part::Checkpoint);
}

#[test]
fn each_of_the_trusted_has_to_be_valid_at_that_time() {
    let window = |member: &str, start: &str, end: &str| {
        let mut root = SIGSTORE.trusted_root();
        let entry = &mut root[member][0];
        let holder = if entry["publicKey"].is_null() { entry } else { &mut entry["publicKey"] };
        holder["validFor"] = json!({ "start": start, "end": end });
        policy(&root)
    };
    for (start, end, valid) in [
        ("2024-05-31T00:00:00Z", "2024-06-01T00:02:00Z", true),
        ("2021-01-01T00:00:00Z", "2024-05-31T23:59:59Z", false),
        ("2024-06-01T00:02:00Z", "2024-06-02T00:00:00Z", false),
    ] {
        for (member, part) in [
            ("certificateAuthorities", Part::CertificateChain),
            ("ctlogs", Part::CertificateTimestamp),
            ("tlogs", Part::LogKey),
        ] {
            for (name, verdict) in verdicts(&window(member, start, end)) {
                if valid { verdict.expect(&name) } else { refused(&name, verdict, part) }
            }
        }
        let verdict = verify_new(&window("timestampAuthorities", start, end), &new(Log::Tiles));
        if valid { verdict.unwrap() } else { refused("Tiles", verdict, Part::Timestamp) }
    }
}

#[test]
fn a_certificate_has_to_be_valid_at_that_time() {
    for (time, valid) in [(DAY, true), (DAY + VALID, true), (DAY + VALID + 1, false), (DAY - 1, false)] {
        let old = verify_old(&POLICY, &SIGSTORE.signature_image(&BY, REPOSITORY, &IMAGE, time));
        if valid {
            old.unwrap();
        } else {
            refused("old", old, Part::SigningTime);
        }
        for log in LOGS {
            // The timestamp's text is made for the hour of the day.
            if time < DAY && log == Log::Tiles {
                continue;
            }
            let verdict = verify_new(&POLICY, &SIGSTORE.bundle(&BY, &IMAGE, log, time));
            if valid { verdict.unwrap() } else { refused(&format!("{log:?}"), verdict, Part::SigningTime) }
        }
    }
    // A time that nobody vouched for.
    let mut bundle = new(Log::Dsse);
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = json!((NOW + 1).to_string());
    refused("moved", verify_new(&POLICY, &bundle), Part::InclusionPromise);
    let mut bundle = new(Log::Dsse);
    bundle["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove("inclusionPromise");
    refused("unpromised", verify_new(&POLICY, &bundle), Part::Timestamp);
    let mut bundle = new(Log::Tiles);
    bundle["verificationMaterial"].as_object_mut().unwrap().remove("timestampVerificationData");
    refused("untimed", verify_new(&POLICY, &bundle), Part::Timestamp);
    let mut bundle = new(Log::Tiles);
    let other = STANDARD.encode(SIGSTORE.timestamp(b"another signature", NOW));
    bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
        json!(other);
    refused("another's time", verify_new(&POLICY, &bundle), Part::Timestamp);
}

#[test]
fn an_entry_of_the_log_has_to_be_of_this_signature() {
    let signature = old();
    let sig = annotation(&signature, SIGNATURE_ANNOTATION);
    let again = SIGSTORE.certify(&Identity::new(SUBJECT, ISSUER));
    let other = SIGSTORE.signature_image(&again, REPOSITORY, &IMAGE, NOW);
    let other_sig = annotation(&other, SIGNATURE_ANNOTATION);
    for (name, entry) in [
        ("payload", Sigstore::hashed_rekord(&BY, b"another payload", &sig)),
        ("signature", Sigstore::hashed_rekord(&BY, &signature.payload, &other_sig)),
        ("certificate", Sigstore::hashed_rekord(&again, &signature.payload, &sig)),
    ] {
        let promise = SIGSTORE.promise(&entry, NOW).to_string();
        let twin = annotated(&signature, |a| a["dev.sigstore.cosign/bundle"] = json!(promise));
        refused(name, verify_old(&POLICY, &twin), Part::LogEntry);
    }
    for log in LOGS {
        for other in [
            SIGSTORE.bundle(&BY, &Digest::of(b"another image"), log, NOW),
            SIGSTORE.bundle(&again, &IMAGE, log, NOW),
        ] {
            let mut twin = new(log);
            twin["verificationMaterial"]["tlogEntries"] =
                other["verificationMaterial"]["tlogEntries"].clone();
            refused(&format!("{log:?}"), verify_new(&POLICY, &twin), Part::LogEntry);
        }
    }
}

#[test]
fn an_entry_of_the_log_has_to_be_in_it() {
    type Edit<'a> = &'a dyn Fn(&mut Value);
    let stranger = Sigstore::new();
    for log in LOGS {
        let entry = |bundle: &mut Value, edit: &dyn Fn(&mut Value)| {
            edit(&mut bundle["verificationMaterial"]["tlogEntries"][0]);
        };
        let body = |entry: &Value| STANDARD.decode(entry["canonicalizedBody"].as_str().unwrap()).unwrap();
        let twins: [(&str, Part, Edit); 4] = [
            ("no proof", Part::Bundle, &|e| drop(e.as_object_mut().unwrap().remove("inclusionProof"))),
            ("another path", Part::InclusionProof, &|e| {
                e["inclusionProof"]["hashes"][0] = e["inclusionProof"]["hashes"][1].clone();
            }),
            ("of another entry", Part::InclusionProof, &|e| {
                e["inclusionProof"] = SIGSTORE.proof(b"another entry", log);
            }),
            ("another's checkpoint", Part::Checkpoint, &|e| {
                e["inclusionProof"] = stranger.proof(&body(e), log);
            }),
        ];
        for (name, part, edit) in twins {
            let mut bundle = new(log);
            entry(&mut bundle, edit);
            refused(&format!("{log:?}, {name}"), verify_new(&POLICY, &bundle), part);
        }
        let mut bundle = new(log);
        bundle["verificationMaterial"]["tlogEntries"] = json!([]);
        refused("no entry", verify_new(&POLICY, &bundle), Part::Bundle);
    }
    let unlogged = annotated(&old(), |annotations| {
        annotations.as_object_mut().unwrap().remove("dev.sigstore.cosign/bundle");
    });
    let error = verify_old(&POLICY, &unlogged).unwrap_err();
    assert!(matches!(error, VerifyError::NotLogged), "{error}");
    // The time of another promise over the same entry.
    let signature = old();
    let mut promise: Value =
        serde_json::from_str(&annotation(&signature, "dev.sigstore.cosign/bundle")).unwrap();
    promise["Payload"]["integratedTime"] = json!(NOW + 1);
    let twin = annotated(&signature, |a| a["dev.sigstore.cosign/bundle"] = json!(promise.to_string()));
    refused("moved", verify_old(&POLICY, &twin), Part::InclusionPromise);
}

#[test]
fn another_images_signature_is_refused() {
    let other = Digest::of(b"another image");
    let signature = SIGSTORE.signature_image(&BY, REPOSITORY, &other, NOW);
    let mut verdicts = vec![verify_old(&POLICY, &signature)];
    verdicts.extend(LOGS.map(|log| verify_new(&POLICY, &SIGSTORE.bundle(&BY, &other, log, NOW))));
    for error in verdicts.into_iter().map(Result::unwrap_err) {
        let named = matches!(&error, VerifyError::OtherDigest { found, .. } if found.contains(&other.hex()));
        assert!(named, "{error}");
    }
    // Another key's signature under the certificate.
    let again = SIGSTORE.certify(&Identity::new(SUBJECT, ISSUER));
    let mut twin = new(Log::Tiles);
    let other = SIGSTORE.bundle(&again, &IMAGE, Log::Tiles, NOW);
    twin["dsseEnvelope"] = other["dsseEnvelope"].clone();
    twin["verificationMaterial"]["timestampVerificationData"] =
        other["verificationMaterial"]["timestampVerificationData"].clone();
    let error = verify_new(&POLICY, &twin).unwrap_err();
    assert!(matches!(error, VerifyError::Signature), "{error}");
}

#[test]
fn a_key_is_no_identity_and_an_identity_no_key() {
    let key = SigningKey::generate().unwrap();
    let by_key = Policy::Key(key.public_key());
    for (name, verdict) in verdicts(&by_key) {
        let error = verdict.unwrap_err();
        assert!(matches!(error, VerifyError::Certificate), "{name}: {error}");
    }
    let keyed = [
        verify_old(&POLICY, &SignatureImage::new(&key, REPOSITORY, &IMAGE)),
        POLICY.verify_image_bundle(&IMAGE, &image_bundle(&key, &IMAGE)),
        POLICY.verify_blob_bundle(&IMAGE, &blob_bundle(&key, &IMAGE)),
    ];
    for error in keyed.map(Result::unwrap_err) {
        assert!(matches!(error, VerifyError::Key), "{error}");
    }
}

#[test]
fn of_several_policies_the_first_that_believes_decides() {
    let key = SigningKey::generate().unwrap();
    let stranger = Policy::Key(SigningKey::generate().unwrap().public_key());
    let by_key = SignatureImage::new(&key, REPOSITORY, &IMAGE);
    let any = Policy::Any(vec![stranger.clone(), Policy::Key(key.public_key()), POLICY.clone()]);
    verify_old(&any, &by_key).unwrap();
    any.verify_image_bundle(&IMAGE, &image_bundle(&key, &IMAGE)).unwrap();
    any.verify_blob_bundle(&IMAGE, &blob_bundle(&key, &IMAGE)).unwrap();
    for (name, verdict) in verdicts(&Policy::Any(vec![any])) {
        verdict.expect(&name);
    }

    // All reasons are told, in order.
    let identity = wanting(
        &SIGSTORE.trusted_root(),
        Pattern::exact("another@example.org").unwrap(),
        Pattern::exact(ISSUER).unwrap(),
    );
    for (name, verdict) in verdicts(&Policy::Any(vec![stranger, identity])) {
        let error = verdict.unwrap_err();
        let VerifyError::NoPolicy { refusals } = &error else { panic!("{name}: {error}") };
        let told =
            matches!(refusals.as_slice(), [VerifyError::Certificate, VerifyError::OtherIdentity { .. }]);
        assert!(told && error.to_string().contains(SUBJECT), "{name}: {error}");
    }
    // Nobody is believed where nobody is named.
    for (name, verdict) in verdicts(&Policy::Any(Vec::new())) {
        let error = verdict.unwrap_err();
        assert!(
            matches!(&error, VerifyError::NoPolicy { refusals } if refusals.is_empty()),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_trusted_root_names_what_is_wrong_with_it() {
    let refused = |edit: &dyn Fn(&mut Value)| {
        let mut root = SIGSTORE.trusted_root();
        edit(&mut root);
        TrustedRoot::from_json(root.to_string().as_bytes()).unwrap_err()
    };
    let error = refused(&|root| root["mediaType"] = json!("text/plain"));
    assert!(matches!(error, TrustedRootError::MediaType { .. }), "{error}");
    for member in ["certificateAuthorities", "ctlogs", "tlogs"] {
        let error = refused(&|root| root[member] = json!([]));
        assert!(matches!(error, TrustedRootError::Missing { member: m } if m == member), "{error}");
    }
    let error = refused(&|root| root["tlogs"] = json!("none"));
    assert!(matches!(error, TrustedRootError::Malformed { .. }), "{error}");
    let certificate = "/certificateAuthorities/0/certChain/certificates/0/rawBytes";
    let error = refused(&|root| *root.pointer_mut(certificate).unwrap() = json!("AAAA"));
    assert!(matches!(error, TrustedRootError::Unusable { .. }), "{error}");
    let long = vec![b' '; usize::try_from(cosign::MAX_TRUSTED_ROOT_LEN).unwrap() + 1];
    assert!(matches!(TrustedRoot::from_json(&long), Err(TrustedRootError::TooLong { .. })));
}

#[test]
fn no_bit_of_the_old_shape_can_be_flipped() {
    let signature = old();
    let promise: Value = serde_json::from_str(&annotation(&signature, "dev.sigstore.cosign/bundle")).unwrap();
    let flips = |bytes: &[u8]| -> Vec<Vec<u8>> {
        (0..bytes.len())
            .map(|at| {
                let mut twin = bytes.to_vec();
                twin[at] ^= 1 << (at % 8);
                twin
            })
            .collect()
    };
    let mut twins = Vec::new();
    for der in flips(&BY.der) {
        let key = SIGSTORE.certify(&Identity::new(SUBJECT, ISSUER)).key;
        let pem = Certified { der, key }.pem();
        twins.push(annotated(&signature, |a| a["dev.sigstore.cosign/certificate"] = json!(pem)));
    }
    for sig in flips(&STANDARD.decode(annotation(&signature, SIGNATURE_ANNOTATION)).unwrap()) {
        twins.push(annotated(&signature, |a| a[SIGNATURE_ANNOTATION] = json!(STANDARD.encode(sig))));
    }
    for (pointer, twin) in ["/SignedEntryTimestamp", "/Payload/body"].into_iter().flat_map(|pointer| {
        let bytes = STANDARD.decode(promise.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
        flips(&bytes).into_iter().map(move |twin| (pointer, twin))
    }) {
        let mut promise = promise.clone();
        *promise.pointer_mut(pointer).unwrap() = json!(STANDARD.encode(twin));
        twins.push(annotated(&signature, |a| a["dev.sigstore.cosign/bundle"] = json!(promise.to_string())));
    }
    for payload in flips(&signature.payload) {
        let manifest = String::from_utf8(signature.manifest.clone()).unwrap();
        let listed = [&signature.payload, &payload].map(|bytes| Digest::of(bytes).to_string());
        let manifest = manifest.replace(&listed[0], &listed[1]).into_bytes();
        twins.push(SignatureImage { manifest, payload, ..signature.clone() });
    }
    assert!(twins.len() > 2000, "{}", twins.len());
    for (at, twin) in twins.iter().enumerate() {
        assert!(verify_old(&POLICY, twin).is_err(), "twin {at}");
    }
}

/// The members of a bundle that anybody may change, for they are beside what is signed: certificates in a timestamp,
/// of which the trusted root has its own; the name on the line of a checkpoint's signature; and in Rekor 2, whatever of
/// a proof the checkpoint says itself.
fn unsigned(path: &str, log: Log) -> bool {
    path.ends_with("/signedTimestamp")
        || path.ends_with("/checkpoint/envelope")
        || (log == Log::Tiles && path.contains("/inclusionProof/") && !path.contains("/hashes/"))
}

/// The text of every member of `value`, by its path.
fn members(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (name, member) in map {
                members(member, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                members(item, &format!("{path}/{at}"), found);
            }
        }
        // Base64 may have either alphabet in proto3's JSON, and padding or none.
        leaf => {
            let text = leaf.to_string().replace('=', "").replace('-', "+").replace('_', "/");
            found.insert(path.to_owned(), text);
        }
    }
}

/// Where two bundles differ.
fn differences(a: &[u8], b: &[u8]) -> BTreeSet<String> {
    let [a, b] = [a, b].map(|bytes| {
        let mut found = BTreeMap::new();
        members(&serde_json::from_slice(bytes).unwrap(), "", &mut found);
        found
    });
    a.keys().chain(b.keys()).filter(|path| a.get(*path) != b.get(*path)).cloned().collect()
}

/// That a believed twin of `bundle` has no other signed members.
#[track_caller]
fn differs_in_what_is_unsigned(twin: &[u8], bundle: &[u8], log: Log) {
    for path in differences(twin, bundle) {
        assert!(unsigned(&path, log), "{log:?}: {path}");
    }
}

#[test]
fn no_bit_of_a_bundle_can_be_flipped() {
    for log in LOGS {
        let bundle = new(log).to_string().into_bytes();
        for at in 0..bundle.len() {
            let mut twin = bundle.clone();
            twin[at] ^= 1 << (at % 8);
            if POLICY.verify_image_bundle(&IMAGE, &twin).is_ok() {
                differs_in_what_is_unsigned(&twin, &bundle, log);
            }
        }
    }
    // Of a timestamp, in its own encoding, all but the certificates.
    let pointer = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    let bundle = new(Log::Tiles);
    let token = STANDARD.decode(bundle.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
    let beside = token.windows(SIGSTORE.tsa.len()).position(|window| window == SIGSTORE.tsa).unwrap();
    let mut believed = Vec::new();
    for at in (0..token.len()).filter(|at| !(beside..beside + SIGSTORE.tsa.len()).contains(at)) {
        let mut twin = token.clone();
        twin[at] ^= 1 << (at % 8);
        let mut bundle = bundle.clone();
        *bundle.pointer_mut(pointer).unwrap() = json!(STANDARD.encode(twin));
        if verify_new(&POLICY, &bundle).is_ok() {
            believed.push(at);
        }
    }
    // RFC 5652 leaves these unsigned: the answer's status, versions, the names of algorithms, a tag.
    assert!(believed.len() <= 20, "{believed:?}");
    let info = token.windows(8).position(|window| window == b"20240601").unwrap();
    assert!(believed.iter().all(|at| !(info - 60..info + 15).contains(at)), "{believed:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(TrustedRoot::from_json(&bytes).is_err());
        prop_assert!(POLICY.verify_image_bundle(&IMAGE, &bytes).is_err());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let encoded = STANDARD.encode(&bytes);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
        let signature = old();
        for name in ["certificate", "bundle"] {
            for value in [&text, &encoded, &pem] {
                let name = format!("dev.sigstore.cosign/{name}");
                let twin = annotated(&signature, |annotations| annotations[&name] = json!(value));
                prop_assert!(verify_old(&POLICY, &twin).is_err());
            }
        }
        for pointer in [
            "/verificationMaterial/certificate/rawBytes",
            "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
            "/verificationMaterial/tlogEntries/0/canonicalizedBody",
            "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope",
        ] {
            for value in [&text, &encoded] {
                let mut twin = new(Log::Tiles);
                *twin.pointer_mut(pointer).unwrap() = json!(value);
                prop_assert!(verify_new(&POLICY, &twin).is_err());
            }
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
        for log in LOGS {
            let bundle = new(log).to_string().into_bytes();
            let twin = mutated(&bundle);
            if POLICY.verify_image_bundle(&IMAGE, &twin).is_ok() {
                differs_in_what_is_unsigned(&twin, &bundle, log);
            }
        }
        let signature = old();
        let _ = POLICY.verify_signature_image(&IMAGE, &mutated(&signature.manifest), &[&signature.payload]);
        let _ = TrustedRoot::from_json(&mutated(SIGSTORE.trusted_root().to_string().as_bytes()));
        // A certificate, a timestamp or a chain, damaged within its encoding.
        for (pointer, log) in [
            ("/verificationMaterial/certificate/rawBytes", Log::Dsse),
            ("/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp", Log::Tiles),
        ] {
            let mut bundle = new(log);
            let der = STANDARD.decode(bundle.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
            *bundle.pointer_mut(pointer).unwrap() = json!(STANDARD.encode(mutated(&der)));
            let _ = verify_new(&POLICY, &bundle);
        }
    }
}
