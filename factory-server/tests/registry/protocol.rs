//! Lists and errors: what every client of registries reads.

use serde_json::{Value, json};

use crate::common::field;
use crate::registry;
use crate::support::VERSION;

#[tokio::test]
async fn tags_are_the_versions_a_page_at_a_time() {
    let registry = registry().await;
    for version in ["v13.0.9", "v13.2.0-alpha.0"] {
        let manifest = registry.made.manifest(imager::Arch::Amd64, &[]);
        registry.made.tag("siderolabs/imager", version, &manifest);
    }
    let name = registry.base.trim_start_matches("/v2/").to_owned();
    let list = async |query: &str| {
        let response =
            registry.server.get(&format!("{}/tags/list{query}", registry.base)).send().await.unwrap();
        let link = field(&response, "link");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["name"], name);
        (body["tags"].clone(), link)
    };
    let all = json!(["v13.0.9", VERSION, "v13.2.0-alpha.0"]);
    assert_eq!(list("").await, (all, String::new()));
    let next = format!("</v2/{name}/tags/list?n=2&last={VERSION}>; rel=\"next\"");
    assert_eq!(list("?n=2").await, (json!(["v13.0.9", VERSION]), next));
    assert_eq!(list(&format!("?n=2&last={VERSION}")).await, (json!(["v13.2.0-alpha.0"]), String::new()));
    assert_eq!(list("?n=0").await, (json!([]), String::new()));
    // `latest` is a release.
    let latest = registry.get(&format!("{}/manifests/latest", registry.base)).await.2;
    assert_eq!(latest, registry.get(&format!("{}/manifests/{VERSION}", registry.base)).await.2);
}

#[tokio::test]
async fn errors_have_the_form_and_the_codes_of_the_specification() {
    let registry = registry().await;
    let base = &registry.base;
    let absent = format!("sha256:{}", "a".repeat(64));
    for (path, status, code) in [
        (format!("{base}/manifests/v9.9.9"), 404, "MANIFEST_UNKNOWN"),
        (format!("{base}/manifests/newest"), 404, "MANIFEST_UNKNOWN"),
        (format!("{base}/manifests/{absent}"), 404, "MANIFEST_UNKNOWN"),
        (format!("{base}/blobs/{absent}"), 404, "BLOB_UNKNOWN"),
        (format!("{base}/blobs/sha256:abc"), 400, "DIGEST_INVALID"),
        (format!("{base}-x/manifests/{VERSION}"), 404, "NAME_UNKNOWN"),
        (format!("/v2/installer/{}/manifests/{VERSION}", "a".repeat(64)), 404, "NAME_UNKNOWN"),
        (base.replace("installer", "moon-installer") + "/manifests/latest", 400, "NAME_INVALID"),
        (base.replace("installer", "installer-secureboot") + "/manifests/latest", 501, "UNSUPPORTED"),
        (format!("/v2/siderolabs/none/manifests/{VERSION}"), 404, "NAME_UNKNOWN"),
        (format!("/v2/siderolabs/imager/blobs/{absent}"), 404, "BLOB_UNKNOWN"),
        ("/v2/_catalog".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/A/b/manifests/x".to_owned(), 400, "NAME_INVALID"),
        // What is no text at all.
        ("/v2/%FF/manifests/x".to_owned(), 400, "NAME_INVALID"),
        ("/v2/%ff".to_owned(), 400, "NAME_INVALID"),
    ] {
        assert_eq!(registry.error(&path).await, (status, code.to_owned()), "{path}");
    }
    let put = registry.server.client.put(format!("{}{base}/manifests/x", registry.server.url)).body("{}");
    assert_eq!(put.send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_number_of_tags_that_is_none_is_said_to_be_none() {
    let registry = registry().await;
    let list = format!("{}/tags/list", registry.base);
    for query in ["n=x", "n=-1", "n=1.5", "n=", "n=99999999999999999999", "n=x&n=1"] {
        let response = registry.server.get(&format!("{list}?{query}")).send().await.unwrap();
        assert_eq!(response.status(), 400, "{query}");
        let body: Value = response.json().await.unwrap();
        let error = &body["errors"][0];
        assert_eq!(error["code"], "PAGINATION_NUMBER_INVALID", "{query}");
        let text = error["message"].as_str().unwrap();
        assert!(text.contains("`n`") && text.contains("as `?n=100`"), "{query}: {text}");
    }
    // The first counts, and where nothing is listed none does.
    for path in
        [format!("{list}?n=1&n=x"), format!("{}/manifests/{VERSION}?n=x&last=a&last=b", registry.base)]
    {
        assert_eq!(registry.server.get(&path).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn lists_are_asked_for_again_cheaply_and_in_parts() {
    let registry = registry().await;
    let index = registry.get(&format!("{}/manifests/{VERSION}", registry.base)).await.2;
    for path in ["tags/list".to_owned(), format!("referrers/{index}?artifactType=a/b")] {
        let path = format!("{}/{path}", registry.base);
        let ask = async |name: &str, value: &str| {
            registry.server.get(&path).header(name, value).send().await.unwrap()
        };
        let whole = registry.server.get(&path).send().await.unwrap();
        let etag = field(&whole, "etag");
        let body = whole.bytes().await.unwrap();
        let same = ask("if-none-match", &etag).await;
        assert_eq!((same.status().as_u16(), field(&same, "etag")), (304, etag), "{path}");
        assert_eq!(field(&same, "docker-distribution-api-version"), "registry/2.0");
        assert_eq!(same.bytes().await.unwrap().len(), 0);
        assert_eq!(ask("if-match", "\"another\"").await.status(), 412, "{path}");
        let part = ask("range", "bytes=1-9").await;
        let range = format!("bytes 1-9/{}", body.len());
        assert_eq!((part.status().as_u16(), field(&part, "content-range")), (206, range), "{path}");
        assert_eq!(part.bytes().await.unwrap(), body[1..10]);
        let head = registry.server.head(&path).send().await.unwrap();
        assert_eq!(field(&head, "content-length"), body.len().to_string());
    }
}
