//! Images over HTTP: whole, in parts, under conditions, and refused.
//!
//! The store holds small source images that are made here; real ones are for `seeded_source.rs`.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use common::{Server, field, parts};
use imager::Arch;
use rand::{Rng as _, SeedableRng as _};
use support::{Made, made, noise, tree};

const KERNEL_LEN: usize = 3_000_000;

/// A store with a version, and a server over it.
async fn server() -> (Made, Server, Vec<u8>) {
    let made = made();
    let kernel = noise("kernel", KERNEL_LEN);
    made.imager("v13.1.0", &[("amd64/vmlinuz", &kernel), ("amd64/initramfs.xz", b"initramfs")]);
    let image = made.manifest(Arch::Amd64, &[tree(&[("manifest.yaml", b"")])]);
    made.catalogue("v13.1.0", &[("iscsi-tools", image), ("drbd", image)]);
    let server = Server::over(made.factory.clone()).await;
    (made, server, kernel)
}

/// The schematic's id once the server has it.
async fn register(server: &Server, schematic: &'static str) -> String {
    let taken: serde_json::Value = server.post(schematic).await.json().await.unwrap();
    taken["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_random_range_is_the_slice_of_the_whole() {
    let (_made, server, kernel) = server().await;
    let path = format!("/image/{}/v13.1.0/kernel-amd64", register(&server, "{}").await);
    let whole = server.get(&path).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(field(&whole, "content-length"), KERNEL_LEN.to_string());
    assert_eq!(field(&whole, "accept-ranges"), "bytes");
    assert!(whole.bytes().await.unwrap() == kernel);

    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    for _ in 0..500 {
        let (a, b) = (rng.random_range(0..KERNEL_LEN), rng.random_range(0..KERNEL_LEN));
        let (first, last) = (a.min(b), a.max(b));
        let response =
            server.get(&path).header("range", format!("bytes={first}-{last}")).send().await.unwrap();
        assert_eq!(response.status(), 206);
        assert_eq!(field(&response, "content-range"), format!("bytes {first}-{last}/{KERNEL_LEN}"));
        assert_eq!(field(&response, "content-length"), (last - first + 1).to_string());
        assert!(response.bytes().await.unwrap() == kernel[first..=last], "{first}-{last}");
    }
}

#[tokio::test]
async fn the_end_of_an_answer_is_not_kept_back() {
    let (_made, server, _) = server().await;
    let path = format!("/image/{}/v13.1.0/kernel-amd64", register(&server, "{}").await);
    // Long enough to be sent as a file, and no multiple of any segment: the kernel keeps it for 200 ms, unless told.
    let range = "bytes=0-40000";
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let part = server.get(&path).header("range", range).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(part.len(), 40_001);
        fastest = fastest.min(begun.elapsed());
    }
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
}

#[tokio::test]
async fn several_ranges_come_as_parts_that_can_be_told_apart() {
    let (_made, server, kernel) = server().await;
    let path = format!("/image/{}/v13.1.0/kernel-amd64", register(&server, "{}").await);
    let mut rng = rand::rngs::StdRng::seed_from_u64(8);
    for count in [2, 3, 17, 256] {
        let mut cuts: Vec<usize> = (0..count * 2).map(|_| rng.random_range(0..KERNEL_LEN)).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let ranges: Vec<(usize, usize)> =
            cuts.chunks_exact(2).map(|pair| (pair[0], pair[1] - 1)).filter(|(a, b)| a <= b).collect();
        let asked: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let response =
            server.get(&path).header("range", format!("bytes={}", asked.join(","))).send().await.unwrap();
        assert_eq!(response.status(), 206);
        assert_eq!(field(&response, "content-range"), "");
        let len: usize = field(&response, "content-length").parse().unwrap();
        let media_type = field(&response, "content-type");
        let body = response.bytes().await.unwrap();
        assert_eq!(body.len(), len);
        let found = parts(&media_type, &body);
        assert_eq!(found.len(), ranges.len());
        for ((headers, part), (first, last)) in found.iter().zip(&ranges) {
            assert!(
                headers.contains(&format!("Content-Range: bytes {first}-{last}/{KERNEL_LEN}")),
                "{headers}"
            );
            assert!(*part == &kernel[*first..=*last]);
        }
    }
    for (asked, status) in [("bytes=0-9,5-14", 200), ("bytes=0-0,-1", 206), ("bytes=9999999-,8888888-", 416)]
    {
        let response = server.get(&path).header("range", asked).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{asked}");
        if status == 416 {
            assert_eq!(field(&response, "content-range"), format!("bytes */{KERNEL_LEN}"));
        }
    }
}

