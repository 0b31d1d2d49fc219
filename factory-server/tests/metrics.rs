//! Metrics over HTTP: what is counted, what is not told, and that the list of them is true.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
mod exposition;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use common::{Server, field};
use exposition::Exposition;
use factory_server::{Metrics, Settings, Site};
use imager::{Components, Core, Factory, Origin, Sources};
use remote::{Client, Options};
use support::{Made, SCHEMATIC, VERSION, complete, made, noise};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// 2.3 GB, nearly all zeros: more than any buffer on the way holds.
const LARGE: &str = "metal-arm64.raw";
const IMAGE: &str = "/image/{schematic}/{version}/{path}";

type Labels<'a> = &'a [(&'a str, &'a str)];

/// A server, and where its metrics are.
struct Measured {
    server: Server,
    metrics_url: String,
}

impl Measured {
    async fn over(factory: Factory) -> Self {
        let metrics = Metrics::default();
        let mut site = Site::default();
        site.metrics = metrics.clone();
        let (every, sources) = (Duration::from_hours(1), factory.clone());
        let server = Server::at(factory, site).await;
        tokio::spawn(factory_server::refresh(sources, metrics.clone(), every, every));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics_url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let served =
            factory_server::serve(listener, metrics.routes(), Settings::default(), std::future::pending());
        tokio::spawn(served);
        Self { server, metrics_url }
    }

