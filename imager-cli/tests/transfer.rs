//! Images travel: from one factory into the empty store of another, and through a registry.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use common::imager;
use cosign::SigningKey;
use predicates::str::contains;
use store::Store;
use support::{Made, VERSION, complete};

const SOURCES: [&str; 3] = ["imager", "installer-base", "extensions"];

/// A factory with a key over `made`, and its address.
async fn serve(made: &Made, key: &SigningKey) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut site = factory_server::Site::at(&format!("http://{address}"));
    site.signer = Some(Arc::new(key.clone()));
    let routes = factory_server::routes(made.factory.clone(), site);
    let settings = factory_server::Settings::default();
    tokio::spawn(factory_server::serve(listener, routes, settings, std::future::pending()));
    address
}

/// Runs `imager` on the store in `dir`.
async fn run(dir: &Path, args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = imager(dir);
    // No logins of whoever runs the tests.
    command.env("DOCKER_CONFIG", dir).args(args);
    tokio::task::spawn_blocking(move || command.assert()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factory_with_an_empty_store_makes_the_same_images_from_what_another_gives() {
    let (made, key) = (complete(), SigningKey::generate().unwrap());
    let address = serve(&made, &key).await;
    let other = tempfile::tempdir().unwrap();
    for name in SOURCES {
        let reference = format!("{address}/siderolabs/{name}:{VERSION}");
        run(other.path(), &["store", "pull", &reference, "--unsigned"])
            .await
            .code(0)
            .stdout(contains("sha256:"));
    }
    let cwd = tempfile::tempdir().unwrap();
    for asset in ["installer-arm64.tar", "metal-amd64.raw.zst"] {
        let file = cwd.path().join(asset);
        run(other.path(), &["build", asset, "--version", VERSION, "-o", file.to_str().unwrap()])
            .await
            .code(0);
        let (_, artifact) = made.plan("customization: {}", asset).await;
        let mut want = Vec::new();
        made.store.write_to(&artifact.extents, &mut want).unwrap();
        assert!(std::fs::read(&file).unwrap() == want, "{asset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installer_is_taken_with_the_right_signature_only() {
    let (made, key) = (complete(), SigningKey::generate().unwrap());
    let address = serve(&made, &key).await;
    let schematic = schematics::Schematic::parse(b"customization: {}").unwrap();
    let id = made.factory.put_schematic(&schematic).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (dir.path().join("right.pub"), dir.path().join("wrong.pub"));
    std::fs::write(&right, key.public_key_pem()).unwrap();
    std::fs::write(&wrong, SigningKey::generate().unwrap().public_key_pem()).unwrap();
    let (right, wrong) = (right.to_str().unwrap(), wrong.to_str().unwrap());
    let installer = format!("{address}/installer/{id}:{VERSION}");
    let source = format!("{address}/siderolabs/imager:{VERSION}");

    let other = tempfile::tempdir().unwrap();
    run(other.path(), &["store", "pull", &installer, "--key", wrong]).await.code(5).stderr(contains("key"));
    // Source images of a seed have no signature.
    run(other.path(), &["store", "pull", &source, "--key", right])
        .await
        .code(5)
        .stderr(contains("signature"));
    // Nobody is asked: neither key nor word.
    run(other.path(), &["store", "pull", &installer]).await.code(2).stderr(contains("--key"));
    let store = Store::open(other.path()).unwrap();
    assert_eq!(store.repositories().unwrap(), [""; 0], "nothing is named that was not believed");

    run(other.path(), &["store", "pull", &installer, "--key", right]).await.code(0);
    let tags = Store::open(other.path()).unwrap().tags(&format!("installer/{id}")).unwrap();
    assert!(
        tags.iter().any(|tag| tag == VERSION) && tags.iter().any(|tag| tag.starts_with("sha256-")),
        "{tags:?}"
    );
    run(other.path(), &["store", "verify"]).await.code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_builds_from_a_source_and_then_without_it() {
    let (made, key) = (complete(), SigningKey::generate().unwrap());
    let address = serve(&made, &key).await;
    let (other, cwd) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let public = cwd.path().join("key.pub");
    std::fs::write(&public, key.public_key_pem()).unwrap();
    let (public, asset) = (public.to_str().unwrap(), "initramfs-amd64.xz");
    let file = cwd.path().join(asset);
    let build = ["build", asset, "--version", VERSION, "-o", file.to_str().unwrap()];
    let from = |rest: &[&'static str]| [&build[..], &["--source"], &[address.as_str()], rest].concat();

    // A seed signs nothing.
    let keyed = [&from(&[])[..], &["--source-key", public]].concat();
    run(other.path(), &keyed).await.code(5).stderr(contains("it is not signed"));
    run(other.path(), &from(&[])).await.code(2).stderr(contains("--source-unsigned"));
    let unsigned = [&build[..], &["--source-unsigned"]].concat();
    run(other.path(), &unsigned).await.code(2).stderr(contains("--source"));
    run(other.path(), &["versions", "--source", "nohost", "--source-unsigned"]).await.code(2);
    let versions = ["versions", "--source", &address, "--source-unsigned"];
    run(other.path(), &versions).await.code(0).stdout(contains(VERSION));
    assert!(!file.exists());

    run(other.path(), &from(&["--source-unsigned"])).await.code(0);
    let (_, artifact) = made.plan("customization: {}", asset).await;
    let mut want = Vec::new();
    made.store.write_to(&artifact.extents, &mut want).unwrap();
    assert!(std::fs::read(&file).unwrap() == want);
    run(other.path(), &build).await.code(0);
    let gone = ["versions", "--source", "127.0.0.1:1", "--source-unsigned"];
    run(other.path(), &gone).await.code(0).stdout(contains(VERSION)).stderr(contains("known before"));
    // What is there is said to be missing by its name.
    let missing =
        [&["build", asset, "--version"][..], &["v13.2.0", "--source", &address, "--source-unsigned"]]
            .concat();
    run(other.path(), &missing).await.code(2).stderr(contains(VERSION));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_transferred_says_so() {
    let made = complete();
    let dir = made.dir.path().join("store");
    for (args, code, says) in [
        (&["store", "pull", "imager", "--unsigned"][..], 2, "imager"),
        (&["store", "pull", "127.0.0.1:1/a/b:c", "--unsigned"], 5, "127.0.0.1:1"),
        (&["store", "pull", "127.0.0.1:1/a/b:c", "--key", "/none"], 2, "/none"),
        (&["store", "push", "siderolabs/none:v1", "127.0.0.1:1/a/b:c"], 2, "siderolabs/none:v1"),
        (&["store", "push", "siderolabs/imager", "127.0.0.1:1/a/b:c"], 2, "REPOSITORY:TAG"),
    ] {
        run(&dir, args).await.code(code).stderr(contains(says));
    }
}