#[tokio::test]
async fn conditions_are_kept() {
    let (_made, server, kernel) = server().await;
    let path = format!("/image/{}/v13.1.0/kernel-amd64", register(&server, "{}").await);
    let etag = field(&server.head(&path).send().await.unwrap(), "etag");
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 66, "strong: {etag}");
    let weak = format!("W/{etag}");
    let (same, other, date) = (etag.as_str(), "\"other\"", "Wed, 21 Oct 2015 07:28:00 GMT");
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[("if-none-match", same)], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", other)], 200),
        (&[("if-match", same)], 200),
        (&[("if-match", other)], 412),
        (&[("if-match", &weak)], 412),
        (&[("range", "bytes=5-9"), ("if-range", same)], 206),
        (&[("range", "bytes=5-9"), ("if-range", &weak)], 200),
        (&[("range", "bytes=5-9"), ("if-range", other)], 200),
        (&[("range", "bytes=5-9"), ("if-range", date)], 200),
        (&[("range", "bytes=5-9"), ("if-none-match", same)], 304),
    ];
    for (fields, status) in table {
        let mut request = server.get(&path);
        for (name, value) in *fields {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), *status, "{fields:?}");
        assert_eq!(field(&response, "etag"), etag, "{fields:?}");
        let body = response.bytes().await.unwrap();
        match status {
            200 => assert!(body == kernel),
            206 => assert!(body == kernel[5..=9]),
            304 => assert!(body.is_empty()),
            _ => assert!(!body.is_empty()),
        }
    }
    // A cache would take a length for that of the whole.
    for request in [server.get(&path), server.head(&path)] {
        let response = request.header("if-none-match", same).send().await.unwrap();
        assert_eq!((response.status().as_u16(), field(&response, "content-length")), (304, String::new()));
    }
}

