//! Bad input to the program itself: damaged packages and a full disk. Wrong names, flipped bits in blobs and targets that
//! cannot be written are in `build.rs`; files too large for FAT among the tests of the engine's disks.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::imager;
use predicates::prelude::*;
use predicates::str::contains;
use seed::Suite;
use store::Store;

fn packages(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("scratch/seed/packages")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect()
}

#[test]
fn a_damaged_package_is_named_and_nothing_is_made_of_it() {
    let Some(ci::Seeded { dir: seeded, .. }) = ci::seeded(Suite::Trixie) else { return };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = dir.path().join("store");
    let kept = Store::open(&store).unwrap().scratch("seed").unwrap().join("packages");
    fs::create_dir_all(&kept).unwrap();
    let damages: [fn(&mut Vec<u8>); 2] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
    ];
    for damage in damages {
        // Whichever is read first is damaged.
        for package in packages(&seeded) {
            let mut bytes = fs::read(&package).unwrap();
            damage(&mut bytes);
            fs::write(kept.join(package.file_name().unwrap()), bytes).unwrap();
        }
        let mut command = imager(&store);
        command.args(["seed", "debian", "--suite", "trixie", "--arch", "amd64"]);
        command.assert().code(5).stdout("").stderr(contains("error: ").and(contains("sha256:")));
        let opened = Store::open(&store).unwrap();
        assert_eq!(opened.repositories().unwrap(), [""; 0]);
        assert!(opened.scrub(&|_| ()).unwrap().is_clean());
    }
}

/// Runs `imager` with `args` on a disk of `size` that is mounted at `at`; what it prints ends with the files left there.
fn on_a_disk_of(size: &str, at: &Path, store: &Path, args: &[&str]) -> Option<Output> {
    // What is left on the disk is told while it is there.
    let script = "\"$@\"; code=$?; find . -type f -not -path '*/lists/*'; exit $code";
    let mut shell = ci::disk_of(size, at)?;
    shell.args(["sh", "-c", script, "sh"]).arg(assert_cmd::cargo::cargo_bin("imager")).args(args);
    Some(shell.env("IMAGER_STORE", store).env("HOME", "/nonexistent").output().unwrap())
}

#[test]
fn an_asset_that_does_not_fit_leaves_nothing() {
    let Some(ci::Seeded { dir: store, version }) = ci::seeded(Suite::Trixie) else { return };
    let disk = tempfile::tempdir().unwrap();
    for asset in ["kernel-amd64", "metal-amd64.raw", "metal-amd64.raw.zst"] {
        let args = ["build", asset, "--version", &version];
        let Some(output) = on_a_disk_of("4m", disk.path(), &store, &args) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{asset}: {said}");
        assert!(said.contains("no room") && said.contains("hint: make room"), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{asset}: a file is left");
    }
}

#[test]
fn a_seed_that_does_not_fit_makes_no_version() {
    if ci::tool("apt-get").is_none() {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let store = disk.path().join("store");
    let args = ["seed", "debian", "--suite", "trixie", "--arch", "amd64"];
    let Some(output) = on_a_disk_of("96m", disk.path(), &store, &args) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("is full"), "{said}");
    let left = String::from_utf8_lossy(&output.stdout);
    assert!(!left.lines().any(|file| file.contains("/refs/") || file.contains("index.json.")), "{left}");
}
