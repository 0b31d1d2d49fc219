//! A download that breaks is taken up again, at another server over the same store, by stock clients.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use common::Server;
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
