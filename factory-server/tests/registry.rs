//! The registry, by its own protocol: what clients read before they trust it.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "registry/protocol.rs"]
mod protocol;
#[path = "registry/signatures.rs"]
mod signatures;
#[path = "registry/sources.rs"]
mod sources;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use common::{Server, field};
use cosign::SigningKey;
use extent::Digest;
use factory_server::Site;
use imager::Factory;
use serde_json::{Value, json};
use store::Store;
use support::{Made, SCHEMATIC, VERSION, complete};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Registry {
    made: Made,
    server: Server,
    /// `/v2/installer/<schematic>`.
    base: String,
}

async fn registry() -> Registry {
    signed_by(None).await
}

async fn signed_by(signer: Option<SigningKey>) -> Registry {
    let made = complete();
    let mut site = Site::default();
    site.signer = signer.map(Arc::new);
    let server = Server::at(made.factory.clone(), site).await;
    let taken: Value = server.post(SCHEMATIC).await.json().await.unwrap();
    let base = format!("/v2/installer/{}", taken["id"].as_str().unwrap());
    Registry { made, server, base }
}

impl Registry {
    /// What is at `path`, checked against the digest that the answer names.
    async fn get(&self, path: &str) -> (Vec<u8>, String, Digest) {
        let response = self.server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let (media_type, digest) =
            (field(&response, "content-type"), field(&response, "docker-content-digest"));
        assert_eq!(field(&response, "docker-distribution-api-version"), "registry/2.0");
        let bytes = response.bytes().await.unwrap().to_vec();
        let named: Digest = digest.parse().unwrap();
        assert_eq!(Digest::of(&bytes), named, "{path}");
        (bytes, media_type, named)
    }

    /// A document.
    async fn json(&self, path: &str) -> (Value, String, Digest) {
        let (bytes, media_type, digest) = self.get(path).await;
        (serde_json::from_slice(&bytes).unwrap(), media_type, digest)
    }

    async fn error(&self, path: &str) -> (u16, String) {
        let response = self.server.get(path).send().await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(field(&response, "content-type"), "application/json", "{path}");
        let body: Value = response.json().await.unwrap();
        assert!(!body["errors"][0]["message"].as_str().unwrap().is_empty());
        (status, body["errors"][0]["code"].as_str().unwrap().to_owned())
    }
}

/// The files of a tar archive.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
    }
    files
}

#[tokio::test]
async fn a_tag_leads_to_the_boot_files_of_the_schematic() {
    let registry = registry().await;
    assert_eq!(registry.server.get("/v2/").send().await.unwrap().status(), 200);
    let (index, media_type, index_digest) =
        registry.json(&format!("{}/manifests/{VERSION}", registry.base)).await;
    assert_eq!(media_type, INDEX);
    assert_eq!(index["mediaType"], INDEX);
    let manifests = index["manifests"].as_array().unwrap();
    let platforms: Vec<&Value> = manifests.iter().map(|manifest| &manifest["platform"]).collect();
    assert_eq!(
        platforms,
        [&json!({"architecture": "amd64", "os": "linux"}), &json!({"architecture": "arm64", "os": "linux"})]
    );
    for (entry, arch) in manifests.iter().zip(["amd64", "arm64"]) {
        let (manifest, media_type, digest) = registry
            .json(&format!("{}/manifests/{}", registry.base, entry["digest"].as_str().unwrap()))
            .await;
        assert_eq!((media_type.as_str(), manifest["mediaType"].as_str().unwrap()), (MANIFEST, MANIFEST));
        assert_eq!(entry["digest"], digest.to_string());
        let (config, ..) = registry
            .json(&format!("{}/blobs/{}", registry.base, manifest["config"]["digest"].as_str().unwrap()))
            .await;
        assert_eq!((&config["architecture"], &config["os"]), (&json!(arch), &json!("linux")));
        assert_eq!(config["created"], "2019-06-01T21:34:52Z");
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/installer"]));
        let layers = manifest["layers"].as_array().unwrap();
        let named: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        assert_eq!(json!(named), config["rootfs"]["diff_ids"], "no layer is compressed");
        let mut unpacked = BTreeMap::new();
        for layer in layers {
            let path = format!("{}/blobs/{}", registry.base, layer["digest"].as_str().unwrap());
            let (bytes, ..) = registry.get(&path).await;
            assert_eq!(layer["size"], bytes.len());
            unpacked.extend(files(&bytes));
        }
        // The UKI that a disk has, with one profile more than the asset of that name.
        let uki = unpacked[&format!("usr/install/{arch}/vmlinuz.efi")].clone();
        let holds = |part: &[u8]| uki.windows(part.len()).any(|window| window == part);
        assert!(
            uki.starts_with(b"MZ") && holds(b"console=ttyS0") && holds(b"ID=reset-maintenance"),
            "{arch}"
        );
        assert!(holds(&support::noise("initramfs", 64)), "{arch}");
        let want = BTreeMap::from([
            ("usr/bin/installer".to_owned(), arch.as_bytes().to_vec()),
            (format!("usr/install/{arch}/systemd-boot.efi"), support::noise("systemd-boot", 10_000)),
            (format!("usr/install/{arch}/vmlinuz.efi"), uki),
        ]);
        assert!(unpacked == want, "{arch}: {:?}", unpacked.keys());
        // A tag for one architecture names the same.
        let (_, _, alone) = registry.json(&format!("{}/manifests/{VERSION}-{arch}", registry.base)).await;
        assert_eq!(alone, digest);
    }
    // Other names of the same version.
    for tag in ["latest", VERSION.trim_start_matches('v'), &index_digest.to_string()] {
        assert_eq!(
            registry.get(&format!("{}/manifests/{tag}", registry.base)).await.2,
            index_digest,
            "{tag}"
        );
    }
    let metal = registry.base.replace("/v2/installer/", "/v2/metal-installer/");
    assert_eq!(registry.get(&format!("{metal}/manifests/{VERSION}")).await.2, index_digest);
    let aws = registry.base.replace("/v2/installer/", "/v2/aws-installer/");
    assert_ne!(registry.get(&format!("{aws}/manifests/{VERSION}")).await.2, index_digest);
}

