//! What every client sees first.

use serde_json::Value;

use crate::common::field;
use crate::server;

#[tokio::test]
async fn the_server_names_itself() {
    let (_made, server) = server().await;
    let response = server.head("/").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let name = field(&response, "server");
    assert!(name.contains("Image Factory") && !name.contains("Enterprise"), "{name}");
}

#[tokio::test]
async fn documents_of_the_site_are_there() {
    let (_made, server) = server().await;
    let table = [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/llms.txt", "text/plain; charset=utf-8", "# Image Factory"),
        ("/secureboot/signing-cert.pem", "application/x-pem-file", "-----BEGIN CERTIFICATE-----\n"),
        ("/healthz", "", ""),
        ("/readyz", "", ""),
    ];
    for (path, media_type, begins) in table {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            let request = server.client.request(method.clone(), format!("{}{path}", server.url));
            let response = request.send().await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &*field(&response, "content-type")),
                (200, media_type),
                "{path}"
            );
            if method == reqwest::Method::GET {
                assert!(response.text().await.unwrap().starts_with(begins), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn slashes_too_many_are_taken_out() {
    let (_made, server) = server().await;
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (method, path, status, to) in [
        ("GET", "/versions/", 301, "/versions"),
        ("HEAD", "//versions?broken=true", 301, "/versions?broken=true"),
        ("POST", "/schematics/", 308, "/schematics"),
        ("GET", "//other.example//a", 301, "/other.example/a"),
        ("GET", "/nowhere", 404, ""),
        ("GET", "//", 404, ""),
        ("GET", "/VERSIONS", 404, ""),
        ("GET", "/ui/wizard", 404, ""),
    ] {
        let request = client.request(method.parse().unwrap(), format!("{}{path}", server.url));
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), field(&response, "location").as_str()),
            (status, to),
            "{path}"
        );
    }
    // What is sent again has its body.
    let url = format!("{}/schematics/", server.url);
    assert_eq!(server.client.post(url).body("{}").send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn who_cannot_read_the_store_is_not_ready() {
    let (made, server) = server().await;
    assert_eq!(server.get("/readyz").send().await.unwrap().status(), 200);
    std::fs::write(made.dir.path().join("store/index.json"), "{").unwrap();
    let response = server.get("/readyz").send().await.unwrap();
    assert_eq!((response.status().as_u16(), field(&response, "retry-after").as_str()), (503, "30"));
    let text = response.text().await.unwrap();
    assert!(text.starts_with("the store cannot be read\nrequest id: "), "{text}");
    assert_eq!(server.get("/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn errors_have_the_form_that_is_asked_for() {
    let (_made, server) = server().await;
    let id = crate::registered(&server, "{}").await;
    let table = [
        ("/nowhere".to_owned(), 404, "not-found", "404 page not found"),
        (
            format!("/image/{}/v1.11.0/kernel-amd64", "a".repeat(64)),
            404,
            "schematic-not-found",
            "schematic not found",
        ),
        (
            format!("/image/{id}/v9.9.9/kernel-amd64"),
            404,
            "version-not-available",
            "version 9.9.9 is not available",
        ),
        (format!("/image/{id}/foo/kernel-amd64"), 400, "invalid-version", "invalid version \"foo\""),
        (format!("/image/{id}/v1.11.0/kernel-foo"), 400, "invalid-asset", "invalid architecture: \"foo\""),
        (
            format!("/image/{id}/v1.11.0/metal-amd64.ssd"),
            400,
            "invalid-asset",
            "invalid profile path: \"metal-amd64.ssd\"",
        ),
        (format!("/image/{id}/v1.12.0/metal-amd64.ova"), 501, "not-implemented", "is not there yet"),
        (format!("/image/{id}/v1.12.0/kernel-amd64.sigstore.json"), 404, "not-found", "signs nothing"),
    ];
    for (path, status, reason, says) in table {
        let response = server.get(&path).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
        assert_eq!(field(&response, "cache-control"), "no-store");
        let text = response.text().await.unwrap();
        assert!(text.contains(says) && text.ends_with('\n'), "{path}: {text}");

        let request =
            server.get(&path).header("accept", "application/problem+json").header("x-request-id", "me-1");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(field(&response, "content-type"), "application/problem+json");
        assert_eq!(field(&response, "x-request-id"), "me-1");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(
            (problem["status"].as_u64(), problem["reason"].as_str()),
            (Some(status.into()), Some(reason))
        );
        assert_eq!(problem["request_id"], "me-1");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
}

#[tokio::test]
async fn a_factory_without_a_certificate_says_so() {
    let made = crate::made();
    let server = crate::Server::over(made.factory.clone()).await;
    let response = server.get("/secureboot/signing-cert.pem").send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("secure boot is disabled"));
    let response = server.get("/oci/cosign/signing-key.pub").send().await.unwrap();
    assert_eq!(response.status(), 404);
}
