//! Clients that are slow, broken or hostile, and an end in the middle of it all: the server goes on, or ends well.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::Server;
use factory_server::{Settings, Site};
use support::{Made, VERSION, complete, made, noise};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const EMPTY: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
/// 2.3 GB, nearly all zeros: more than any buffer on the way holds.
const LARGE: &str = "metal-arm64.raw";

/// A server with these settings, over a store with a version and the empty schematic.
async fn server(settings: Settings) -> (Made, Server) {
    let made = complete();
    let server = Server::with(made.factory.clone(), Site::default(), settings).await;
    server.post("{}").await;
    (made, server)
}

/// The same, with an initramfs of 24 MiB: more than the buffers on the way hold.
async fn server_of_more(settings: Settings) -> (Made, Server) {
    let made = made();
    made.complete(&noise("initramfs", 24 << 20));
    let server = Server::with(made.factory.clone(), Site::default(), settings).await;
    server.post("{}").await;
    (made, server)
}

fn path(asset: &str) -> String {
    format!("/image/{EMPTY}/{VERSION}/{asset}")
}

fn authority(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

/// What the server answers to these bytes, until it closes the connection or has no more to say for two seconds.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(authority(server)).await.unwrap();
    // It may close before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let patience = Duration::from_secs(if answer.is_empty() { 20 } else { 2 });
        match tokio::time::timeout(patience, stream.read(&mut chunk)).await {
            Ok(Ok(len @ 1..)) => answer.extend_from_slice(&chunk[..len]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn is_well(server: &Server) -> bool {
    server.get("/healthz").send().await.unwrap().status() == 200
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_next_is_answered() {
    let (_made, server) = server(Settings::default()).await;
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000));
    let long_header = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    let many_headers = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(500));
    let table: &[(&[u8], &[&str])] = &[
        (b"\0\0\0\0\r\n\r\n", &["HTTP/1.1 400"]),
        (b"hello\r\n\r\n", &["HTTP/1.1 400"]),
        (b"GET /healthz HTTP/9.9\r\n\r\n", &["HTTP/1.1 400"]),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", &["HTTP/1.1 400"]),
        (b"POST /schematics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", &["HTTP/1.1 400"]),
        (b"POST /schematics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", &["HTTP/1.1 400"]),
        (b"POST /schematics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", &["HTTP/1.1 400"]),
        // Length and chunks: one request, closed after it, or none (RFC 9112, section 6.1).
        (
            b"POST /schematics HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n",
            &["HTTP/1.1 400"],
        ),
        (long_path.as_bytes(), &["HTTP/1.1 414", "HTTP/1.1 431"]),
        (long_header.as_bytes(), &["HTTP/1.1 431"]),
        (many_headers.as_bytes(), &["HTTP/1.1 431"]),
    ];
    for (request, expected) in table {
        let answer = raw(&server, request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        assert!(expected.iter().any(|status| answer.starts_with(status)), "{shown:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answer}");
        assert!(is_well(&server).await);
    }
}

#[tokio::test]
async fn a_header_that_does_not_end_is_given_up() {
    let mut settings = Settings::default();
    settings.header_timeout = Duration::from_millis(300);
    let (_made, server) = server(settings).await;
    let begun = Instant::now();
    let mut stream = TcpStream::connect(authority(&server)).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let ended = async {
        // A byte now and then, as slow attackers do.
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stream.write_all(b"a").await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the connection is closed");
    assert!(begun.elapsed() >= Duration::from_millis(250));
    assert!(is_well(&server).await);
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let made = complete();
    let mut site = Site::default();
    site.body_timeout = Duration::from_millis(300);
    let server = Server::at(made.factory.clone(), site).await;
    let mut stream = TcpStream::connect(authority(&server)).await.unwrap();
    let header = "POST /schematics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    stream.write_all(header.as_bytes()).await.unwrap();
    let (mut answers, mut sends) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while sends.write_all(b"#").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = [0; 12];
    let read = answers.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer comes").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    // It is not waited for either.
    tokio::time::timeout(Duration::from_secs(20), trickle).await.expect("the connection is closed").unwrap();
    assert!(is_well(&server).await);
}

#[tokio::test]
async fn a_client_that_says_nothing_gives_its_place_up() {
    let mut settings = Settings::default();
    settings.header_timeout = Duration::from_millis(300);
    let (_made, server) = server(settings).await;
    // Nothing, a beginning that either protocol may have, a preface that stops.
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(authority(&server)).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let rest = stream.read_to_end(&mut rest);
        // Closed or reset: either gives the place up.
        let _ = tokio::time::timeout(Duration::from_secs(20), rest).await.expect("the connection is closed");
        assert!(begun.elapsed() >= Duration::from_millis(250), "{said:?}");
    }
    assert!(is_well(&server).await);
}

#[tokio::test]
async fn no_string_of_a_schematic_or_a_query_makes_a_header_field_or_an_ipxe_line() {
    let (_made, server) = server(Settings::default()).await;
    let hostile = "a\r\nSet-Cookie: x=1\r\n\r\nchain http://evil/";
    let text = serde_json::to_string(hostile).unwrap();
    let bodies = [
        format!("owner: {text}"),
        format!("overlay: {{name: {text}}}"),
        format!("overlay: {{image: {text}}}"),
        format!("customization: {{extraKernelArgs: [{text}]}}"),
        format!("customization: {{meta: [{{key: 10, value: {text}}}]}}"),
        format!("customization: {{systemExtensions: {{officialExtensions: [{text}]}}}}"),
        format!("{text}: 1"),
    ];
    let mut taken = Vec::new();
    for body in bodies {
        let response = server.post(body.clone()).await;
        assert!(matches!(response.status().as_u16(), 201 | 400), "{body}: {}", response.status());
        assert!(!response.headers().contains_key("set-cookie"), "{body}");
        if response.status() == 201 {
            let text = response.text().await.unwrap();
            let id = text.split('"').find(|word| word.len() == 64).expect("an id").to_owned();
            taken.push(id);
        }
    }
    assert!(!taken.is_empty());
    for id in &taken {
        for path in [
            format!("/schematics/{id}"),
            format!("/image/{id}/{VERSION}/metal-amd64-uki.efi"),
            format!("/image/{id}/{VERSION}/cmdline-metal-amd64"),
            format!("/pxe/{id}/{VERSION}/metal-amd64"),
        ] {
            let response = server.get(&path).send().await.unwrap();
            // 501: overlays are not there yet.
            let status = response.status().as_u16();
            assert!(status < 500 || status == 501, "{path}: {status}");
            assert!(!response.headers().contains_key("set-cookie"), "{path}");
            if path.starts_with("/pxe/") {
                let script = response.text().await.unwrap();
                assert!(!script.lines().any(|line| line.starts_with("chain")), "{script}");
            }
        }
    }
    let query = "?filename=a%0d%0aSet-Cookie:%20x=1%0d%0a%0d%0a%22%00";
    let response = server.head(&format!("{}{query}", path("kernel-amd64"))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("set-cookie"));
    assert!(
        common::field(&response, "content-disposition").starts_with("attachment; filename=\"a__Set-Cookie")
    );
    assert!(is_well(&server).await);
}

/// A client that asks for [`LARGE`] and reads the header of the answer and no more.
async fn stalled(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(authority(server).parse().unwrap()).await.unwrap();
    stream.write_all(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path(LARGE)).as_bytes()).await.unwrap();
    let mut header = [0; 12];
    stream.read_exact(&mut header).await.unwrap();
    assert_eq!(&header, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_others_go_on() {
    let mut settings = Settings::default();
    settings.send_timeout = Duration::from_millis(500);
    let (_made, server) = server_of_more(settings).await;
    let mut stream = stalled(&server).await;
    // Somebody else downloads meanwhile, slowly but surely.
    let mut other = server.get(&path("metal-amd64-uki.efi")).send().await.unwrap();
    assert_eq!(other.status(), 200);
    let len = other.content_length().unwrap();
    let (begun, mut taken) = (Instant::now(), 0);
    while let Some(chunk) = other.chunk().await.unwrap() {
        taken += chunk.len() as u64;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(taken, len);
    tokio::time::sleep(Duration::from_secs(3).saturating_sub(begun.elapsed())).await;
    // What the kernels hold is all there is to read; then the connection is over.
    let rest = async {
        let mut chunk = vec![0; 1 << 20];
        let mut sum = 0;
        while let Ok(len @ 1..) = stream.read(&mut chunk).await {
            sum += len;
        }
        sum
    };
    let len = tokio::time::timeout(Duration::from_secs(20), rest).await.expect("the connection is closed");
    assert!(len < 64 << 20, "{len} bytes came");
    assert!(is_well(&server).await);
}

#[tokio::test]
async fn a_stop_lets_downloads_end_and_takes_no_more() {
    let (_made, server) = server_of_more(Settings::default()).await;
    let whole = server.get(&path("metal-amd64-uki.efi")).send().await.unwrap().bytes().await.unwrap();
    let running = server.get(&path("metal-amd64-uki.efi")).send().await.unwrap();
    let authority = authority(&server).to_owned();
    let stopped = tokio::spawn(server.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(&authority).await.is_err(), "no new connections");
    assert!(running.bytes().await.unwrap() == whole, "the running download ends");
    tokio::time::timeout(Duration::from_secs(10), stopped).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_cuts_downloads_that_take_too_long() {
    let mut settings = Settings::default();
    settings.drain = Duration::from_millis(300);
    let (_made, server) = server(settings).await;
    let _stalled = stalled(&server).await;
    let begun = Instant::now();
    server.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn who_comes_when_all_connections_are_taken_waits() {
    let mut settings = Settings::default();
    settings.connections_max = 2;
    let (_made, server) = server(settings).await;
    // The client that registered the schematic keeps its connection; this one takes the other.
    let first = stalled(&server).await;
    let mut second = TcpStream::connect(authority(&server)).await.unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    let waits = tokio::time::timeout(Duration::from_millis(500), second.read_exact(&mut answer)).await;
    assert!(waits.is_err(), "nobody answers yet");
    drop(first);
    tokio::time::timeout(Duration::from_secs(10), second.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn many_ranges_and_bombs_are_bounded() {
    let (_made, server) = server(Settings::default()).await;
    // A thousand ranges are more work than the whole: the whole is answered.
    let ranges: Vec<String> = (0..1000).map(|n| format!("{}-{}", n * 100, n * 100 + 1)).collect();
    let request = server.get(&path("kernel-amd64")).header("range", format!("bytes={}", ranges.join(",")));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);

    let deep = format!("customization: {}{}", "[".repeat(1000), "]".repeat(1000));
    let deeper = format!("overlay: {{options: {}1{}}}", "{a: ".repeat(1000), "}".repeat(1000));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        writeln!(bomb, "a{n}: &a{n} [{aliases}]").unwrap();
    }
    bomb += "overlay: {options: {a: *a9}}\n";
    let begun = Instant::now();
    for body in [deep, deeper, bomb, "{".repeat(1 << 19), "- ".repeat(1 << 18)] {
        let shown: String = body.chars().take(60).collect();
        let response = server.post(body).await;
        assert_eq!(response.status(), 400, "{shown}");
        assert!(response.text().await.unwrap().len() < 1000);
    }
    assert_eq!(server.post("#".repeat((1 << 20) + 1)).await.status(), 413);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(is_well(&server).await);
}

#[tokio::test]
async fn http_2_is_spoken_on_the_same_port() {
    let (_made, server) = server(Settings::default()).await;
    let Some(curl) = ci::tool("curl") else { return };
    let url = format!("{}{}", server.url, path("metal-amd64-uki.efi"));
    let output = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(curl);
        command.args(["--http2-prior-knowledge", "--silent", "--noproxy", "*", "-o", "/dev/null"]);
        command.args(["-w", "%{http_version} %{http_code} %{size_download}"]).arg(url).output().unwrap()
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let head = server.head(&path("metal-amd64-uki.efi")).send().await.unwrap();
    assert_eq!(said, format!("2 200 {}", common::field(&head, "content-length")));
}
