//! What a factory serves is what `imager build` writes: the same store, the same bytes, through two doors.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use common::imager;
use imager::Factory;
use rand::{Rng as _, SeedableRng as _};
use seed::Suite;
use serde_json::Value;
use store::Store;

const SCHEMATIC: &str = "customization:
  extraKernelArgs: [imager.test=poweroff]
  systemExtensions:
    officialExtensions: [siderolabs/iscsi-tools, siderolabs/realtek-firmware, siderolabs/drbd]
";
/// Most ranges are of this length at most; longer ones are rare, so that the test is about ranges and not about copying.
const SHORT: u64 = 1 << 20;
const LONG: u64 = 64 << 20;

/// A range of `len` bytes, first and last: often at an end, sometimes long.
fn any_range(rng: &mut rand::rngs::StdRng, len: u64) -> (u64, u64) {
    let longest = if rng.random_ratio(1, 50) { LONG } else { SHORT }.min(len);
    let count = rng.random_range(1..=longest);
    let first = match rng.random_range(0..10) {
        0 => 0,
        1 => len - count,
        _ => rng.random_range(0..=len - count),
    };
    (first, first + count - 1)
}

fn slice(file: &File, first: u64, last: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(last - first + 1).unwrap()];
    file.read_exact_at(&mut bytes, first).unwrap();
    bytes
}

async fn same(url: &str, asset: &str, file: &Path, seed: u64) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let file = File::open(file).unwrap();
    let len = file.metadata().unwrap().len();
    let head = client.head(url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], len.to_string().as_str(), "{asset}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    for _ in 0..500 {
        let (first, last) = any_range(&mut rng, len);
        let request = client.get(url).header("range", format!("bytes={first}-{last}"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 206, "{asset} {first}-{last}");
        assert_eq!(response.headers()["content-range"], format!("bytes {first}-{last}/{len}").as_str());
        assert!(response.bytes().await.unwrap() == slice(&file, first, last), "{asset} {first}-{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_ranges_of_every_asset_equal_the_file_that_is_built() {
    let assets = [
        "kernel-amd64",
        "initramfs-amd64.xz",
        "cmdline-metal-amd64",
        "metal-amd64-uki.efi",
        "metal-amd64.raw.zst",
        "metal-arm64.raw",
    ];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("schematic.yaml"), SCHEMATIC).unwrap();
    let seeded = tokio::task::spawn_blocking(|| ci::seeded(Suite::Trixie)).await.unwrap();
    let Some(ci::Seeded { dir: store, version }) = seeded else { return };

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes =
        factory_server::routes(Factory::open(Store::open(&store).unwrap()), factory_server::Site::default());
    tokio::spawn(factory_server::serve(
        listener,
        routes,
        factory_server::Settings::default(),
        std::future::pending(),
    ));

    let post = reqwest::Client::new().post(format!("{url}/schematics")).body(SCHEMATIC);
    let taken: Value = post.send().await.unwrap().json().await.unwrap();
    let id = taken["id"].as_str().unwrap();
    for (seed, asset) in (0..).zip(assets) {
        let (store, at) = (store.clone(), dir.path().to_owned());
        let args =
            ["build", asset, "--version", &version, "--schematic", "schematic.yaml"].map(str::to_owned);
        let built = move || imager(&store).current_dir(at).args(args).assert().success();
        tokio::task::spawn_blocking(move || drop(built())).await.unwrap();
        let file = dir.path().join(asset);
        // With and without `v`: one file.
        let version = if seed % 2 == 0 { &version } else { version.trim_start_matches('v') };
        same(&format!("{url}/image/{id}/{version}/{asset}"), asset, &file, seed).await;
        std::fs::remove_file(file).unwrap();
    }
}
