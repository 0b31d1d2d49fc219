//! What `imager boot` refuses, and how it says so.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

/// A protective MBR's signature and a GPT header's: enough to be taken for a disk.
fn empty_disk(path: &Path) {
    let mut disk = vec![0; 1 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[512..520].copy_from_slice(b"EFI PART");
    File::create(path).unwrap().write_all(&disk).unwrap();
}

fn boot(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("imager").unwrap().arg("boot").args(args).assert()
}

#[test]
fn what_is_no_raw_disk_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let zst = {
        let mut bytes = zstd::encode_all(vec![1u8; 100_000].as_slice(), 1).unwrap();
        bytes.truncate(bytes.len() - 3);
        bytes
    };
    let table: &[(&str, &[u8], i32, &str)] = &[
        ("d.raw.xz", b"\xfd7zXZ\0..", 3, "is xz"),
        ("d.raw.gz", b"\x1f\x8b\x08.....", 3, "is gzip"),
        ("d.qcow2", b"QFI\xfb....", 3, "is qcow2"),
        ("text", b"hello", 2, "no partition table"),
        ("empty", b"", 2, "no partition table"),
        ("cut.raw.zst", &zst, 6, "decompressing"),
    ];
    for (name, bytes, code, says) in table {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        boot(&[path.to_str().unwrap()])
            .code(*code)
            .stdout("")
            .stderr(contains("error: ").and(contains(*says)));
    }
    boot(&[dir.path().to_str().unwrap()]).code(2).stderr(contains("is a directory"));
    boot(&["/no/such/disk.raw"]).code(6).stderr(contains("opening `/no/such/disk.raw`"));
}

#[test]
fn a_disk_of_no_architecture_asks_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    empty_disk(&path);
    boot(&[path.to_str().unwrap()])
        .code(2)
        .stderr(contains("no boot loader").and(contains("hint: say which")));
}

#[test]
fn bad_flags_are_invalid_input() {
    boot(&[]).code(2);
    boot(&["a.raw", "--timeout", "soon"]).code(2);
    boot(&["a.raw", "--arch", "riscv64"]).code(2);
    boot(&["--kernel", "k"]).code(2).stderr(contains("--arch"));
    boot(&["a.raw", "--kernel", "k", "--arch", "amd64"]).code(2);
    boot(&["--arch", "amd64", "--kernel", "/no/such/kernel"]).code(6).stderr(contains("/no/such/kernel"));
}

#[test]
fn a_missing_emulator_names_its_package() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metal-arm64.raw");
    empty_disk(&path);
    Command::cargo_bin("imager")
        .unwrap()
        .arg("boot")
        .arg(&path)
        .env("PATH", dir.path())
        .assert()
        .code(4)
        .stderr(contains("`qemu-system-aarch64` is missing").and(contains("qemu-system-arm")));
}

#[test]
fn a_disk_with_nothing_on_it_does_not_boot() {
    if ci::tool("qemu-system-x86_64").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metal-amd64.raw");
    let log = dir.path().join("serial.log");
    empty_disk(&path);
    boot(&[path.to_str().unwrap(), "--timeout", "1"])
        .code(7)
        .stderr(contains("1 s passed before `IMAGER-BOOT-OK`"));
    boot(&[path.to_str().unwrap(), "--serial", log.to_str().unwrap()])
        .code(7)
        .stdout("")
        .stderr(contains("does not boot: the firmware found nothing to boot"));
    assert!(std::fs::read_to_string(log).unwrap().contains("BdsDxe"));
    // The same console, judged by another text: the verdict is the console's.
    boot(&[path.to_str().unwrap(), "--expect", "UEFI Interactive Shell", "--json"])
        .success()
        .stdout(contains(r#"{"lines":["UEFI Interactive Shell"#));
}
