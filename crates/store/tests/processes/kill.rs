//! `kill -9` at any moment leaves nothing half visible.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use extent::{Digest, ExtentMap};
use oci_spec::image::MediaType;
use serde_json::Value;
use store::{Error, Store};

use crate::{READY, child, spawn};

const ROUNDS: u64 = 40;
const SIGKILL: i32 = 9;
/// Length of the zeros in the middle of a target.
const HOLE_LEN: u64 = 1 << 20;

/// Content `i`: of a length between 8 bytes and 400 kB, beginning with `i`.
fn content(i: u64) -> Vec<u8> {
    let mut state = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let len = 8 + usize::try_from(state >> 40).unwrap() % 400_000;
    let mut bytes = i.to_le_bytes().to_vec();
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// The target that is written from content `i`.
fn target(i: u64, digest: Digest) -> ExtentMap {
    let len = content(i).len() as u64;
    let mut map = ExtentMap::inline(i.to_le_bytes().to_vec());
    map.append(ExtentMap::blob(digest, 0, len));
    map.push_zeros(HOLE_LEN);
    map.append(ExtentMap::blob(digest, 0, len));
    map
}

/// Gives a few bytes at a time, so that a kill often comes in the middle of a blob.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = buf.len().min(20_000);
        self.0.read(&mut buf[..len])
    }
}

#[test]
fn writing_child() {
    let Some((dir, seed)) = child() else { return };
    let store = Store::open(dir.join("store")).unwrap();
    println!("{READY}");
    for i in seed << 32.. {
        let blob = store.put(Slow(&content(i))).unwrap();
        store
            .tag(&format!("r{}", i % 3), &format!("t{}", i % 7), &blob.oci(MediaType::ImageManifest))
            .unwrap();
        let work = || {
            let output = store.put_bytes(&content(i + (1 << 31)))?;
            Ok::<_, Error>(vec![output.digest; 50])
        };
        store.derive("work", 1, &[blob.digest], work).unwrap();
        store.write_file(&target(i, blob.digest), &dir.join(format!("{}.raw", seed % 2)), &|_| ()).unwrap();
        // A process that opens the store sweeps while its siblings write.
        Store::open(dir.join("store")).unwrap();
    }
}

/// Every file in `dir` with its content, subdirectories included.
fn files(dir: &Path) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Looks at the directory without the store's help, then through it. Says how much it saw.
fn check(dir: &Path) -> usize {
    let root = dir.join("store");
    let blobs = files(&root.join("blobs"));
    for (name, bytes) in &blobs {
        assert_eq!(Digest::of(bytes).hex(), *name, "a visible blob is whole");
    }
    for (name, text) in files(&root.join("facts")) {
        let facts: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(facts["len"], blobs[&name].len(), "visible facts are whole");
    }
    let records = files(&root.join("derivations"));
    for text in records.values() {
        let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
        let record: Value = serde_json::from_slice(lines[0]).unwrap();
        assert_eq!(record["output"], Digest::of(lines[1]).to_string(), "a visible record is whole");
        for digest in serde_json::from_slice::<Vec<Digest>>(lines[1]).unwrap() {
            assert!(blobs.contains_key(&digest.hex()), "a derivation is recorded after its blobs");
        }
    }
    for raw in ["0.raw", "1.raw"].map(|name| dir.join(name)) {
        let Ok(bytes) = fs::read(raw) else { continue };
        let i = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let zeros = vec![0; usize::try_from(HOLE_LEN).unwrap()];
        let whole = [&i.to_le_bytes()[..], &content(i), &zeros, &content(i)].concat();
        assert!(bytes == whole, "a visible target is whole");
    }

    let store = Store::open(&root).unwrap();
    let mut tags = 0;
    for repository in store.repositories().unwrap() {
        for tag in store.tags(&repository).unwrap() {
            let descriptor = store.resolve_tag(&repository, &tag).unwrap().unwrap();
            let digest = descriptor.digest().to_string().parse().unwrap();
            assert_eq!(store.bytes(&digest, u64::MAX).unwrap().len() as u64, descriptor.size());
            tags += 1;
        }
    }
    assert!(store.scrub(&|_| ()).unwrap().is_clean());
    blobs.len() + records.len() + tags
}

#[test]
fn kills_at_random_moments_leave_nothing_half_visible() {
    let dir = tempfile::tempdir().unwrap();
    let (root, tmp) = (dir.path().join("store"), dir.path().join("store/tmp"));
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let mut children =
            [2 * round, 2 * round + 1].map(|seed| spawn("kill::writing_child", dir.path(), seed));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        std::thread::sleep(Duration::from_micros(u64::from(now.subsec_nanos() / 7) % 60_000));
        // Sweeps beside living writers must not hurt them.
        Store::open(&root).unwrap();
        for child in &mut children {
            child.kill().unwrap();
        }
        for child in &mut children {
            assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL), "no child failed by itself");
        }
        interrupted += usize::from(fs::read_dir(&tmp).unwrap().count() > 0);
        if round % 8 == 7 {
            let seen = check(dir.path());
            assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0, "what was not finished is swept");
            assert!(seen > 8, "the children do something before they are killed");
        }
    }
    assert!(interrupted > 5, "kills come in the middle of writing: {interrupted} of {ROUNDS}");

    // The next who write the same targets remove what was left beside them.
    let store = Store::open(&root).unwrap();
    for name in ["0.raw", "1.raw"] {
        store.write_file(&ExtentMap::zeros(1), &dir.path().join(name), &|_| ()).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn children_on_a_new_directory_make_one_store() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let mut children = [0, 1, 2].map(|seed| spawn("kill::writing_child", dir.path(), seed));
        std::thread::sleep(Duration::from_millis(10));
        for child in &mut children {
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL), "no child failed by itself");
        }
        check(dir.path());
    }
}
