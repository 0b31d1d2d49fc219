//! A download that breaks is taken up again, at another server over the same store, by stock clients.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use common::Server;
use factory_server::{Settings, Site};
use imager::Factory;
use store::Store;
use support::{SCHEMATIC, VERSION, complete};

const ASSETS: [&str; 7] = [
    "kernel-amd64",
    "initramfs-arm64.xz",
    "cmdline-metal-amd64",
    "metal-amd64-uki.efi",
    "metal-amd64.raw.zst",
    "metal-arm64.raw.zst",
    "aws-arm64-uki.efi",
];

/// Runs curl; whether it succeeded.
fn curl(at: &Path, args: &[&str]) -> bool {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]).args(args).current_dir(at);
    command.status().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_resumes_every_asset_at_another_server() {
    if ci::tool("curl").is_none() {
        return;
    }
    let made = complete();
    let first = Server::over(made.factory.clone()).await;
    // Shares nothing with the first but the directory.
    let second = Server::over(Factory::open(Store::open(made.dir.path().join("store")).unwrap())).await;
    let taken: serde_json::Value = first.post(SCHEMATIC).await.json().await.unwrap();
    let id = taken["id"].as_str().unwrap();
    for asset in ASSETS {
        let path = format!("/image/{id}/{VERSION}/{asset}");
        let (one, two) = (format!("{}{path}", first.url), format!("{}{path}", second.url));
        let dir = made.dir.path().to_owned();
        tokio::task::spawn_blocking(move || {
            assert!(curl(&dir, &["-o", "whole", &one]), "{asset}");
            let whole = std::fs::read(dir.join("whole")).unwrap();
            for kept in [1, whole.len() / 3, whole.len() - 1] {
                std::fs::write(dir.join("broken"), &whole[..kept]).unwrap();
                assert!(curl(&dir, &["-C", "-", "-o", "broken", &two]), "{asset} from {kept}");
                assert!(std::fs::read(dir.join("broken")).unwrap() == whole, "{asset} from {kept}");
            }
        })
        .await
        .unwrap();
    }
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn an_asset_of_another_lock_is_not_taken_for_the_rest() {
    let made = complete();
    let server = Server::over(made.factory.clone()).await;
    let taken: serde_json::Value = server.post(SCHEMATIC).await.json().await.unwrap();
    let path = format!("/image/{}/{VERSION}/initramfs-amd64.xz", taken["id"].as_str().unwrap());
    let before = server.head(&path).send().await.unwrap();
    let etag = common::field(&before, "etag");
    // The version is published anew, with another initramfs.
    made.complete(&support::noise("another initramfs", 100_001));
    let request = server.get(&path).header("range", "bytes=1000-").header("if-range", &etag);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "the whole of what is there now");
    assert_ne!(common::field(&response, "etag"), etag);
}

/// Requests that a client sends before it has the answers, on one connection whose files the kernel sends.
#[tokio::test(flavor = "multi_thread")]
async fn answers_on_one_connection_are_those_of_their_requests() {
    let made = complete();
    for send_files in [true, false] {
        let mut settings = Settings::default();
        settings.send_files = send_files;
        let server = Server::with(made.factory.clone(), Site::default(), settings).await;
        answers_are_those_of_their_requests(&server).await;
    }
}

async fn answers_are_those_of_their_requests(server: &Server) {
    let taken: serde_json::Value = server.post(SCHEMATIC).await.json().await.unwrap();
    let mut requests = Vec::new();
    for (i, asset) in ASSETS.iter().cycle().take(60).enumerate() {
        let path = format!("/image/{}/{VERSION}/{asset}", taken["id"].as_str().unwrap());
        let whole =
            server.get(&path).header("connection", "close").send().await.unwrap().bytes().await.unwrap();
        let start = (i * 7919) % whole.len();
        let end = whole.len().min(start + 1 + (i * 104_729) % 3_000_000);
        requests.push((path, start, whole.slice(start..end)));
    }
    let at = server.url.strip_prefix("http://").unwrap().to_owned();
    let stream = std::net::TcpStream::connect(&at).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let text: Vec<String> = requests
        .iter()
        .map(|(path, start, part)| {
            let last = start + part.len() - 1;
            format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nrange: bytes={start}-{last}\r\n\r\n")
        })
        .collect();
    let read = tokio::task::spawn_blocking(move || {
        writer.write_all(text.concat().as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        for (path, start, part) in requests {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "HTTP/1.1 206 Partial Content\r\n", "{path} from {start}");
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            let mut body = vec![0; part.len()];
            reader.read_exact(&mut body).unwrap();
            assert!(body == part, "{path} from {start}");
        }
    });
    read.await.unwrap();
}
