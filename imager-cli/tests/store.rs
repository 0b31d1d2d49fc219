//! Where the store is and what is in it.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::imager;
use oci_spec::image::MediaType;
use predicates::prelude::*;
use predicates::str::contains;
use store::Store;

#[test]
fn a_store_is_made_where_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let verify = ["store", "verify"];
    let flag = dir.path().join("flag");
    imager(&dir.path().join("variable")).args(verify).arg("--store").arg(&flag).assert().success();
    assert!(flag.join("oci-layout").is_file());
    imager(&dir.path().join("variable")).args(verify).assert().success().stdout("0 blobs, 0 bytes\n");
    assert!(dir.path().join("variable/oci-layout").is_file());
    imager(dir.path())
        .env_remove("IMAGER_STORE")
        .env("XDG_DATA_HOME", dir.path().join("data"))
        .args(verify)
        .assert()
        .success();
    assert!(dir.path().join("data/imager/store/oci-layout").is_file());
}

#[test]
fn no_place_for_a_store_is_a_fault_of_the_environment() {
    imager("".as_ref())
        .env_remove("HOME")
        .args(["store", "verify"])
        .assert()
        .code(4)
        .stderr(contains("no place for a store").and(contains("hint: say where with `--store DIR`")));
}

#[test]
fn what_is_no_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    imager(dir.path())
        .args(["store", "verify"])
        .assert()
        .code(6)
        .stderr(contains("neither a store nor empty"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    imager(&dir.path().join("letter.txt/store"))
        .args(["store", "verify"])
        .assert()
        .code(6)
        .stderr(contains("opening the store"));
}

#[test]
fn a_flipped_bit_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digests: Vec<_> = (0..3u8).map(|i| store.put_bytes(&[i; 1000]).unwrap().digest).collect();
    imager(dir.path()).args(["store", "verify"]).assert().success().stdout("3 blobs, 3000 bytes\n");

    let path = dir.path().join("blobs/sha256").join(digests[1].hex());
    fs::remove_file(&path).unwrap();
    let mut flipped = vec![1; 1000];
    flipped[500] ^= 4;
    fs::write(path, flipped).unwrap();
    imager(dir.path())
        .args(["store", "verify"])
        .assert()
        .code(6)
        .stdout(format!("3 blobs, 3000 bytes\ncorrupt     {}\n", digests[1]))
        .stderr(contains("error: the store has 1 corrupt").and(contains("hint:")));
    let expected = format!(
        r#"{{"blobs":3,"size_bytes":3000,"corrupt":["{}"],"unreadable":[],"dangling":[]}}"#,
        digests[1]
    );
    imager(dir.path()).args(["--json", "store", "verify"]).assert().code(6).stdout(format!("{expected}\n"));
}

#[test]
fn a_tag_is_resolved_or_the_nearest_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let manifest = store.put_bytes(b"{}").unwrap();
    for tag in ["v12.1.0", "v13.1.0", "v13.1.1"] {
        store.tag("siderolabs/imager", tag, &manifest.oci(MediaType::ImageManifest)).unwrap();
    }
    let resolve = |reference: &str| imager(dir.path()).args(["store", "resolve", reference]).assert();
    let digest = manifest.digest;
    resolve("siderolabs/imager:v13.1.0").success().stdout(format!("{digest}\n"));
    imager(dir.path()).args(["--json", "store", "resolve", "siderolabs/imager:v13.1.0"]).assert().success().stdout(
        format!(
            "{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{digest}\",\"size\":2}}\n"
        ),
    );
    for (reference, error, hint) in [
        (
            "siderolabs/imager:v13.1.2",
            "`siderolabs/imager` has no tag `v13.1.2`",
            "the nearest are `v13.1.0`, `v13.1.1`, `v12.1.0`",
        ),
        (
            "siderolabs/imagers:v13.1.0",
            "no repository `siderolabs/imagers`",
            "the nearest is `siderolabs/imager`",
        ),
    ] {
        resolve(reference).code(2).stdout("").stderr(contains(error).and(contains(hint)));
    }
    for (reference, error) in [
        ("siderolabs/imager", "\"siderolabs/imager\" has no tag"),
        ("localhost:5000/imager", "\"localhost:5000/imager\" has no tag"),
        ("Siderolabs/imager:v13.1.0", "Siderolabs/imager"),
        ("siderolabs/imager:-", "tag"),
    ] {
        resolve(reference).code(2).stdout("").stderr(contains(error));
    }

    let empty = tempfile::tempdir().unwrap();
    imager(empty.path())
        .args(["store", "resolve", "siderolabs/imager:v13.1.0"])
        .assert()
        .code(2)
        .stderr(contains("no repository `siderolabs/imager`").and(contains("hint: `imager seed debian`")));
}
