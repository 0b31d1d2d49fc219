//! Images that an identity signed are pulled from a registry; what another signed stays there.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/cosign/tests/support/mod.rs"]
mod signed;

use std::path::Path;

use assert_cmd::assert::Assert;
use common::imager;
use cosign::{Referrer, SigningKey, image_bundle, signature_tag};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use signed::registry::Registry;
use signed::sigstore::{Identity, Log, NOW, Sigstore};
use store::Store;

const SUBJECT: &str = "releases@example.org";
const ISSUER: &str = "https://accounts.example.org";
const REPOSITORY: &str = "siderolabs/installer";

/// Pulls `image` into the store in `dir`, believing `trust`.
fn pull(dir: &Path, image: &str, trust: &[&str]) -> Assert {
    let mut command = imager(dir);
    // No logins of whoever runs the tests.
    command.env("DOCKER_CONFIG", dir).args(["store", "pull", image]).args(trust);
    command.assert()
}

#[test]
fn an_image_of_an_identity_is_taken_and_anothers_is_not() {
    let sigstore = Sigstore::new();
    let by = sigstore.certify(&Identity::new(SUBJECT, ISSUER));
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let root = write("root.json", sigstore.trusted_root().to_string());
    let others_root = write("other.json", Sigstore::new().trusted_root().to_string());
    let key = write("key.pub", SigningKey::generate().unwrap().public_key_pem());
    let identity = ["--identity", r"^releases@example\.org$", "--issuer", ISSUER];
    let registries = Registry::programs();
    assert!(!registries.is_empty() || std::env::var_os("CI").is_none());
    for registry in registries {
        for log in [None, Some(Log::Dsse), Some(Log::Tiles)] {
            let tag = format!("v1.{}.0", log.map_or(0, |log| log as u8 + 1));
            let image = registry.push_index(REPOSITORY, &tag, &[tag.as_bytes(), b"arm64"]);
            let (reference, digest) = (&image.reference, image.subject.digest);
            let other = tempfile::tempdir().unwrap();
            let trusted = [&identity[..], &["--trusted-root", &root]].concat();
            pull(other.path(), reference, &trusted).code(5).stderr(contains("signature"));
            if let Some(log) = log {
                let bundle = sigstore.bundle(&by, &digest, log, NOW).to_string();
                let referrer = Referrer::new(&image.subject, bundle.into_bytes());
                registry.push_referrer(REPOSITORY, &digest, &referrer);
            } else {
                let signature = sigstore.signature_image(&by, &image.name, &digest, NOW);
                registry.push_signature(REPOSITORY, &digest, &signature);
            }

            let stranger =
                ["--identity", "^someone@example", "--issuer-regexp", "example", "--trusted-root", &root];
            pull(other.path(), reference, &stranger).code(5).stderr(contains(SUBJECT));
            let google = ["--identity", "@example", "--issuer", "https://accounts.google.com"];
            let google = [&google[..], &["--trusted-root", &root]].concat();
            pull(other.path(), reference, &google).code(5).stderr(contains(ISSUER));
            let elsewhere = [&identity[..], &["--trusted-root", &others_root]].concat();
            pull(other.path(), reference, &elsewhere).code(5).stderr(contains("log's key"));
            let by_key = ["--key", key.as_str()];
            pull(other.path(), reference, &by_key).code(5).stderr(contains("certificate"));
            let either = [&by_key[..], &stranger[..]].concat();
            let both = contains("by a certificate and not by a key").and(contains(SUBJECT));
            pull(other.path(), reference, &either).code(5).stderr(both);
            let store = Store::open(other.path()).unwrap();
            assert_eq!(store.repositories().unwrap(), [""; 0], "nothing is named that was not believed");

            pull(other.path(), reference, &[&by_key[..], &trusted[..]].concat())
                .code(0)
                .stdout(contains(digest.to_string()));
            let tags = Store::open(other.path()).unwrap().tags(REPOSITORY).unwrap();
            assert!(tags.contains(&tag), "{tags:?}");
            // The evidence is kept, for whoever pulls from here.
            let kept = if log.is_some() { cosign::referrers_tag(&digest) } else { signature_tag(&digest) };
            assert!(tags.contains(&kept), "{tags:?}");
        }
        // A key's signature is no identity's.
        let image = registry.push_index(REPOSITORY, "v2.0.0", &[b"keyed", b"arm64"]);
        let bundle = image_bundle(&SigningKey::generate().unwrap(), &image.subject.digest);
        let referrer = Referrer::new(&image.subject, bundle);
        registry.push_referrer(REPOSITORY, &image.subject.digest, &referrer);
        let trusted = [&identity[..], &["--trusted-root", &root]].concat();
        let other = tempfile::tempdir().unwrap();
        pull(other.path(), &image.reference, &trusted).code(5).stderr(contains("by a key"));
    }
}

#[test]
fn what_says_too_little_of_whom_to_believe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.json");
    std::fs::write(&root, Sigstore::new().trusted_root().to_string()).unwrap();
    let root = root.to_str().unwrap();
    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, "{}").unwrap();
    let broken = broken.to_str().unwrap();
    let (identity, issuer, trusted) = (["--identity", "a"], ["--issuer", ISSUER], ["--trusted-root", root]);
    let (store, image) = (tempfile::tempdir().unwrap(), "127.0.0.1:1/a/b:c");
    for (trust, says) in [
        (&[] as &[&[&str]], "--key"),
        (&[&identity], "--trusted-root"),
        (&[&identity, &trusted], "--issuer"),
        (&[&identity, &issuer], "--trusted-root"),
        (&[&issuer, &trusted], "--identity"),
        (&[&["--unsigned"], &identity, &issuer, &trusted], "--unsigned"),
        (&[&["--identity", "("], &issuer, &trusted], "`(` is not a regular expression"),
        (&[&["--identity", ""], &issuer, &trusted], "empty"),
        (&[&identity, &issuer, &["--trusted-root", "/none"]], "/none"),
        (&[&identity, &issuer, &["--trusted-root", broken]], "broken.json"),
    ] {
        pull(store.path(), image, &trust.concat()).code(2).stderr(contains(says));
    }
    let all = [&identity[..], &issuer, &trusted].concat();
    pull(store.path(), image, &all).code(5).stderr(contains("127.0.0.1:1"));
}
