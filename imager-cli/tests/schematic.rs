//! Schematics on the command line.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::imager;
use predicates::prelude::*;
use predicates::str::contains;

const EMPTY_ID: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

#[test]
fn a_schematic_has_one_form_and_one_id() {
    let none = "/nonexistent".as_ref();
    for body in ["{}", "customization:\n  meta: []\n", "overlay: null\n"] {
        let stdin = |args: [&str; 3]| imager(none).args(args).write_stdin(body).assert().success();
        stdin(["schematic", "id", "-"]).stdout(format!("{EMPTY_ID}\n"));
        stdin(["schematic", "canonical", "-"]).stdout("customization: {}\n");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("schematic.yaml");
    fs::write(&file, "customization: {extraKernelArgs: [noapic, nolapic]}").unwrap();
    let id = "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c";
    imager(none).args(["schematic", "id"]).arg(&file).assert().success().stdout(format!("{id}\n"));
    let json = format!(
        r#"{{"id":"{id}","schematic":"customization:\n    extraKernelArgs:\n        - noapic\n        - nolapic\n"}}"#
    );
    imager(none)
        .args(["--json", "schematic", "id"])
        .arg(&file)
        .assert()
        .success()
        .stdout(format!("{json}\n"));
}

#[test]
fn a_bad_schematic_is_invalid_input_with_its_line_and_column() {
    let none = "/nonexistent".as_ref();
    let table = [
        ("customization:\n    extraKernelArg: []\n", "line 2, column 5"),
        ("customization: [", "line 1"),
        ("", "no YAML document"),
    ];
    for (body, says) in table {
        imager(none)
            .args(["schematic", "id", "-"])
            .write_stdin(body)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains("error: reading standard input").and(contains(says)));
    }
    let long = " ".repeat((1 << 20) + 1);
    imager(none)
        .args(["schematic", "id", "-"])
        .write_stdin(long)
        .assert()
        .code(2)
        .stderr(contains("longer than"));
    imager(none)
        .args(["schematic", "id", "/no/such.yaml"])
        .assert()
        .code(6)
        .stderr(contains("`/no/such.yaml`"));
    imager(none).args(["schematic", "id", "/tmp"]).assert().code(6);
    imager(none).args(["schematic", "ids"]).assert().code(2);
    imager(none).assert().code(2);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("imager"))
        .args(["schematic", "canonical", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // Standard input ends only now: what is written finds nobody reading.
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"{}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_a_failure_of_output() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("schematic.yaml");
    fs::write(&file, "{}").unwrap();
    let output = Command::new(assert_cmd::cargo::cargo_bin("imager"))
        .args(["schematic", "canonical"])
        .arg(&file)
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stderr).contains("writing to standard output"));
}
