//! An installer image goes to a registry: the same that a factory serves and that is built as a file, signed, its tag last.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod remote_support;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use common::imager;
use cosign::SigningKey;
use extent::Digest;
use predicates::str::contains;
use remote_support::Program;
use serde_json::Value;
use support::{SCHEMATIC, VERSION, complete};

/// Runs `imager --json` on the store in `store`; what it says, if it succeeds.
fn run(store: &Path, args: &[&str]) -> Value {
    let mut command = imager(store);
    let output = command.env("DOCKER_CONFIG", store).arg("--json").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is at `path` of the registry.
async fn get(host: &str, path: &str) -> Option<Vec<u8>> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    let answer =
        client.get(format!("http://{host}/v2/{path}")).header("accept", accept).send().await.unwrap();
    if answer.status() == 404 {
        return None;
    }
    assert_eq!(answer.status(), 200, "{path}");
    Some(answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pushed_image_is_the_served_and_the_built_one() {
    let Some(registry) = Program::start() else { return };
    let (Some(cosign), Some(crane)) = (ci::tool("cosign"), ci::tool("crane")) else { return };
    let made = complete();
    let store = made.dir.path().join("store");
    let path = |name: &str| made.dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("schematic.yaml"), SCHEMATIC).unwrap();
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    std::fs::write(path("key.pem"), key.to_pem().as_bytes()).unwrap();
    std::fs::write(path("key.pub"), key.public_key_pem()).unwrap();
    std::fs::write(path("other.pub"), other.public_key_pem()).unwrap();

    let image = format!("{}/fleet/installer", registry.host);
    let (schematic, key_file) = (path("schematic.yaml"), path("key.pem"));
    let args = ["push", &image, "--version", VERSION, "--schematic", &schematic, "--signing-key", &key_file];
    let pushed = run(&store, &args);
    assert_eq!(pushed["reference"], format!("{image}:{VERSION}"));
    assert!(pushed["transferred_bytes"].as_u64().unwrap() > 100_000, "{pushed}");
    assert_eq!(run(&store, &args)["transferred_bytes"], 0, "what is there is not sent");

    // The same index as a factory gives.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = listener.local_addr().unwrap().to_string();
    let routes = factory_server::routes(made.factory.clone(), factory_server::Site::default());
    let settings = factory_server::Settings::default();
    tokio::spawn(factory_server::serve(listener, routes, settings, std::future::pending()));
    let id = pushed["schematic"].as_str().unwrap();
    let tag = format!("manifests/{VERSION}");
    let index = get(&registry.host, &format!("fleet/installer/{tag}")).await.unwrap();
    assert!(get(&served, &format!("installer/{id}/{tag}")).await.unwrap() == index);
    assert_eq!(pushed["digest"], Digest::of(&index).to_string());
    // The same manifests as in the files.
    let index: Value = serde_json::from_slice(&index).unwrap();
    for (entry, arch) in index["manifests"].as_array().unwrap().iter().zip(["amd64", "arm64"]) {
        let file = path("installer.tar");
        let asset = format!("installer-{arch}.tar");
        run(&store, &["build", &asset, "--version", VERSION, "--schematic", &schematic, "-o", &file]);
        let mut archive = tar::Archive::new(std::fs::File::open(&file).unwrap());
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let built = entries.find(|entry| entry.path().unwrap() == Path::new("index.json")).unwrap();
        let built: Value = serde_json::from_reader(built).unwrap();
        assert_eq!(built["manifests"][0]["digest"], entry["digest"], "{arch}");
    }

    // Stock tools agree, about the image and about each platform of it.
    let tools = async |tool: &Path, args: &[&str]| {
        let mut command = Command::new(tool);
        command.args(args).env("HOME", made.dir.path()).env("NO_PROXY", "*");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let tagged = format!("{image}:{VERSION}");
    let valid = tools(&crane, &["validate", "--fast", "--remote", &tagged]).await;
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stderr));
    let platform = format!("{image}@{}", index["manifests"][1]["digest"].as_str().unwrap());
    for subject in [&tagged, &platform] {
        // By the bundle, and by the tag of the old shape.
        for shape in ["--new-bundle-format=true", "--new-bundle-format=false"] {
            let verify = |key: &str| {
                let args = ["verify", "--insecure-ignore-tlog", "--allow-http-registry", shape, "--key"];
                args.map(str::to_owned).into_iter().chain([path(key), subject.clone()]).collect::<Vec<_>>()
            };
            let right = verify("key.pub");
            let output = tools(&cosign, &right.iter().map(String::as_str).collect::<Vec<_>>()).await;
            assert!(output.status.success(), "{shape}: {}", String::from_utf8_lossy(&output.stderr));
            let wrong = verify("other.pub");
            let output = tools(&cosign, &wrong.iter().map(String::as_str).collect::<Vec<_>>()).await;
            assert!(!output.status.success(), "{shape}: another key");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_breaks_leaves_no_tag_and_is_taken_up_again() {
    let made = complete();
    let store = made.dir.path().join("store");
    let Some(registry) = Program::start() else { return };
    let image = format!("{}/fleet/installer:x", registry.host);
    let args = ["push", &image, "--version", VERSION, "--unsigned"];
    // A blob of the base is away.
    let base = made.store.resolve_tag("siderolabs/installer-base", VERSION).unwrap().unwrap();
    let index: Value = serde_json::from_slice(
        &made.store.bytes(&base.digest().to_string().parse().unwrap(), 1 << 20).unwrap(),
    )
    .unwrap();
    let manifest: Digest = index["manifests"][1]["digest"].as_str().unwrap().parse().unwrap();
    let manifest: Value = serde_json::from_slice(&made.store.bytes(&manifest, 1 << 20).unwrap()).unwrap();
    let layer: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let blob = made.blob_path(&layer);
    let whole = std::fs::read(&blob).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, flipped).unwrap();
    imager(&store).env("DOCKER_CONFIG", &store).args(args).assert().failure().stderr(contains("corrupt"));
    assert_eq!(get(&registry.host, "fleet/installer/manifests/x").await, None);
    std::fs::write(&blob, whole).unwrap();
    let pushed = run(&store, &args);
    assert!(get(&registry.host, "fleet/installer/manifests/x").await.is_some(), "{pushed}");
}

#[test]
fn what_cannot_be_pushed_says_so() {
    let made = complete();
    let store = made.dir.path().join("store");
    let to = "127.0.0.1:1/a/b:c";
    for (args, code, says) in [
        (&[to, "--version", VERSION][..], 2, "--signing-key"),
        (&[to, "--version", VERSION, "--signing-key", "/none"], 2, "/none"),
        (&["b:c", "--version", VERSION, "--unsigned"], 2, "b:c"),
        (&[to, "--version", "v13.9.0", "--unsigned"], 2, "v13.9.0"),
        (&[to, "--version", VERSION, "--unsigned", "--image", "x"], 2, "installer"),
        (&[to, "--version", VERSION, "--unsigned", "--image", "nowhere-installer"], 2, "nowhere"),
        (&[to, "--version", VERSION, "--unsigned"], 5, "127.0.0.1:1"),
    ] {
        imager(&store)
            .env("DOCKER_CONFIG", &store)
            .arg("push")
            .args(args)
            .assert()
            .code(code)
            .stderr(contains(says));
    }
}