#[tokio::test]
async fn head_has_the_fields_of_get() {
    let (_made, server, _) = server().await;
    let id = register(&server, "{}").await;
    for asset in ["kernel-amd64", "cmdline-metal-amd64", "metal-amd64.iso", "nothing"] {
        let path = format!("/image/{id}/v13.1.0/{asset}");
        let fields = |response: &reqwest::Response| {
            let mut fields: Vec<_> = response
                .headers()
                .iter()
                .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            fields.sort();
            (response.status(), fields)
        };
        let head = server.head(&path).send().await.unwrap();
        let get = server.get(&path).send().await.unwrap();
        assert_eq!(fields(&head), fields(&get), "{asset}");
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn no_name_breaks_the_header() {
    let (_made, server, _) = server().await;
    let path = format!("/image/{}/v13.1.0/cmdline-metal-amd64", register(&server, "{}").await);
    let disposition = async |query: &str| {
        let response = server.get(&format!("{path}{query}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(field(&response, "set-cookie"), "");
        field(&response, "content-disposition")
    };
    assert_eq!(disposition("").await, "attachment; filename=\"cmdline-metal-amd64\"");
    assert_eq!(disposition("?filename=a%20b.txt").await, "attachment; filename=\"a b.txt\"");
    assert_eq!(disposition("?filename=").await, "attachment; filename=\"cmdline-metal-amd64\"");
    for hostile in [
        "%0d%0aSet-Cookie:%20a=b",
        "x%22;%20filename=%22y",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "%ff%fe",
        "%e2%80%aegpj.exe",
        "%5c%22",
    ] {
        let value = disposition(&format!("?filename={hostile}")).await;
        let quoted = value.strip_prefix("attachment; filename=\"").unwrap();
        let (name, rest) = quoted.split_once('"').unwrap();
        assert!(!name.contains(['/', '\\']) && !name.starts_with('.'), "{value}");
        assert!(rest.is_empty() || rest.starts_with("; filename*=UTF-8''") && !rest.contains('"'), "{value}");
    }
    let response = server.get(&format!("{path}?filename=a&filename=b")).send().await.unwrap();
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let (_made, server, _) = server().await;
    let id = register(&server, "{}").await;
    let extended =
        register(&server, "customization: {systemExtensions: {officialExtensions: [siderolabs/iscsi-tool]}}")
            .await;
    let unknown = "0".repeat(64);
    let table = [
        (format!("/image/{unknown}/v13.1.0/kernel-amd64"), 404, "schematic not found"),
        ("/image/abc/v13.1.0/kernel-amd64".to_owned(), 404, "schematic not found: `abc` is not 64"),
        (format!("/image/{id}/vfoo/kernel-amd64"), 400, "invalid version \"vfoo\""),
        (format!("/image/{id}/v13.1/kernel-amd64"), 400, "it needs three numbers"),
        (
            format!("/image/{id}/v13.2.0/kernel-amd64"),
            404,
            "version 13.2.0 is not available, the nearest is `v13.1.0`",
        ),
        (format!("/image/{id}/v5.0.0/kernel-amd64"), 404, "version 5.0.0 is not available"),
        (format!("/image/{id}/v13.1.0/kernel-foo"), 400, "invalid architecture: \"foo\""),
        (format!("/image/{id}/v13.1.0/metal-amd64.vmdk"), 400, "invalid profile path"),
        (format!("/image/{id}/v13.1.0/a%2fb"), 400, "invalid profile path"),
        (format!("/image/{id}/v13.1.0/metal-amd64.iso"), 501, "an ISO image is not there yet"),
        (format!("/image/{id}/v13.1.0/metal-amd64.qcow2"), 501, "`qcow2` is not there yet"),
        (
            format!("/image/{extended}/v13.1.0/initramfs-amd64.xz"),
            400,
            "\"siderolabs/iscsi-tool\" is not available",
        ),
        (
            format!("/image/{extended}/v13.1.0/initramfs-amd64.xz"),
            400,
            "did you mean `siderolabs/iscsi-tools`",
        ),
        (format!("/image/{id}/%ff/kernel-amd64"), 400, "UTF-8"),
        (format!("/image/{id}/v13.1.0"), 404, "404 page not found"),
        (format!("/image/{id}/v13.1.0/a/b"), 404, "404 page not found"),
    ];
    for (path, status, says) in table {
        let response = server.get(&path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
        let text = response.text().await.unwrap();
        assert!(text.contains(says) && text.ends_with('\n'), "{path}: {text}");
    }
}

#[tokio::test]
async fn versions_and_extensions_are_json() {
    let (_made, server, _) = server().await;
    let response = server.get("/versions").send().await.unwrap();
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(response.text().await.unwrap(), "[\"v13.1.0\"]\n");
    assert_eq!(server.get("/versions?broken=true").send().await.unwrap().text().await.unwrap(), "[]\n");
    for version in ["v13.1.0", "13.1.0"] {
        let response = server.get(&format!("/version/{version}/extensions/official")).send().await.unwrap();
        let offers: serde_json::Value = response.json().await.unwrap();
        let names: Vec<&str> =
            offers.as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["siderolabs/iscsi-tools", "siderolabs/drbd"]);
        assert_eq!(offers[0]["ref"], "ghcr.io/siderolabs/iscsi-tools:1.0");
        assert!(offers[0]["digest"].as_str().unwrap().starts_with("sha256:"));
    }
    for (version, status) in [("v13.2.0", 404), ("latest", 400)] {
        let response = server.get(&format!("/version/{version}/extensions/official")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_before_the_status_line() {
    let (made, server, kernel) = server().await;
    let path = format!("/image/{}/v13.1.0/kernel-amd64", register(&server, "{}").await);
    // Learnt first, so that only the bytes are new to the second request.
    let head = server.head(&path).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let blobs: Vec<_> = made.store.digests().unwrap();
    let digest = blobs
        .into_iter()
        .find(|digest| made.store.stat(digest).unwrap() == Some(kernel.len() as u64))
        .unwrap();
    let blob = made.blob_path(&digest);
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, bytes).unwrap();
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(response.status(), 500);
    let id = field(&response, "x-request-id");
    assert_eq!(response.text().await.unwrap(), format!("internal server error\nrequest id: {id}\n"));
}
