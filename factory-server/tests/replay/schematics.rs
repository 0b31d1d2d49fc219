//! Schematics that the reference's tests register.

use serde_json::Value;

use crate::common::field;
use crate::server;

/// Schematics and their ids, which the reference computes.
const SCHEMATICS: &[(&str, &str)] = &[
    ("{}", "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"),
    (
        "customization: {extraKernelArgs: [noapic, nolapic]}",
        "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c",
    ),
    (
        "customization: {meta: [{key: 0xa, value: foo}]}",
        "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f",
    ),
    (
        "customization: {secureboot: {includeWellKnownCertificates: true}}",
        "fa8e05f142a851d3ee568eb0a8e5841eaf6b0ebc8df9a63df16ac5ed2c04f3e6",
    ),
    (
        "customization: {diskImage: {sectorSize: 4096}}",
        "92833e9ddd9bb9e11b2464fa5525429f01866306d52ebd882ee08d7918f6d1ea",
    ),
    (
        "overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}",
        "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9",
    ),
    (
        "customization: {extraKernelArgs: [nolapic, nomodeset]}",
        "e0fb1129bbbdfb5d002e94af4cdce712a8370e850950a33a242d4c3f178c532d",
    ),
    (
        "customization: {systemExtensions: {officialExtensions: [siderolabs/amd-ucode, siderolabs/gvisor, \
         siderolabs/gasket-driver]}}",
        "51ff3e49313773332729a5c04e57af0dbe2e6d3f65ff638e6d4c3a05065fefff",
    ),
];

#[tokio::test]
async fn ids_are_the_references() {
    let (_made, server) = server().await;
    for (body, id) in SCHEMATICS {
        let response = server.post(*body).await;
        assert_eq!(response.status(), 201, "{body}");
        let taken: Value = response.json().await.unwrap();
        assert_eq!(taken["id"], *id, "{body}");
        let given = server.get(&format!("/schematics/{id}")).send().await.unwrap();
        assert_eq!(field(&given, "cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(given.text().await.unwrap(), taken["schematic"].as_str().unwrap());
    }
}

#[tokio::test]
async fn what_is_no_schematic_is_refused() {
    let (_made, server) = server().await;
    for (body, says) in [
        ("something:", "something"),
        ("owner: me", "owner field is only supported in Enterprise edition"),
        ("customization: {bootloader: lilo}", "lilo"),
    ] {
        let response = server.post(body).await;
        assert_eq!(response.status(), 400, "{body}");
        let text = response.text().await.unwrap();
        assert!(text.contains(says), "{text}");
    }
    let missing = server.get(&format!("/schematics/{}", "a".repeat(64))).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert!(missing.text().await.unwrap().contains("schematic not found"));
}
