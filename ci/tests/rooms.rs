//! Dependencies point down.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Every room and the rooms that it may stand on, top first (ARCHITECTURE.md draws it).
const ROOMS: &[(&str, &[&str])] = &[
    ("factory-server", &["imager", "remote", "schematics", "store", "cosign", "extent"]),
    ("imager-cli", &["imager", "seed", "remote", "schematics", "store", "cosign", "extent"]),
    ("imager", &["remote", "schematics", "extensions", "overlays", "store", "cosign", "formats", "extent"]),
    ("seed", &["extensions", "store", "formats", "extent"]),
    ("schematics", &["extent"]),
    ("extensions", &["formats", "extent"]),
    ("overlays", &["formats", "extent"]),
    ("remote", &["store", "cosign", "formats", "extent"]),
    ("store", &["extent"]),
    ("cosign", &["extent"]),
    ("formats", &["extent"]),
    ("extent", &[]),
    ("ci", &["seed", "store", "extent"]),
];

#[test]
fn dependencies_point_down() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let rooms: BTreeMap<&str, BTreeSet<&str>> =
        ROOMS.iter().map(|(room, below)| (*room, below.iter().copied().collect())).collect();

    let found: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(found, rooms.keys().copied().collect(), "every room is listed here, and nothing else");

    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let below = dependency["name"].as_str().unwrap();
            let normal = dependency["kind"].is_null();
            if normal && found.contains(below) {
                assert!(rooms[name].contains(below), "`{name}` must not stand on `{below}`");
            }
        }
    }
}
