//! What goes wrong on our side of the wire: a disk that lies, a disk that is full, a clock that jumps, an end under load.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Server, field};
use futures::StreamExt as _;
use imager::Factory;
use reqwest::{Client, Response};
use store::Store;
use support::{VERSION, complete, made, noise};

const EMPTY: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
/// More than sockets and buffers between server and client hold.
const INITRAMFS_LEN: usize = 48 << 20;

fn path(asset: &str) -> String {
    format!("/image/{EMPTY}/{VERSION}/{asset}")
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// The program, killed when it goes out of scope, and its address.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    /// Starts what `command` runs, with what the server needs behind it.
    fn start(mut command: Command, store: &Path, listen: &str) -> Self {
        command.env_remove("RUST_LOG").args(["--listen", listen, "--store"]).arg(store);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line:?}");
        Self { child, url }
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Its exit code and its log, once it ended.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server() -> Command {
    let mut server = Command::new(env!("CARGO_BIN_EXE_factory-server"));
    // Ten downloads of 48 MB take their time on a busy machine, and other tests have a server as well.
    server.env("IF_HTTP_DRAINTIMEOUT", "5m").env("IF_METRICS_ADDR", "");
    server
}

/// The files of the large blobs of the store in `dir`: the initramfs, and the layer that brought it.
fn large_blobs(dir: &Path) -> Vec<PathBuf> {
    let blobs = fs::read_dir(dir.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    blobs.filter(|path| fs::metadata(path).unwrap().len() >= INITRAMFS_LEN as u64).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

/// What comes of a body until it ends, and whether it ended well.
async fn rest(response: Response) -> (Vec<u8>, bool) {
    let mut body = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}

#[tokio::test]
async fn a_read_error_in_mid_stream_shortens_the_body_and_another_server_has_the_rest() {
    let made = made();
    made.complete(&noise("initramfs", INITRAMFS_LEN));
    let (dir, copied) = (made.dir.path().join("store"), made.dir.path().join("copy"));
    let broken = Server::over(made.factory.clone()).await;
    broken.post("{}").await;
    copy(&dir, &copied);
    let sound = Server::over(Factory::open(Store::open(&copied).unwrap())).await;

    for asset in ["initramfs-amd64.xz", "metal-amd64-uki.efi", "metal-arm64.raw.zst"] {
        let whole = sound.get(&path(asset)).send().await.unwrap().bytes().await.unwrap();
        // Its parts are there, then.
        assert_eq!(broken.head(&path(asset)).send().await.unwrap().status(), 200);
        let blobs: Vec<_> =
            large_blobs(&dir).into_iter().map(|blob| (fs::read(&blob).unwrap(), blob)).collect();
        assert!(!blobs.is_empty());
        // Under way, the files lose their second half: reads fail from there on.
        let mut response = broken.get(&path(asset)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut bytes = Vec::new();
        while bytes.len() < 1 << 20 {
            bytes.extend_from_slice(&response.chunk().await.unwrap().unwrap());
        }
        let etag = field(&response, "etag");
        assert_eq!(field(&response, "content-length"), whole.len().to_string());
        for (content, blob) in &blobs {
            let file = fs::OpenOptions::new().write(true).open(blob).unwrap();
            file.set_len(content.len() as u64 / 2).unwrap();
        }
        let (more, well) = rest(response).await;
        bytes.extend_from_slice(&more);
        assert!(!well, "{asset}: a short body must not look whole: {} of {}", bytes.len(), whole.len());
        assert!(bytes.len() < whole.len() && whole.starts_with(&bytes), "{asset}");
        // What is asked for now fails before the status line.
        assert_eq!(broken.get(&path(asset)).send().await.unwrap().status(), 500);
        assert_eq!(broken.get("/healthz").send().await.unwrap().status(), 200);

        let range = format!("bytes={}-", bytes.len());
        let resumed = sound.get(&path(asset)).header("range", range).header("if-range", etag);
        let resumed = resumed.send().await.unwrap();
        assert_eq!(resumed.status(), 206, "{asset}");
        bytes.extend_from_slice(&resumed.bytes().await.unwrap());
        assert!(bytes == whole, "{asset}");
        for (content, blob) in blobs {
            fs::write(blob, content).unwrap();
        }
    }
    broken.stop().await.unwrap();
    sound.stop().await.unwrap();
}

#[tokio::test]
async fn a_part_that_is_gone_is_said_to_come_back() {
    let made = complete();
    let server = Server::over(made.factory.clone()).await;
    server.post("{}").await;
    // Whoever keeps the store lost every blob but the schematic.
    for entry in fs::read_dir(made.dir.path().join("store/blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != EMPTY {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for asset in ["kernel-amd64", "metal-amd64.raw.zst"] {
        let request = server.get(&path(asset)).header("accept", "application/problem+json");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503, "{asset}");
        assert_eq!(field(&response, "retry-after"), "30");
        assert_eq!(field(&response, "cache-control"), "no-store");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["reason"], "unavailable", "{problem}");
    }
    assert_eq!(server.get(&format!("/schematics/{EMPTY}")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_and_keeps_what_is_there() {
    let disk = tempfile::tempdir().unwrap();
    let Some(mut command) = ci::disk_of("512k", disk.path()) else { return };
    command.arg(env!("CARGO_BIN_EXE_factory-server"));
    let program = Program::start(command, &disk.path().join("store"), "127.0.0.1:0");
    // The disk as the server sees it, with something on it that can go.
    let root = PathBuf::from(format!("/proc/{}/root", program.child.id()));
    let seen = root.join(disk.path().strip_prefix("/").unwrap());
    let ballast = seen.join("ballast");
    fs::write(&ballast, vec![0; 64 << 10]).unwrap();
    let client = client();
    // Each has an argument of 20 KiB.
    let schematic = |n: u32| format!("customization: {{extraKernelArgs: [a{n}={}]}}", "x".repeat(20 << 10));
    let mut ids = Vec::new();
    let refused = loop {
        let body = schematic(u32::try_from(ids.len()).unwrap());
        let request = client.post(format!("{}/schematics", program.url)).body(body);
        let response = request.header("accept", "application/problem+json").send().await.unwrap();
        if response.status() != 201 {
            break response;
        }
        let taken: serde_json::Value = response.json().await.unwrap();
        ids.push(taken["id"].as_str().unwrap().to_owned());
        assert!(ids.len() < 100, "the disk is never full");
    };
    assert_eq!(refused.status(), 507);
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["reason"], "store-full");
    assert!(!problem.to_string().contains(disk.path().to_str().unwrap()), "{problem}");
    assert!(ids.len() > 5);
    for id in &ids {
        let given = client.get(format!("{}/schematics/{id}", program.url)).send().await.unwrap();
        assert_eq!(given.status(), 200);
    }
    // What is there already needs no room, and nothing half-written takes any.
    let again = client.post(format!("{}/schematics", program.url)).body(schematic(0)).send().await.unwrap();
    assert_eq!(again.status(), 201);
    // The refused one left nothing.
    let blobs = seen.join("store/blobs/sha256");
    let mut names: Vec<String> = fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut kept = ids.clone();
    kept.sort();
    assert_eq!(names, kept);
    // With room it goes on, without a restart.
    fs::remove_file(ballast).unwrap();
    let small = client.post(format!("{}/schematics", program.url)).body("{}").send().await.unwrap();
    assert_eq!(small.status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_and_the_next_process_takes_over() {
    let made = made();
    made.complete(&noise("initramfs", INITRAMFS_LEN));
    let dir = made.dir.path().join("store");
    let program = Program::start(server(), &dir, "127.0.0.1:0");
    let address = program.address().to_owned();
    let client = client();
    let post = client.post(format!("{}/schematics", program.url)).body("{}");
    assert_eq!(post.send().await.unwrap().status(), 201);
    let url = format!("{}{}", program.url, path("metal-amd64-uki.efi"));
    let whole = client.get(&url).send().await.unwrap().bytes().await.unwrap();
    let etag = field(&client.head(&url).send().await.unwrap(), "etag");

    // What nobody configured: scripts name the address that the server listens on.
    let script = client.get(format!("{}/pxe/{EMPTY}/{VERSION}/metal-amd64", program.url));
    assert!(
        script
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains(&format!("kernel {}/image/", program.url))
    );

    // Ten have begun, and new ones come all the time.
    let mut begun = Vec::new();
    for _ in 0..10 {
        begun.push(client.get(&url).send().await.unwrap());
    }
    let (first, one_is_whole) = tokio::sync::oneshot::channel();
    let hurry = {
        let url = url.clone();
        tokio::spawn(async move {
            let (mut first, mut refused) = (Some(first), 0);
            while refused < 3 {
                // A new connection each time: who waits on an old one is not answered any more.
                match self::client().get(&url).send().await {
                    Ok(response) => {
                        let len = response.content_length().unwrap();
                        let (bytes, well) = rest(response).await;
                        assert!(well && bytes.len() as u64 == len, "an answer that began must end");
                        if let Some(first) = first.take() {
                            first.send(()).unwrap();
                        }
                    }
                    Err(_) => refused += 1,
                }
            }
        })
    };
    one_is_whole.await.unwrap();
    program.terminate();
    hurry.await.unwrap();

    // The old process still serves what began; a new one has its port already.
    let next = Program::start(server(), &dir, &address);
    // Another client: this one's idle connections are being closed.
    let client = self::client();
    let head = client.head(&url).send().await.unwrap();
    assert_eq!((head.status().as_u16(), field(&head, "etag")), (200, etag));
    for response in begun {
        let (bytes, well) = rest(response).await;
        assert!(well && bytes == whole);
    }
    let (code, log) = program.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked") && !log.contains("are cut"), "{log}");
    let head = client.head(format!("{}{}", next.url, path("metal-amd64.raw.zst"))).send().await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn clocks_that_jump_change_nothing() {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    let Some(library) = ci::file(&library, "libfaketime") else { return };
    let made = complete();
    let dir = made.dir.path().join("store");
    let clock = made.dir.path().join("clock");
    let set = |time: &str| fs::write(&clock, time).unwrap();
    set("+0");
    let mut command = server();
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock);
    // Timers run by the clock that cannot be set; that one stays.
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.args(["--log-format", "json"]);
    let program = Program::start(command, &dir, "127.0.0.1:0");
    let client = client();
    let mut seen: Option<(String, Vec<u8>)> = None;
    for (n, jump) in
        ["+0", "-30y", "+60y", "@1970-01-01 00:00:01", "@2038-01-19 03:14:06", "+0"].into_iter().enumerate()
    {
        // In the middle of a download as well.
        let body = format!("customization: {{extraKernelArgs: [n={n}]}}");
        let running = client.get(format!("{}{}", program.url, path("kernel-amd64")));
        let running = if n == 0 { None } else { Some(running.send().await.unwrap()) };
        set(jump);
        let post = client.post(format!("{}/schematics", program.url)).body(if n == 0 {
            "{}".to_owned()
        } else {
            body
        });
        assert_eq!(post.send().await.unwrap().status(), 201, "{jump}");
        if let Some(running) = running {
            assert!(rest(running).await.1, "{jump}");
        }
        let response =
            client.get(format!("{}{}", program.url, path("metal-amd64.raw.zst"))).send().await.unwrap();
        assert_eq!(response.status(), 200, "{jump}");
        let now = (field(&response, "etag"), response.bytes().await.unwrap().to_vec());
        assert!(*seen.get_or_insert_with(|| now.clone()) == now, "{jump}");
        let again = client.get(format!("{}{}", program.url, path("metal-amd64.raw.zst")));
        let again = again.header("if-none-match", &now.0).send().await.unwrap();
        assert_eq!(again.status(), 304, "{jump}");
    }
    program.terminate();
    let (code, log) = program.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    // The clock did jump, and the times that requests took did not.
    assert!(log.contains("\"timestamp\":\"1970-") && log.contains("\"timestamp\":\"2038-"), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["duration_ms"].as_f64().is_none_or(|ms| (0.0..60_000.0).contains(&ms)), "{line}");
    }
}
