//! Versions and what they offer.

use serde_json::{Value, json};

use crate::common::field;
use crate::server;

#[tokio::test]
async fn versions_are_listed_without_the_broken_ones() {
    let (_made, server) = server().await;
    let get = async |path: &str| server.get(path).send().await.unwrap();
    let response = get("/versions").await;
    assert_eq!(field(&response, "content-type"), "application/json");
    let versions: Value = response.json().await.unwrap();
    assert_eq!(versions, json!(["v1.5.0", "v1.7.0", "v1.11.0", "v1.12.0"]));
    let broken: Value = get("/versions?broken=true").await.json().await.unwrap();
    assert_eq!(broken, json!(["v1.10.2"]));
    assert_eq!(server.head("/versions").send().await.unwrap().status(), 200);
    // Who has machines that run it can have it again.
    let id = crate::registered(&server, "{}").await;
    assert_eq!(get(&format!("/image/{id}/v1.10.2/kernel-amd64")).await.status(), 200);
}

#[tokio::test]
async fn a_version_lists_its_extensions_and_overlays() {
    let (_made, server) = server().await;
    let get = async |path: &str| server.get(path).send().await.unwrap();
    let extensions: Value = get("/version/1.5.0/extensions/official").await.json().await.unwrap();
    let names: Vec<&str> =
        extensions.as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["siderolabs/amd-ucode", "siderolabs/gvisor", "siderolabs/gasket-driver"]);
    for key in ["ref", "digest", "author", "description"] {
        assert!(extensions[0][key].is_string(), "{key}");
    }
    assert_eq!(get("/version/1.5.0-alpha.0/extensions/official").await.status(), 404);
    assert_eq!(get("/version/x/extensions/official").await.status(), 400);

    let overlays: Value = get("/version/v1.7.0/overlays/official").await.json().await.unwrap();
    let digest = extent::Digest::of(b"overlay").to_string();
    assert_eq!(
        overlays,
        json!([
            {"name": "rpi_generic", "image": "siderolabs/sbc-raspberrypi",
             "ref": "ghcr.io/siderolabs/sbc-raspberrypi:v0.1.0", "digest": digest},
            {"name": "rock64", "image": "siderolabs/sbc-rockchip",
             "ref": "ghcr.io/siderolabs/sbc-rockchip:v0.1.0", "digest": digest},
        ])
    );
    let before: Value = get("/version/1.5.0/overlays/official").await.json().await.unwrap();
    assert_eq!(before, json!([]));
    assert_eq!(get("/version/1.8.0/overlays/official").await.status(), 404);
}