#[tokio::test]
async fn a_tag_is_the_index_whatever_is_accepted() {
    let registry = registry().await;
    let path = format!("{}/manifests/{VERSION}", registry.base);
    // A cache that clients share keeps one answer for all of them.
    for accept in [
        "*/*",
        MANIFEST,
        INDEX,
        "application/json",
        "APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON",
        &format!("{INDEX};q=0, {MANIFEST}"),
    ] {
        let response = registry.server.get(&path).header("accept", accept).send().await.unwrap();
        assert_eq!(field(&response, "content-type"), INDEX, "{accept}");
    }
    let head = registry.server.head(&path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), field(&head, "content-type").as_str()), (200, INDEX));
    assert!(!field(&head, "content-length").is_empty() && !field(&head, "docker-content-digest").is_empty());
}

#[tokio::test]
async fn the_file_has_the_layers_of_the_registry_and_every_store_the_same_digests() {
    let registry = registry().await;
    let id = registry.base.rsplit_once('/').unwrap().1;
    let file = registry.server.get(&format!("/image/{id}/{VERSION}/installer-arm64.tar"));
    let file = files(&file.send().await.unwrap().bytes().await.unwrap());
    let (manifest, _, digest) = registry.json(&format!("{}/manifests/{VERSION}-arm64", registry.base)).await;
    let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    assert_eq!(Digest::of(&file[&blob(&json!(digest.to_string()))]), digest);
    for descriptor in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let path = format!("{}/blobs/{}", registry.base, descriptor["digest"].as_str().unwrap());
        assert!(file[&blob(&descriptor["digest"])] == registry.get(&path).await.0);
    }
    let docker: Value = serde_json::from_slice(&file["manifest.json"]).unwrap();
    assert_eq!(docker[0]["RepoTags"], json!([format!("installer/{id}:{VERSION}")]));
    let index: Value = serde_json::from_slice(&file["index.json"]).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest.to_string());

    // Another store in another place, asked for a layer before any manifest.
    let other = complete();
    let server = Server::over(other.factory.clone()).await;
    server.post(SCHEMATIC).await;
    let layer = manifest["layers"][1]["digest"].as_str().unwrap();
    let response = server.get(&format!("{}/blobs/{layer}", registry.base)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Digest::of(&response.bytes().await.unwrap()).to_string(), layer);
    // Another process on the same store.
    let next =
        Server::over(Factory::open(Store::open(registry.made.dir.path().join("store")).unwrap())).await;
    let range = next.get(&format!("{}/blobs/{layer}", registry.base)).header("range", "bytes=100-299");
    let range = range.send().await.unwrap();
    assert_eq!((range.status().as_u16(), field(&range, "content-length").as_str()), (206, "200"));
}

#[tokio::test]
async fn a_store_of_one_architecture_has_installers_for_that() {
    let made = support::made();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("arm64/vmlinuz", support::noise("kernel", 30_000)),
        ("arm64/initramfs.xz", support::noise("initramfs", 10_000)),
        ("arm64/systemd-stub.efi", support::stub(imager::Arch::Arm64)),
        ("arm64/systemd-boot.efi", support::noise("systemd-boot", 1000)),
    ];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (*path, content.as_slice())).collect();
    made.imager(VERSION, &files);
    let base = made.manifest(imager::Arch::Arm64, &[support::tree(&[("usr/bin/installer", b"arm64")])]);
    made.tag("siderolabs/installer-base", VERSION, &made.index(&[(imager::Arch::Arm64, base)]));
    let server = Server::over(made.factory.clone()).await;
    let taken: Value = server.post("{}").await.json().await.unwrap();
    let base = format!("/v2/installer/{}", taken["id"].as_str().unwrap());
    let index: Value =
        server.get(&format!("{base}/manifests/latest")).send().await.unwrap().json().await.unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm64");
    let amd64 = server.get(&format!("{base}/manifests/{VERSION}-amd64")).send().await.unwrap();
    assert_eq!(amd64.status(), 404);
}
