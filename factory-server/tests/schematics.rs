//! Schematics over HTTP, and what every answer has.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Server, field};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const EMPTY_ID: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

#[tokio::test]
async fn a_schematic_is_taken_once_and_given_back_canonical() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    for body in ["{}", "customization: {}\n", r#"{"customization":{"meta":[]}}"#] {
        let response = server.post(body).await;
        assert_eq!(response.status(), 201);
        assert_eq!(field(&response, "content-type"), "application/json");
        let taken: Value = response.json().await.unwrap();
        assert_eq!(taken, serde_json::json!({"id": EMPTY_ID, "schematic": "customization: {}\n"}));
    }
    assert_eq!(server.store.digests().unwrap().len(), 1);

    let path = format!("/schematics/{EMPTY_ID}");
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "content-type"), "application/yaml");
    assert_eq!(field(&response, "content-length"), "18");
    let etag = field(&response, "etag");
    assert_eq!(etag, format!("\"{EMPTY_ID}\""));
    assert_eq!(response.text().await.unwrap(), "customization: {}\n");
    let response = server.get(&path).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(response.status(), 304);
    assert_eq!(field(&response, "etag"), etag);
    assert_eq!(response.headers().get("content-length"), None);
    let head = server.head(&path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), field(&head, "content-length").as_str()), (200, "18"));
}

#[tokio::test]
async fn a_bad_schematic_is_refused_with_its_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let table = [
        ("customization:\n    extraKernelArg: []\n", "line 2, column 5", "extraKernelArgs"),
        ("customization: [", "line 1", ""),
        ("", "no YAML document", ""),
        ("owner: me\n", "owner field is only supported in Enterprise edition", ""),
        ("a\u{1b}[2Jb: 1", "line 1", ""),
    ];
    for (body, says, names) in table {
        let response = server.post(body).await;
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
        let text = response.text().await.unwrap();
        assert!(text.contains(says) && text.contains(names), "{text}");
        assert!(text.ends_with('\n') && !text.trim_end().contains(char::is_control), "{text:?}");
    }
    assert_eq!(server.store.digests().unwrap().len(), 0);
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let body = |len: usize| format!("{{}}{}", " ".repeat(len - 2));
    assert_eq!(server.post(body(1 << 20)).await.status(), 201);
    let response = server.post(body((1 << 20) + 1)).await;
    assert_eq!(response.status(), 413);
    assert_eq!(response.text().await.unwrap(), "a schematic has at most 1048576 bytes\n");
    // Without a length said beforehand, too.
    let pieces = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
    let response = server.post(reqwest::Body::wrap_stream(futures::stream::iter(pieces))).await;
    assert_eq!(response.status(), 413);
    // Who asks before sending it is not told to go on.
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head =
        "POST /schematics HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn what_is_no_schematic_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    // A blob that is none, one that is one but not canonical, and one that is too long.
    for bytes in [b"\x7fELF".to_vec(), b"{}".to_vec(), vec![b' '; 2 << 20]] {
        let id = server.store.put_bytes(&bytes).unwrap().digest.hex();
        let response = server.get(&format!("/schematics/{id}")).send().await.unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.text().await.unwrap(), "schematic not found\n");
    }
    for id in ["x", &EMPTY_ID.to_uppercase(), &EMPTY_ID[1..], "..%2f..%2fetc", "%00", "%ff"] {
        let response = server.get(&format!("/schematics/{id}")).send().await.unwrap();
        assert!([400, 404].contains(&response.status().as_u16()), "{id}");
        assert!(!response.text().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_corrupt_schematic_is_a_fault_of_the_server_that_says_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.post("{}").await;
    let blob = dir.path().join("blobs/sha256").join(EMPTY_ID);
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(blob, "customization: []\n").unwrap();
    let response = server.get(&format!("/schematics/{EMPTY_ID}")).send().await.unwrap();
    assert_eq!(response.status(), 500);
    let id = field(&response, "x-request-id");
    assert_eq!(response.text().await.unwrap(), format!("internal server error\nrequest id: {id}\n"));
    // Whoever brings it again mends it.
    assert_eq!(server.post("{}").await.status(), 201);
    assert_eq!(server.get(&format!("/schematics/{EMPTY_ID}")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_answer_has_an_id_and_names_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    for path in ["/healthz", "/nowhere", "/schematics", "/schematics/x"] {
        let response = server.get(path).send().await.unwrap();
        assert!(field(&response, "server").starts_with("Image Factory v"), "{path}");
        assert_eq!(field(&response, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(field(&response, "x-request-id").len(), 36, "{path}");
    }
    let echoed = |id: &'static str| {
        let request = server.get("/healthz").header("x-request-id", id).send();
        async move { field(&request.await.unwrap(), "x-request-id") }
    };
    assert_eq!(echoed("trace-7/a:b").await, "trace-7/a:b");
    assert_eq!(echoed("two words").await.len(), 36);
    assert_eq!(echoed("").await.len(), 36);
    let response = server.get("/nowhere").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.text().await.unwrap().as_str()),
        (404, "404 page not found\n")
    );
    let response = server.get("/schematics").send().await.unwrap();
    assert_eq!((response.status().as_u16(), field(&response, "allow").as_str()), (405, "POST"));
}

#[tokio::test]
async fn it_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.post("{}").await;
    tokio::time::timeout(Duration::from_secs(5), server.stop()).await.unwrap().unwrap();
}
