//! The description of the interface.

use serde_json::Value;

use crate::server;

#[tokio::test]
async fn the_description_has_every_endpoint() {
    let (_made, server) = server().await;
    let document: Value = server.get("/openapi.json").send().await.unwrap().json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/healthz",
            "/image/{schematic}/{version}/{path}",
            "/oci/cosign/signing-key.pub",
            "/pxe/{schematic}/{version}/{path}",
            "/readyz",
            "/schematics",
            "/schematics/{id}",
            "/secureboot/signing-cert.pem",
            "/talosctl/{version}",
            "/talosctl/{version}/{path}",
            "/version/{version}/extensions/official",
            "/version/{version}/overlays/official",
            "/versions",
        ]
    );
    // Sources and full disks, which no run against a description comes upon.
    let answers = &document["paths"]["/image/{schematic}/{version}/{path}"]["get"]["responses"];
    for status in ["400", "404", "500", "501", "502", "503", "507"] {
        assert!(answers[status]["description"].is_string(), "{status}");
    }
    let page = server.get("/api").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("/openapi.json"));
}
