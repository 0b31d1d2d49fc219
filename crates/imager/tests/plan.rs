//! What is planned: golden tables, and what must hold for every asset.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;

use extent::{ExtentMap, read_all};
use formats::{gpt::Guid, pe};
use futures::FutureExt as _;
use imager::profile::OutFormat;
use imager::{Artifact, AssetKind, ErrorClass, Lock, rows, table};
use proptest::prelude::*;
use support::{Made, SCHEMATIC, VERSION, complete, extension, made};

/// Every kind of asset that can be made.
const ASSETS: [&str; 10] = [
    "kernel-amd64",
    "initramfs-amd64.xz",
    "cmdline-metal-amd64",
    "metal-amd64-uki.efi",
    "metal-amd64.raw",
    "metal-amd64.raw.zst",
    "metal-arm64-uki.efi",
    "metal-arm64.raw.zst",
    "aws-amd64.raw",
    "installer-amd64.tar",
];

/// The table with what is in the headers, as a person reviews it.
fn printed(made: &Made, lock: &Lock, artifact: &Artifact) -> String {
    let Artifact { name, media_type, extents } = artifact;
    let mut text = format!("{name} {media_type} {} bytes\n\n", extents.len());
    let bytes = |from: u64, to: u64| read_all(&extents.slice(from..to), &made.store, 1 << 30).unwrap();
    if lock.asset.kind() == AssetKind::Uki {
        for section in pe::sections(&bytes(0, extents.len())).unwrap() {
            let pe::SectionHeader { name, virtual_address, virtual_size, data, .. } = section;
            let from = data.start;
            let _ = writeln!(
                text,
                "section {name:<9} at {virtual_address:>#8x} {virtual_size:>8} bytes from {from}"
            );
        }
        text.push('\n');
    }
    if matches!(lock.asset.kind(), AssetKind::Image { packing: OutFormat::Raw, .. }) {
        for entry in bytes(1024, 1024 + 128 * 128).chunks_exact(128).filter(|entry| entry[0] != 0) {
            let lba = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
            let guid = |at: usize| Guid::from_disk(entry[at..at + 16].try_into().unwrap());
            let units: Vec<u16> =
                entry[56..].as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
            let name = String::from_utf16(&units).unwrap();
            let name = name.trim_end_matches('\0');
            let _ = writeln!(
                text,
                "partition {name:<5} {} {} sectors {}..={}",
                guid(0),
                guid(16),
                lba(32),
                lba(40)
            );
        }
        text.push('\n');
    }
    text + &table(&rows(artifact, lock))
}

#[tokio::test]
async fn extents_are_the_golden_ones() {
    let made = complete();
    for path in ASSETS {
        let (lock, artifact) = made.plan(SCHEMATIC, path).await;
        let printed = printed(&made, &lock, &artifact);
        let golden =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{path}.txt"));
        // A change is looked at with `git diff` and named in the changelog.
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &printed).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert!(printed == expected, "`{}` is not:\n{printed}", golden.display());
    }
}

/// A schematic that embeds `len` bytes.
fn embedding(len: usize) -> String {
    format!("customization: {{embeddedMachineConfiguration: \"{}\"}}", "x1".repeat(len / 2))
}

