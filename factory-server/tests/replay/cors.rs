//! Pages of other sites.

use reqwest::Method;

use crate::common::field;
use crate::{EMPTY, registered, server};

#[tokio::test]
async fn downloads_may_be_read_by_other_pages() {
    let (_made, server) = server().await;
    registered(&server, "{}").await;
    let url = format!("{}/image/{EMPTY}/v1.12.0/metal-amd64-uki.efi", server.url);
    for method in [Method::GET, Method::HEAD] {
        let response = server
            .client
            .request(method, &url)
            .header("origin", "https://page.example")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let origin = field(&response, "access-control-allow-origin");
        assert!(["*", "https://page.example"].contains(&&*origin), "{origin}");
        let exposed = field(&response, "access-control-expose-headers").to_ascii_lowercase();
        for name in ["content-disposition", "content-length", "content-type"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
    let preflight = |method: &'static str| {
        let request = server.client.request(Method::OPTIONS, &url).header("origin", "https://page.example");
        request
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "cache-control")
            .send()
    };
    let response = preflight("GET").await.unwrap();
    assert!(response.status().is_success());
    assert_eq!(field(&response, "access-control-allow-methods"), "GET");
    assert!(field(&response, "access-control-allow-headers").contains("cache-control"));
    assert_ne!(field(&response, "access-control-allow-origin"), "");
    let response = preflight("POST").await.unwrap();
    assert_eq!(field(&response, "access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_page_cannot_register_a_schematic() {
    let (_made, server) = server().await;
    let request =
        server.client.post(format!("{}/schematics", server.url)).header("origin", "https://page.example");
    let response = request.body("{}").send().await.unwrap();
    assert_eq!(response.status(), 201, "a browser asks first; others need no leave");
    assert_eq!(field(&response, "access-control-allow-origin"), "");
}