    async fn text(&self) -> String {
        let response = self.server.client.get(&self.metrics_url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(
            field(&response, "content-type"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        response.text().await.unwrap()
    }

    /// What is exposed once `is_there` holds of it.
    async fn when(&self, is_there: impl Fn(&Exposition) -> bool) -> Exposition {
        for _ in 0..400 {
            let exposition = Exposition::parse(&self.text().await);
            if is_there(&exposition) {
                return exposition;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it does not come: {}", self.text().await);
    }

    /// What is exposed when all requests are over: a client may see the end of an answer first.
    async fn settled(&self) -> Exposition {
        self.when(|exposition| exposition.sum("http_requests_inflight", &[]) == 0).await
    }

    async fn register(&self, schematic: &'static str) -> String {
        let taken: serde_json::Value = self.server.post(schematic).await.json().await.unwrap();
        taken["id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> (u16, u64) {
        let response = self.server.get(path).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().len() as u64)
    }

    /// A client that asks for `path` and reads the beginning of the answer and no more.
    async fn stalled(&self, path: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let authority = self.server.url.strip_prefix("http://").unwrap();
        let mut stream = socket.connect(authority.parse().unwrap()).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut header = [0; 12];
        stream.read_exact(&mut header).await.unwrap();
        assert_eq!(&header, b"HTTP/1.1 200");
        stream
    }
}

/// A source that is not there.
fn nowhere() -> Sources {
    let mut options = Options::default();
    options.tries = 1;
    let origin = Origin {
        registry: "127.0.0.1:1".parse().unwrap(),
        namespace: String::new(),
        client: Client::new(options),
        policy: None,
    };
    Sources { core: Some(Core { origin, components: Components::default() }), ..Sources::default() }
}

async fn measured() -> (Made, Measured) {
    let made = complete();
    let measured = Measured::over(made.factory.clone()).await;
    (made, measured)
}

#[tokio::test]
async fn every_request_is_counted_as_what_it_was() {
    let (_made, it) = measured().await;
    let begin = it.settled().await;
    let id = it.register(SCHEMATIC).await;
    assert_eq!(it.register(SCHEMATIC).await, id);
    assert_eq!(it.get(&format!("/schematics/{id}")).await.0, 200);

    let path = format!("/image/{id}/{VERSION}/initramfs-amd64.xz");
    let (status, len) = it.get(&path).await;
    assert_eq!(status, 200);
    assert_eq!(it.get(&path).await, (200, len));
    let part = it.server.get(&path).header("range", "bytes=5-14").send().await.unwrap();
    assert_eq!(part.bytes().await.unwrap().len(), 10);
    let head = it.server.head(&path).send().await.unwrap();
    let same = it.server.get(&path).header("if-none-match", field(&head, "etag")).send().await.unwrap();
    assert_eq!(same.status(), 304);
    assert_eq!(it.get(&format!("{path}.sha256")).await.0, 200);
    // Refused: no version, no platform, no route, no method.
    assert_eq!(it.get(&format!("/image/{id}/v9.9.9/kernel-amd64")).await.0, 404);
    assert_eq!(it.get(&format!("/image/{id}/{VERSION}/kernel-x")).await.0, 400);
    assert_eq!(it.get("/none").await.0, 404);
    assert_eq!(
        it.server.client.delete(format!("{}/versions", it.server.url)).send().await.unwrap().status(),
        405
    );
    assert_eq!(it.get(&format!("/pxe/{id}/{VERSION}/metal-amd64")).await.0, 200);

    let end = it.settled().await;
    let image: Labels<'_> = &[("talos_version", VERSION), ("output_kind", "initramfs"), ("arch", "amd64")];
    let of_image = |method, code| [("handler", IMAGE), ("method", method), ("code", code)];
    let len_and_part = len + 10;
    let table: &[(&str, Labels<'_>, u64)] = &[
        ("image_factory_schematic_create_total", &[], 1),
        ("image_factory_schematic_duplicate_create_total", &[], 1),
        ("image_factory_schematic_get_total", &[], 10),
        ("image_factory_schematic_cache_size", &[], 0),
        ("image_factory_assets_built_total", image, 1),
        ("image_factory_assets_built_total", &[], 1),
        ("image_factory_assets_delivered_cached_total", image, 5),
        ("image_factory_assets_delivered_cached_total", &[], 5),
        ("image_factory_assets_built_bytes_total", image, len),
        ("image_factory_assets_cached_bytes_total", image, len_and_part),
        ("image_factory_assets_cached_errors_total", &[], 0),
        ("image_factory_assets_concurrency_latency_seconds_count", &[], 6),
        ("image_factory_assets_build_latency_seconds_count", &[], 1),
        ("image_factory_profile_system_extension_hits_total", &[("extension", "siderolabs/tools")], 6),
        ("image_factory_profile_system_extension_hits_total", &[], 18),
        ("http_request_duration_seconds_count", &of_image("GET", "200"), 3),
        ("http_request_duration_seconds_count", &of_image("GET", "206"), 1),
        ("http_request_duration_seconds_count", &of_image("GET", "304"), 1),
        ("http_request_duration_seconds_count", &of_image("GET", "404"), 1),
        ("http_request_duration_seconds_count", &of_image("HEAD", "200"), 1),
        ("http_request_duration_seconds_count", &[("handler", "other"), ("code", "404")], 1),
        (
            "http_request_duration_seconds_count",
            &[("handler", "/versions"), ("method", "DELETE"), ("code", "405")],
            1,
        ),
        ("http_request_duration_seconds_count", &[], 14),
        ("http_response_size_bytes_count", &[], 14),
        ("http_response_size_bytes_sum", &of_image("GET", "206"), 10),
        ("factory_stage_seconds_count", &[("stage", "resolve")], 8),
        ("factory_stage_seconds_count", &[("stage", "plan")], 7),
        ("factory_stage_seconds_count", &[("stage", "stream")], 3),
        ("factory_streamed_bytes_total", &[("output_kind", "initramfs")], len + len_and_part),
        ("factory_streamed_bytes_total", &[], len + len_and_part),
        ("factory_streams_inflight", &[], 0),
        ("factory_streams_ended_early_total", &[], 0),
        ("factory_accept_errors_total", &[], 0),
        ("factory_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 0),
    ];
    for (name, labels, expected) in table {
        assert_eq!(end.sum(name, labels) - begin.sum(name, labels), *expected, "{name} {labels:?}");
    }
    assert_eq!(end.sum("factory_build_info", &[]), 1);
    let head = it.server.client.head(&it.metrics_url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    // Not where everybody is.
    assert_eq!(it.get("/metrics").await.0, 404);
}

#[tokio::test]
async fn nothing_that_a_client_writes_is_exposed() {
    let (_made, it) = measured().await;
    let extended = it
        .register(
            "customization: {systemExtensions: {officialExtensions: [siderolabs/evil, \"evil\\\"}\\n\"]}}",
        )
        .await;
    let overlaid = it.register("overlay: {name: evil, image: siderolabs/evil}").await;
    let plain = it.register("{}").await;
    for path in [
        format!("/image/{extended}/{VERSION}/initramfs-amd64.xz"),
        format!("/image/{overlaid}/{VERSION}/kernel-amd64"),
        format!("/image/{overlaid}/{VERSION}/initramfs-amd64.xz"),
        format!("/image/{plain}/v13.1.0-evil.1/kernel-amd64"),
        format!("/image/{plain}/v13.1.0+evil/kernel-amd64"),
        format!("/image/{plain}/evil%22%7d%201%0aevil/kernel-amd64"),
        format!("/image/{plain}/{VERSION}/kernel-evil"),
        format!("/image/{plain}/{VERSION}/kernel-amd64?filename=evil%0aevil"),
        format!("/image/evil/{VERSION}/kernel-amd64"),
        format!("/pxe/{plain}/{VERSION}/evil-amd64"),
        format!("/talosctl/{VERSION}/evil"),
        "/version/v1.0.0-evil/extensions/official".to_owned(),
        "/evil%0a".to_owned(),
        "/healthz?evil".to_owned(),
    ] {
        let request = it.server.get(&path).header("x-request-id", "evil").header("user-agent", "evil");
        request.send().await.unwrap().bytes().await.unwrap();
    }
    let method = reqwest::Method::from_bytes(b"EVIL").unwrap();
    let url = format!("{}/healthz", it.server.url);
    assert_eq!(it.server.client.request(method, url).send().await.unwrap().status(), 405);
    let end = it.settled().await;
    assert_eq!(end.sum("http_request_duration_seconds_count", &[("method", "other")]), 1);
    assert!(end.sum("http_request_duration_seconds_count", &[]) >= 18);
    let text = it.text().await;
    assert!(!text.to_lowercase().contains("evil"), "{text}");
}

#[tokio::test]
async fn a_client_that_goes_is_told_from_a_store_that_fails() {
    let (_made, it) = measured().await;
    let path = format!("/image/{}/{VERSION}/{LARGE}", it.register("{}").await);
    let stalled = it.stalled(&path).await;
    let running = it.when(|now| now.sum("factory_streams_inflight", &[]) == 1).await;
    assert_eq!(running.sum("http_requests_inflight", &[("handler", IMAGE)]), 1);
    assert_eq!(running.sum("factory_streams_ended_early_total", &[]), 0);
    drop(stalled);
    let end = it.settled().await;
    assert_eq!(end.sum("factory_streams_ended_early_total", &[("reason", "client")]), 1);
    assert_eq!(end.sum("factory_streams_ended_early_total", &[]), 1);
    assert_eq!(end.sum("factory_streams_inflight", &[]), 0);
    assert_eq!(end.sum("image_factory_assets_cached_errors_total", &[]), 0);

    // Before there is an answer.
    let authority = it.server.url.strip_prefix("http://").unwrap();
    let mut half = TcpStream::connect(authority).await.unwrap();
    half.write_all(b"POST /schematics HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    it.when(|now| now.sum("http_requests_inflight", &[("handler", "/schematics")]) == 1).await;
    drop(half);
    let end = it.settled().await;
    let posts = [("handler", "/schematics"), ("method", "POST")];
    assert_eq!(end.sum("http_request_duration_seconds_count", &posts), 2);

    // A blob that changes while it is read.
    let made = made();
    let kernel = noise("kernel", 40 << 20);
    made.imager("v13.1.0", &[("amd64/vmlinuz", &kernel), ("amd64/initramfs.xz", b"initramfs")]);
    let it = Measured::over(made.factory.clone()).await;
    let path = format!("/image/{}/v13.1.0/kernel-amd64", it.register("{}").await);
    let mut stalled = it.stalled(&path).await;
    let blobs = made.store.digests().unwrap();
    let len = kernel.len() as u64;
    let digest = blobs.into_iter().find(|digest| made.store.stat(digest).unwrap() == Some(len)).unwrap();
    let mut blob = std::fs::File::options().write(true).open(made.blob_path(&digest)).unwrap();
    blob.seek(SeekFrom::Start(len - 9)).unwrap();
    blob.write_all(b"x").unwrap();
    drop(blob);
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest).await;
    assert!(rest.len() < kernel.len());
    let end = it.settled().await;
    assert_eq!(end.sum("factory_streams_ended_early_total", &[("reason", "store")]), 1);
    assert_eq!(end.sum("factory_streams_ended_early_total", &[]), 1);
    assert_eq!(end.sum("image_factory_assets_cached_errors_total", &[("output_kind", "kernel")]), 1);
    // And noticed before the next one begins.
    assert_eq!(it.get(&path).await.0, 500);
    let end = it.settled().await;
    assert_eq!(end.sum("image_factory_assets_cached_errors_total", &[]), 2);
    assert_eq!(end.sum("factory_streams_ended_early_total", &[]), 1);
}

#[tokio::test]
async fn the_list_of_metrics_is_true() {
    let made = complete();
    let it = Measured::over(made.factory.clone().with_sources(nowhere())).await;
    it.when(|all| all.families().iter().any(|family| family.name == "factory_source_up")).await;
    let path = format!("/image/{}/{VERSION}/initramfs-amd64.xz", it.register(SCHEMATIC).await);
    for _ in 0..2 {
        assert_eq!(it.get(&path).await.0, 200);
    }
    let mut rows = String::new();
    for family in it.settled().await.families() {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(rows, "| `{}` | {} | {labels} | {} |", family.name, family.kind, family.help).unwrap();
    }
    let page = include_str!("../../docs/metrics.md");
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(listed == rows.lines().collect::<Vec<_>>(), "docs/metrics.md is to list:\n\n{rows}");
}