#[test]
fn plans_that_compress_much_hold_neither_the_thread_of_who_asks_nor_other_plans() {
    // The one thread of the pool is held, so that what is handed to it is never done too soon to be seen.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let made = complete();
        let path = "metal-amd64-uki.efi";
        let mut brief = Vec::new();
        for len in [0, 1000] {
            brief.push(made.resolve(&embedding(len), path).await.unwrap());
        }
        let mut long = Vec::new();
        // As many as take every turn there is.
        for n in 0..std::thread::available_parallelism().unwrap().get() {
            long.push(made.resolve(&embedding(100_000 + 2 * n), path).await.unwrap());
        }

        let (release, held) = std::sync::mpsc::channel::<()>();
        let holding = tokio::task::spawn_blocking(move || held.recv());
        let mut waiting = Vec::new();
        for resolved in long {
            let mut planning = Box::pin(made.factory.planning(resolved));
            assert!(planning.as_mut().now_or_never().is_none());
            waiting.push(planning);
        }
        for resolved in brief {
            let planning = made.factory.planning(resolved).now_or_never();
            planning.expect("brief plans wait for nothing").unwrap();
        }

        release.send(()).unwrap();
        holding.await.unwrap().unwrap();
        for planning in waiting {
            planning.await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_small_virtual_layer_that_is_stored_takes_one_page() {
    let made = complete();
    let len = async |schematic: &str| made.plan(schematic, "initramfs-amd64.xz").await.1.extents.len();
    let base = len("customization: {}").await;
    for embedded in [2, 2 << 10] {
        // Beside the page: its entry in the list of layers, and there the schematic itself.
        let grown = len(&embedding(embedded)).await - base;
        assert!((4096..4096 + 1024 + embedded as u64).contains(&grown), "{embedded} bytes: {grown}");
    }
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_in_any_store() {
    let (one, other) = (complete(), complete());
    for path in ASSETS {
        let (lock, artifact) = one.plan(SCHEMATIC, path).await;
        let (other_lock, other_artifact) = other.plan(SCHEMATIC, path).await;
        assert_eq!(lock, other_lock, "{path}");
        assert_eq!(artifact.extents.id(), other_artifact.extents.id(), "{path}");
    }
}

#[tokio::test]
async fn a_lock_survives_its_text_and_plans_the_same() {
    let made = complete();
    for path in ASSETS {
        let resolved = made.resolve(SCHEMATIC, path).await.unwrap();
        let text = serde_json::to_string(&resolved.lock).unwrap();
        let lock: Lock = serde_json::from_str(&text).unwrap();
        assert_eq!(lock, resolved.lock);
        assert_eq!(lock.digest(), resolved.lock.digest());
        let mut again = resolved.clone();
        again.lock = lock;
        assert_eq!(imager::plan(&again).unwrap(), imager::plan(&resolved).unwrap());
    }
}

#[tokio::test]
async fn every_blob_that_is_carried_is_in_the_lock() {
    let made = complete();
    for path in ASSETS {
        let (lock, artifact) = made.plan(SCHEMATIC, path).await;
        let locked: BTreeSet<_> = lock.blobs().into_iter().map(|(digest, _)| digest).collect();
        for digest in artifact.extents.blobs() {
            assert!(locked.contains(&digest), "{path}: {digest}");
        }
    }
}

fn in_pieces(made: &Made, extents: &ExtentMap, cuts: &[u64]) {
    let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut % (extents.len() + 1)).collect();
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        // Disks are long: short pieces anywhere.
        let end = pair[1].min(pair[0] + 100_000);
        let middle = pair[0].midpoint(end);
        let read = |from, to| read_all(&extents.slice(from..to), &made.store, 1 << 20).unwrap();
        let mut joined = read(pair[0], middle);
        joined.extend(read(middle, end));
        assert_eq!(joined, read(pair[0], end));
    }
}

#[test]
fn concatenated_slices_equal_the_whole() {
    let made = complete();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plans: Vec<ExtentMap> =
        ASSETS.iter().map(|path| runtime.block_on(made.plan(SCHEMATIC, path)).1.extents).collect();
    proptest!(ProptestConfig::with_cases(16), |(cuts in prop::collection::vec(any::<u64>(), 2..20))| {
        for extents in &plans {
            in_pieces(&made, extents, &cuts);
        }
    });
}

/// All that is below a directory, by path, with lengths.
fn files(dir: &std::path::Path) -> BTreeSet<(std::path::PathBuf, u64)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert((entry.path(), metadata.len()));
        }
    }
    found
}

#[tokio::test]
async fn a_new_schematic_costs_nothing_but_itself() {
    let made = complete();
    for path in ASSETS {
        made.plan(SCHEMATIC, path).await;
    }
    let before = files(made.dir.path());
    for number in 0..20 {
        let yaml = SCHEMATIC
            .replace("console=ttyS0", &format!("number={number}"))
            .replace("a: 1", &number.to_string());
        for path in ASSETS {
            made.plan(&yaml, path).await;
        }
    }
    // An installer image names its layer by a digest, which is remembered; nothing else is.
    let after = files(made.dir.path());
    let (digests, others): (Vec<_>, Vec<_>) = after
        .difference(&before)
        .partition(|(path, _)| path.parent().unwrap().ends_with("derivations/sha256"));
    assert_eq!((digests.len(), others.len()), (20, 0));
    assert!(digests.iter().all(|(_, len)| *len < 4096));
    let before = after;
    let schematic = schematics::Schematic::parse(SCHEMATIC.as_bytes()).unwrap();
    made.factory.put_schematic(&schematic).await.unwrap();
    let after = files(made.dir.path());
    let new: Vec<_> = after.difference(&before).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0].1 < 8192);
}

