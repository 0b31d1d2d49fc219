//! The conformance suite of the distribution specification, against installer images and against source images.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::process::{Command, Output};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, put};
use bytes::Bytes;
use common::Server;
use cosign::{SigningKey, referrers_tag};
use extent::Digest;
use factory_server::Site;
use oci_spec::image::MediaType;
use serde_json::{Value, json};
use store::Store;
use support::{Made, SCHEMATIC, VERSION, complete};
use tokio::net::TcpListener;

/// What the suite says when all that it was asked for passed: the number of specs that did.
fn passed(output: &Output) -> u32 {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said.lines().find(|line| line.contains(" Passed |")).unwrap();
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
}

async fn run(mut command: Command, url: &str, namespace: &str) -> Output {
    command.arg("-ginkgo.no-color").env("NO_PROXY", "*").env("OCI_REPORT_DIR", "none");
    command.env("OCI_ROOT_URL", url).env("OCI_NAMESPACE", namespace);
    command.env("OCI_TEST_PULL", "1").env("OCI_TEST_CONTENT_DISCOVERY", "1");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn factory() -> (Made, Server) {
    let made = complete();
    let mut site = Site::default();
    site.signer = Some(Arc::new(SigningKey::generate().unwrap()));
    let server = Server::at(made.factory.clone(), site).await;
    (made, server)
}

/// Of installer images, which nobody pushes, the suite cannot have referrers that it knows: it asks for five of one manifest
/// with annotations of its own, and for one of a manifest that is not there. Those three specs pass below.
const OWN_REFERRERS: &str = "listing references. GET request to (existing blob|missing manifest)";

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_for_pull_and_discovery_of_installer_images() {
    let Some(suite) = ci::tool("conformance") else { return };
    let (made, server) = factory().await;
    // It asks for the tag in the middle of the list.
    for version in ["v13.0.7", "v13.0.8", "v13.0.9"] {
        made.tag("siderolabs/imager", version, &made.manifest(imager::Arch::Amd64, &[]));
    }
    let taken: Value = server.post(SCHEMATIC).await.json().await.unwrap();
    let name = format!("installer/{}", taken["id"].as_str().unwrap());
    // It wants a tag of a manifest, and the digest of the same.
    let tag = format!("{VERSION}-amd64");
    let response = server.get(&format!("/v2/{name}/manifests/{tag}")).send().await.unwrap();
    let digest = common::field(&response, "docker-content-digest");
    let manifest: Value = response.json().await.unwrap();
    let mut command = Command::new(suite);
    command.current_dir(made.dir.path()).args(["-ginkgo.skip", OWN_REFERRERS]);
    command.env("OCI_TAG_NAME", tag).env("OCI_TAG_LIST", VERSION).env("OCI_MANIFEST_DIGEST", digest);
    command.env("OCI_BLOB_DIGEST", manifest["config"]["digest"].as_str().unwrap());
    let output = run(command, &server.url, &name).await;
    // It did look: requests of pulls and lists, and none of pushes.
    assert!(passed(&output) >= 17, "{}", String::from_utf8_lossy(&output.stdout));
}

/// Nothing is left out here: what the suite pushes goes into the store, as a client publishes where a registry lists no
/// referrers, and what it reads comes from the factory.
#[tokio::test(flavor = "multi_thread")]
async fn it_passes_for_pull_and_discovery_of_source_images() {
    let Some(suite) = ci::tool("conformance") else { return };
    let (made, server) = factory().await;
    let publisher = Publisher {
        store: made.store.clone(),
        factory: server.url.clone(),
        client: reqwest::Client::builder().no_proxy().build().unwrap(),
    };
    let routes = Router::new()
        .route("/v2/siderolabs/suite/blobs/uploads/", any(begin_upload))
        .route("/upload", put(upload))
        .route("/v2/siderolabs/suite/manifests/{reference}", put(publish).fallback(read))
        .fallback(read)
        .with_state(Arc::new(publisher));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    let mut command = Command::new(suite);
    command.current_dir(made.dir.path());
    let output = run(command, &url, "siderolabs/suite").await;
    serving.abort();
    assert!(passed(&output) >= 38, "{}", String::from_utf8_lossy(&output.stdout));
    let listed = made.store.tags("siderolabs/suite").unwrap();
    assert!(listed.iter().any(|tag| tag.starts_with("sha256-")), "it published referrers: {listed:?}");
}

/// Writes into the store what is pushed, and hands every question on to the factory.
struct Publisher {
    store: Store,
    factory: String,
    client: reqwest::Client,
}

async fn begin_upload() -> Response {
    (StatusCode::ACCEPTED, [("location", "/upload")]).into_response()
}

async fn upload(
    State(publisher): State<Arc<Publisher>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let expected: Digest = query["digest"].parse().unwrap();
    publisher.store.put_expected(&body[..], expected).unwrap();
    (StatusCode::CREATED, [("location", format!("/v2/siderolabs/suite/blobs/{expected}"))]).into_response()
}

/// Keeps a manifest. Where it has a subject, the list of that one's referrers grows.
///
/// Source: OCI distribution specification 1.1, pushing manifests with subject.
async fn publish(
    State(publisher): State<Arc<Publisher>>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let store = &publisher.store;
    let media_type = MediaType::from(headers["content-type"].to_str().unwrap());
    let descriptor = store.put_bytes(&body).unwrap();
    let digest = descriptor.digest;
    if !reference.contains(':') {
        store.tag("siderolabs/suite", &reference, &descriptor.oci(media_type.clone())).unwrap();
    }
    let manifest: Value = serde_json::from_slice(&body).unwrap();
    let location = ("location", format!("/v2/siderolabs/suite/manifests/{digest}"));
    let Some(subject) = manifest["subject"]["digest"].as_str() else {
        return (StatusCode::CREATED, [location]).into_response();
    };
    let tag = referrers_tag(&subject.parse().unwrap());
    let mut index = match store.resolve_tag("siderolabs/suite", &tag).unwrap() {
        Some(kept) => {
            let kept = store.bytes(&kept.digest().to_string().parse().unwrap(), 1 << 20).unwrap();
            serde_json::from_slice(&kept).unwrap()
        }
        None => json!({ "schemaVersion": 2, "mediaType": MediaType::ImageIndex, "manifests": [] }),
    };
    let artifact_type = manifest.get("artifactType").unwrap_or(&manifest["config"]["mediaType"]);
    index["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": media_type.to_string(),
        "digest": digest.to_string(),
        "size": body.len(),
        "artifactType": artifact_type,
        "annotations": manifest["annotations"],
    }));
    let listed = store.put_bytes(index.to_string().as_bytes()).unwrap();
    store.tag("siderolabs/suite", &tag, &listed.oci(MediaType::ImageIndex)).unwrap();
    (StatusCode::CREATED, [location, ("oci-subject", subject.to_owned())]).into_response()
}

async fn read(State(publisher): State<Arc<Publisher>>, request: Request) -> Response {
    let url = format!("{}{}", publisher.factory, request.uri());
    let mut headers = request.headers().clone();
    headers.remove(HeaderName::from_static("host"));
    let answer = publisher.client.request(request.method().clone(), url).headers(headers);
    let answer = answer.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
