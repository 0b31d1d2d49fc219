//! What other people's crates may be in the programs, and where they come from.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq};

/// Licences that go with `MIT OR Apache-2.0`.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];
/// Crates that others have superseded, and libraries of the system: a build needs a C compiler and nothing else.
const BANNED: [&str; 4] = ["oci-distribution", "openssl-sys", "serde_yaml", "serde_yml"];
fn packages() -> Vec<Value> {
    let arguments = ["metadata", "--format-version=1", "--offline", "--locked"];
    let mut command = Command::new(env!("CARGO"));
    // What other systems need is not there.
    command
        .args(arguments)
        .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|package| !package["source"].is_null()).cloned().collect()
}

fn is_allowed(asked: &LicenseReq) -> bool {
    LICENCES
        .iter()
        .any(|name| Expression::parse(name).unwrap().requirements().any(|known| known.req == *asked))
}

/// What is wrong with the package.
fn fault(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap();
    if BANNED.contains(&name) {
        return Some(format!("`{name}` is banned"));
    }
    let source = package["source"].as_str().unwrap();
    if !source.starts_with("registry+") {
        return Some(format!("`{name}` comes from {source}"));
    }
    let Some(licence) = package["license"].as_str() else {
        return Some(format!("`{name}` names no licence"));
    };
    let expression = Expression::parse_mode(licence, spdx::ParseMode::LAX).unwrap();
    (!expression.evaluate(is_allowed)).then(|| format!("`{name}` is licensed under {licence}"))
}

#[test]
fn every_dependency_may_be_there() {
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    let faults: Vec<String> = packages.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_may_not_be_there_is_found() {
    const SOURCE: &str = "registry+https://registry.example/index";
    let package = |name: &str, source: &str, licence: &str| serde_json::json!({"name": name, "source": source, "license": licence});
    assert_eq!(fault(&package("a", SOURCE, "(MIT/Apache-2.0) AND Unicode-3.0")), None);
    for (package, says) in [
        (package("openssl-sys", SOURCE, "MIT"), "`openssl-sys` is banned"),
        (package("a", "git+https://example.org/a", "MIT"), "`a` comes from"),
        (package("a", SOURCE, "MIT AND GPL-3.0-only"), "`a` is licensed under MIT AND GPL-3.0-only"),
        (serde_json::json!({"name": "a", "source": SOURCE}), "`a` names no licence"),
    ] {
        assert!(fault(&package).unwrap().starts_with(says), "{package}");
    }
}