#[tokio::test]
async fn the_kernel_of_one_architecture_is_compressed_once() {
    let made = complete();
    let (lock, packed) = made.plan("{}", "metal-arm64.raw.zst").await;
    let form = lock.boot_files.unwrap().kernel_form.unwrap();
    assert!(packed.extents.blobs().contains(&form.digest));
    let (lock, _) = made.plan("{}", "metal-amd64.raw.zst").await;
    assert_eq!(lock.boot_files.unwrap().kernel_form, None);
    let (lock, _) = made.plan("{}", "metal-arm64.raw").await;
    assert_eq!(lock.boot_files.unwrap().kernel_form, None, "a raw disk does not depend on it");
}

#[tokio::test]
async fn extensions_that_cannot_be_used_are_named() {
    let made = complete();
    for (name, expected, class, exit_code) in [
        (
            "old",
            "extension `siderolabs/old` cannot be used: extension `old` is for versions `< 2.0.0`, not for `13.1.0`",
            ErrorClass::BadRequest,
            3,
        ),
        ("broken", "extension `siderolabs/broken` cannot be used: ", ErrorClass::Internal, 5),
    ] {
        let yaml =
            format!("customization: {{systemExtensions: {{officialExtensions: [siderolabs/{name}]}}}}");
        let error = made.resolve(&yaml, "initramfs-amd64.xz").await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert!(format!("{error}: {source}").starts_with(expected), "{error}: {source}");
        assert_eq!((error.class(), error.exit_code()), (class, exit_code));
    }
    let yaml = "customization: {systemExtensions: {officialExtensions: [siderolabs/broken]}}";
    let error = made.resolve(yaml, "initramfs-arm64.xz").await.unwrap_err();
    assert_eq!(error.to_string(), "image `siderolabs/broken` is not there for `arm64`");
    assert_eq!((error.class(), error.exit_code()), (ErrorClass::BadRequest, 3));
}

#[tokio::test]
async fn more_than_ten_extensions_are_layers_in_the_order_of_the_reference() {
    let made = made();
    made.complete(b"initramfs");
    let names: Vec<String> = (0..11).map(|n| format!("e{n}")).collect();
    let images: Vec<_> = names
        .iter()
        .map(|name| {
            let layer = extension(name, ">= 1.0.0", &[("usr/local/bin/e", name.as_bytes())]);
            (name.as_str(), made.manifest(imager::Arch::Amd64, &[layer]))
        })
        .collect();
    made.catalogue(VERSION, &images);
    let asked: Vec<String> = names.iter().map(|name| format!("siderolabs/{name}")).collect();
    let yaml = format!("customization: {{systemExtensions: {{officialExtensions: [{}]}}}}", asked.join(", "));
    let (_, artifact) = made.plan(&yaml, "initramfs-amd64.xz").await;
    let bytes = read_all(&artifact.extents, &made.store, 1 << 20).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let listed: Vec<&str> = text
        .split("    - image: \"")
        .skip(1)
        .map(|layer| layer.split_once("name: \"").unwrap().1.split_once('"').unwrap().0)
        .collect();
    assert_eq!(
        listed,
        ["e0", "e1", "e10", "schematic", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9"],
        "the schematic is number 11"
    );
}

#[tokio::test]
async fn an_image_without_loaders_makes_no_uki() {
    let made = made();
    made.imager(VERSION, &[("amd64/vmlinuz", b"kernel"), ("amd64/initramfs.xz", b"initramfs")]);
    let error = made.resolve("{}", "metal-amd64.raw").await.unwrap_err();
    assert_eq!(error.to_string(), "image `siderolabs/imager:v13.1.0` has no file `systemd-boot.efi`");
    assert!(made.resolve("{}", "initramfs-amd64.xz").await.is_ok());
}

#[tokio::test]
async fn a_uki_beyond_its_partition_says_so() {
    let made = made();
    made.complete(b"x");
    let mut resolved = made.resolve("{}", "metal-amd64.raw").await.unwrap();
    // Planning reads nothing, so nothing needs to be there. The partition has 2101 MiB.
    resolved.lock.boot_files.as_mut().unwrap().initramfs.len = 2200 << 20;
    let error = imager::plan(&resolved).unwrap_err();
    assert!(matches!(error, imager::Error::Fat(formats::fat::Error::TooSmall { .. })), "{error}");
    assert_eq!((error.class(), error.exit_code()), (ErrorClass::BadRequest, 7));
}
