//! Assets, and what can be said about one.

use std::process::Command;

use serde_json::Value;

use crate::common::field;
use crate::{registered, server};

#[tokio::test]
async fn every_kind_that_is_there_downloads_with_its_type_and_name() {
    let (_made, server) = server().await;
    let id = registered(&server, "{}").await;
    let table = [
        ("kernel-amd64", "application/octet-stream"),
        ("kernel-arm64", "application/octet-stream"),
        ("initramfs-amd64.xz", "application/x-xz"),
        ("cmdline-metal-amd64", "application/octet-stream"),
        ("metal-amd64-uki.efi", "application/efi"),
        ("metal-arm64.raw", "application/octet-stream"),
        ("metal-arm64.raw.zst", "application/zstd"),
    ];
    for (path, media_type) in table {
        let address = format!("/image/{id}/1.12.0/{path}");
        // On amd64 the disk of Talos also boots from a BIOS, which is not there yet.
        let head = server.head(&address).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
        assert_eq!(field(&head, "content-type"), media_type, "{path}");
        assert_eq!(field(&head, "content-disposition"), format!("attachment; filename=\"{path}\""));
        assert_eq!(field(&head, "accept-ranges"), "bytes");
        assert!(field(&head, "etag").len() > 60 && !field(&head, "cache-control").is_empty());
    }
    let renamed = format!("/image/{id}/1.12.0/kernel-amd64?filename=custom-filename.iso");
    let response = server.get(&renamed).send().await.unwrap();
    assert_eq!(field(&response, "content-disposition"), "attachment; filename=\"custom-filename.iso\"");
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let (_made, server) = server().await;
    let response = server.get("/image/aaaaaaaaaaaa/v1.12.0/metal-amd64.iso").send().await.unwrap();
    assert_eq!(response.status(), 404);
    let id = registered(&server, "{}").await;
    let response = server.get(&format!("/image/{id}/v1.12.0/metal-amd64.ssd")).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.text().await.unwrap(), "invalid profile path: \"metal-amd64.ssd\"\n");
}

#[tokio::test]
async fn a_checksum_is_what_the_tool_computes() {
    let (_made, server) = server().await;
    let id = registered(&server, "{}").await;
    let dir = tempfile::tempdir().unwrap();
    for asset in ["kernel-amd64", "metal-amd64-uki.efi"] {
        let address = format!("/image/{id}/v1.12.0/{asset}");
        let bytes = server.get(&address).send().await.unwrap().bytes().await.unwrap();
        std::fs::write(dir.path().join(asset), &bytes).unwrap();
        for tool in ["sha256", "sha512"] {
            let response = server.get(&format!("{address}.{tool}")).send().await.unwrap();
            assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
            let name = format!("{asset}.{tool}");
            assert_eq!(field(&response, "content-disposition"), format!("attachment; filename=\"{name}\""));
            let (len, etag) = (field(&response, "content-length"), field(&response, "etag"));
            std::fs::write(dir.path().join(&name), response.bytes().await.unwrap()).unwrap();
            let check =
                Command::new(format!("{tool}sum")).arg("-c").arg(&name).current_dir(dir.path()).output();
            assert!(check.unwrap().status.success(), "{name}");
            let head = server.head(&format!("{address}.{tool}")).send().await.unwrap();
            assert_eq!((field(&head, "content-length"), field(&head, "etag")), (len, etag));
        }
    }
    let renamed =
        server.get(&format!("/image/{id}/v1.12.0/kernel-amd64.sha256?filename=k")).send().await.unwrap();
    assert_eq!(field(&renamed, "content-disposition"), "attachment; filename=\"k.sha256\"");
    assert!(renamed.text().await.unwrap().ends_with("  k\n"));
}

#[tokio::test]
async fn a_lock_and_a_plan_account_for_the_asset() {
    let (_made, server) = server().await;
    let schematic = "customization: {systemExtensions: {officialExtensions: [siderolabs/gvisor]}}";
    let id = registered(&server, schematic).await;
    let address = format!("/image/{id}/v1.12.0/metal-arm64.raw");
    let json = async |path: String| {
        let response = server.get(&path).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &*field(&response, "content-type")),
            (200, "application/json")
        );
        response.json::<Value>().await.unwrap()
    };
    let head = server.head(&address).send().await.unwrap();
    let plan = json(format!("{address}.plan.json")).await;
    assert_eq!(plan["size_bytes"].to_string(), field(&head, "content-length"));
    assert_eq!(plan["etag"], field(&head, "etag"));
    let extents = plan["extents"].as_array().unwrap();
    let sum: u64 = extents.iter().map(|extent| extent["len"].as_u64().unwrap()).sum();
    assert_eq!(plan["size_bytes"], sum);

    let lock = json(format!("{address}.lock.json")).await;
    assert_eq!((&lock["version"], &lock["asset"]), (&"v1.12.0".into(), &"metal-arm64.raw".into()));
    assert_eq!(lock["extensions"][0]["name"], "siderolabs/gvisor");
    let text = lock.to_string();
    for extent in extents.iter().filter(|extent| extent["source"] == "blob") {
        assert!(text.contains(extent["digest"].as_str().unwrap()), "the lock has every digest of the plan");
    }
}
