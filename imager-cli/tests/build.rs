//! Building, planning and listing, on a store with small source images that are made here.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::assert::Assert;
use common::imager;
use imager::Arch;
use predicates::prelude::*;
use predicates::str::contains;
use support::{Made, made, noise, tree};

const KERNEL_LEN: usize = 3_000_000;

/// A store with a version.
fn seeded() -> Made {
    let made = made();
    let kernel = noise("kernel", KERNEL_LEN);
    made.imager("v13.1.0", &[("amd64/vmlinuz", &kernel), ("amd64/initramfs.xz", b"initramfs")]);
    let image = made.manifest(Arch::Amd64, &[tree(&[("manifest.yaml", b"")])]);
    made.catalogue("v13.1.0", &[("iscsi-tools", image), ("drbd", image)]);
    made
}

/// `imager <args>` on the store, in the directory `cwd`.
fn run(made: &Made, cwd: &Path, args: &[&str]) -> Assert {
    imager(&made.dir.path().join("store")).current_dir(cwd).args(args).assert()
}

const KERNEL: [&str; 4] = ["build", "kernel-amd64", "--version", "v13.1.0"];

#[test]
fn an_asset_is_written_under_its_own_name_or_another_or_to_a_pipe() {
    let (made, cwd) = (seeded(), tempfile::tempdir().unwrap());
    let kernel = noise("kernel", KERNEL_LEN);
    run(&made, cwd.path(), &KERNEL).success().stdout("kernel-amd64\n");
    assert!(fs::read(cwd.path().join("kernel-amd64")).unwrap() == kernel);
    fs::write(cwd.path().join("other"), "old").unwrap();
    run(&made, cwd.path(), &["build", "kernel-x86_64", "--version", "13.1.0", "-o", "other"])
        .success()
        .stdout("other\n");
    assert!(fs::read(cwd.path().join("other")).unwrap() == kernel);
    let piped = run(&made, cwd.path(), &[&KERNEL[..], &["-o", "-"]].concat()).success();
    assert!(piped.get_output().stdout == kernel);
    assert_eq!(fs::read_dir(cwd.path()).unwrap().count(), 2, "nothing is left beside the files");
    let json = run(&made, cwd.path(), &[&KERNEL[..], &["--json"]].concat()).success().stderr("");
    let built: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!((&built["path"], &built["size_bytes"]), (&"kernel-amd64".into(), &KERNEL_LEN.into()));
    let both = run(&made, cwd.path(), &[&KERNEL[..], &["--json", "-o", "-"]].concat()).code(2).stdout("");
    let said = String::from_utf8_lossy(&both.get_output().stderr).into_owned();
    assert!(said.contains("both want standard output"), "{said}");
}

#[test]
fn the_schematic_decides_and_is_kept() {
    let (made, cwd) = (seeded(), tempfile::tempdir().unwrap());
    let yaml = "customization: {extraKernelArgs: [console=ttyS0]}";
    fs::write(cwd.path().join("s.yaml"), yaml).unwrap();
    let args = ["build", "cmdline-metal-amd64", "--version", "v13.1.0", "-o", "-", "--schematic"];
    run(&made, cwd.path(), &[&args[..], &["s.yaml"]].concat()).success().stdout(contains("console=ttyS0"));
    imager(&made.dir.path().join("store"))
        .args(args)
        .arg("-")
        .write_stdin("{customization: {extraKernelArgs: [quiet]}}")
        .assert()
        .success()
        .stdout(contains("quiet").and(contains("ttyS0").not()));
    let id = schematics::Schematic::parse(yaml.as_bytes()).unwrap().id();
    assert!(made.store.stat(&id.digest()).unwrap().is_some());
}

#[test]
fn a_plan_accounts_for_every_byte() {
    let (made, cwd) = (seeded(), tempfile::tempdir().unwrap());
    let args = ["plan", "kernel-amd64", "--version", "v13.1.0"];
    run(&made, cwd.path(), &args)
        .success()
        .stdout(contains("kernel-amd64: 3000000 bytes").and(contains("blob  sha256:")));
    let json = run(&made, cwd.path(), &[&args[..], &["--json"]].concat()).success();
    let plan: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    let lens = plan["extents"].as_array().unwrap().iter().map(|row| row["len"].as_u64().unwrap());
    assert_eq!(lens.sum::<u64>(), KERNEL_LEN as u64);
    assert_eq!(plan["name"], "kernel-amd64");
    assert_eq!(fs::read_dir(cwd.path()).unwrap().count(), 0);
}

