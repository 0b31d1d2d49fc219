//! Command-line clients.

use serde_json::Value;

use crate::common::field;
use crate::server;

#[tokio::test]
async fn clients_are_listed_and_downloaded() {
    let (_made, server) = server().await;
    for version in ["1.11.0", "v1.12.0"] {
        let listed: Value =
            server.get(&format!("/talosctl/{version}")).send().await.unwrap().json().await.unwrap();
        let addresses: Vec<&str> = listed.as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let prefix =
            format!("https://factory.example/talosctl/v{}/talosctl-", version.trim_start_matches('v'));
        assert_eq!(addresses.len(), 3);
        assert!(addresses.is_sorted() && addresses.iter().all(|a| a.starts_with(&prefix)), "{addresses:?}");
        for address in addresses {
            let path = address.strip_prefix("https://factory.example").unwrap();
            let head = server.head(path).send().await.unwrap();
            assert_eq!(head.status(), 200);
            let response = server.get(path).send().await.unwrap();
            assert_eq!(field(&response, "content-length"), field(&head, "content-length"));
            assert_eq!(field(&response, "content-type"), "application/octet-stream");
            assert!(field(&response, "content-disposition").starts_with("attachment; filename=\"talosctl-"));
            assert!(response.text().await.unwrap().starts_with("for "));
        }
    }
}

#[tokio::test]
async fn versions_without_clients_have_none() {
    let (_made, server) = server().await;
    for version in ["1.10.2", "1.7.0"] {
        let listed: Value =
            server.get(&format!("/talosctl/{version}")).send().await.unwrap().json().await.unwrap();
        assert_eq!(listed, serde_json::json!([]));
        let path = format!("/talosctl/{version}/talosctl-linux-amd64");
        let response = server.get(&path).send().await.unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.text().await.unwrap(), format!("version {version} is not available\n"));
        // In the word that every other path has for it.
        let response = server.get(&path).header("accept", "application/problem+json").send().await.unwrap();
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["reason"], "version-not-available");
    }
    assert_eq!(server.get("/talosctl/1.13.0").send().await.unwrap().status(), 404);
    let response = server.get("/talosctl/1.11.0/talosctl-plan9-mips").send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("`talosctl-linux-amd64`"));
}