#[test]
fn versions_and_extensions_are_listed() {
    let (made, cwd) = (seeded(), tempfile::tempdir().unwrap());
    run(&made, cwd.path(), &["versions"]).success().stdout("v13.1.0\n");
    run(&made, cwd.path(), &["versions", "--json"]).success().stdout("[\"v13.1.0\"]\n");
    run(&made, cwd.path(), &["extensions", "13.1.0"])
        .success()
        .stdout("siderolabs/iscsi-tools  About iscsi-tools\nsiderolabs/drbd         About drbd\n");
    run(&made, cwd.path(), &["extensions", "v13.1.0", "--json"])
        .success()
        .stdout(contains(r#""ref":"ghcr.io/"#));
    let empty = cwd.path().join("store");
    imager(&empty).arg("versions").assert().success().stdout("").stderr(contains("imager seed debian"));
    imager(&empty).args(["versions", "--json"]).assert().success().stdout("[]\n").stderr("");
}

#[test]
fn what_cannot_be_made_is_refused_by_the_right_code() {
    let (made, cwd) = (seeded(), tempfile::tempdir().unwrap());
    fs::write(cwd.path().join("bad.yaml"), "customization:\n  metadata: 1\n").unwrap();
    fs::write(
        cwd.path().join("extension.yaml"),
        "customization: {systemExtensions: {officialExtensions: [siderolabs/iscsi-tool]}}",
    )
    .unwrap();
    let at = ["--version", "v13.1.0"];
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["metal-amd64.raw", "--schematic", "bad.yaml"], 2, &["line 2, column 3", "`metadata`", "`meta`"]),
        (&["kernel-amd64", "--schematic", "none.yaml"], 6, &["opening `none.yaml`"]),
        (
            &["initramfs-amd64.xz", "--schematic", "extension.yaml"],
            2,
            &[
                "siderolabs/iscsi-tool",
                "did you mean `siderolabs/iscsi-tools`",
                "hint: `imager extensions v13.1.0`",
            ],
        ),
        (&["metal-amd64.iso"], 3, &["an ISO image is not there yet"]),
        (&["metal-amd64.raw.xz"], 3, &["is not there yet"]),
        (&["metal-amd64.vmdk"], 2, &["invalid profile path"]),
        (&["metal-riscv64.raw"], 2, &["invalid architecture"]),
        (&["kernel-amd64", "-o", "missing/kernel"], 6, &["writing `missing/kernel`"]),
        (&["kernel-amd64", "-o", "."], 6, &["writing `.`"]),
        (&["kernel-amd64", "-o", "/dev/full"], 6, &["no room", "hint: make room"]),
    ];
    for (args, code, says) in table {
        let mut assert = run(&made, cwd.path(), &[&["build"][..], args, &at].concat()).code(*code).stdout("");
        for text in *says {
            assert = assert.stderr(contains(*text));
        }
    }
    run(&made, cwd.path(), &["build", "kernel-amd64", "--version", "v13.2.0"]).code(2).stderr(
        contains("version 13.2.0 is not available, the nearest is `v13.1.0`")
            .and(contains("hint: `imager versions`")),
    );
    run(&made, cwd.path(), &["build", "kernel-amd64", "--version", "13"])
        .code(2)
        .stderr(contains("three numbers"));
    run(&made, cwd.path(), &["build", "kernel-amd64"]).code(2).stderr(contains("--version"));
    run(&made, cwd.path(), &["extensions", "v14.0.0"]).code(2);
    run(&made, cwd.path(), &["plan", "metal-amd64.iso", "--version", "v13.1.0"]).code(3);
    assert_eq!(fs::read_dir(cwd.path()).unwrap().count(), 2, "nothing was written");
}

#[test]
fn a_corrupt_blob_leaves_the_old_file() {
    let (made, cwd) = (seeded(), tempfile::tempdir().unwrap());
    run(&made, cwd.path(), &KERNEL).success();
    let digests = made.store.digests().unwrap();
    let len = Some(KERNEL_LEN as u64);
    let digest = digests.into_iter().find(|digest| made.store.stat(digest).unwrap() == len).unwrap();
    let blob = made.blob_path(&digest);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[KERNEL_LEN / 2] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, bytes).unwrap();
    let old = noise("kernel", KERNEL_LEN);
    run(&made, cwd.path(), &KERNEL)
        .code(6)
        .stderr(contains(format!("blob `{digest}` is corrupt")).and(contains("hint: `imager store verify`")));
    assert!(fs::read(cwd.path().join("kernel-amd64")).unwrap() == old);
    assert_eq!(fs::read_dir(cwd.path()).unwrap().count(), 1);
    // On a pipe, too, nothing is written before all is verified.
    run(&made, cwd.path(), &[&KERNEL[..], &["-o", "-"]].concat()).code(6).stdout("");
    run(&made, cwd.path(), &["store", "verify"]).code(6).stdout(contains(digest.to_string()));
}

#[test]
fn a_pipe_that_is_closed_early_is_no_failure() {
    let made = seeded();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("imager"))
        .env("IMAGER_STORE", made.dir.path().join("store"))
        .args(KERNEL)
        .args(["--quiet", "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
