//! What a version needs is mirrored with its signatures, and comes in again only as it was signed.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod remote_support;
mod sign;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::imager;
use cosign::SigningKey;
use predicates::str::contains;
use remote_support::Program;
use serde_json::Value;
use store::Store;
use support::{Made, VERSION, complete};

/// A store with a complete set, signed by the key whose public half is `key.pub` beside it; `other.pub` is another's.
fn signed() -> Made {
    let made = complete();
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    fs::write(made.dir.path().join("key.pub"), key.public_key_pem()).unwrap();
    fs::write(made.dir.path().join("other.pub"), other.public_key_pem()).unwrap();
    sign::everything(&made.store, &key, VERSION);
    made
}

fn path(made: &Made, name: &str) -> String {
    made.dir.path().join(name).to_str().unwrap().to_owned()
}

fn run(store: &Path, args: &[&str]) -> Value {
    let mut command = imager(store);
    let output = command.env("DOCKER_CONFIG", store).arg("--json").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All tags, as `repository:tag digest`.
fn names(store: &Path) -> Vec<String> {
    let store = Store::open(store).unwrap();
    let mut names = Vec::new();
    for repository in store.repositories().unwrap() {
        for tag in store.tags(&repository).unwrap() {
            let digest = store.resolve_tag(&repository, &tag).unwrap().unwrap().digest().to_string();
            names.push(format!("{repository}:{tag} {digest}"));
        }
    }
    names
}

#[test]
fn a_version_travels_by_file_directory_and_registry_and_makes_the_same_images() {
    let Some(registry) = Program::start() else { return };
    let made = signed();
    let store = path(&made, "store");
    let (store, key) = (Path::new(&store), path(&made, "key.pub"));
    let (file, directory) = (path(&made, "mirror.tar"), format!("{}/", path(&made, "mirror")));
    let (again, twin) = (path(&made, "again.tar"), format!("{}/", path(&made, "twin")));
    let namespace = format!("{}/airgap", registry.host);
    let mirror = ["mirror", "--version", VERSION, "--key", &key, "--to"];
    let to = |target: &str, more: &[&str]| run(store, &[&mirror[..], &[target], more].concat());

    let dry = to(&file, &["--dry-run"]);
    let copied = to(&file, &[]);
    assert_eq!(dry["images"], copied["images"]);
    assert!(dry["dry_run"] == true && dry["written_bytes"] == 0, "{dry}");
    assert_eq!(copied["written_bytes"], fs::metadata(&file).unwrap().len());
    let repositories: Vec<&str> =
        copied["images"].as_array().unwrap().iter().map(|one| one["repository"].as_str().unwrap()).collect();
    let expected =
        ["extensions", "tools", "firmware", "microcode", "old", "broken", "installer-base", "imager"];
    assert_eq!(repositories, expected.map(|name| format!("siderolabs/{name}")));

    // Incremental: what is there is not sent.
    for target in [&directory, &namespace] {
        assert!(to(target, &[])["written_bytes"].as_u64().unwrap() > 100_000, "{target}");
        assert_eq!(to(target, &[])["written_bytes"], 0, "{target}");
    }
    // From the registry, and again into a directory and a file.
    let empty = path(&made, "empty");
    let from = ["--from", &namespace];
    run(Path::new(&empty), &[&mirror[..], &[&twin], &from].concat());
    assert_eq!(names(Path::new(&empty)), [""; 0], "a directory needs no store beside it");
    let fetched = run(Path::new(&empty), &[&mirror[..], &[&again], &from].concat());
    assert!(fetched["fetched_bytes"].as_u64().unwrap() > 100_000, "{fetched}");
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap(), "the same images, the same archive");
    assert_eq!(names(Path::new(&twin)), names(Path::new(&directory)));

    for (i, target) in [&file, &directory, &twin].into_iter().enumerate() {
        let fresh = path(&made, &format!("fresh-{i}"));
        let loaded = run(Path::new(&fresh), &["store", "load", target, "--key", &key]);
        assert_eq!(loaded["images"].as_array().unwrap().len(), expected.len());
        assert_eq!(names(Path::new(&fresh)), names(Path::new(&directory)));
        run(Path::new(&fresh), &["store", "verify"]);
        let built = |store: &Path| {
            let out = path(&made, "disk.raw.zst");
            run(store, &["build", "metal-amd64.raw.zst", "--version", VERSION, "-o", &out]);
            fs::read(out).unwrap()
        };
        assert!(built(Path::new(&fresh)) == built(store));
        let again = run(Path::new(&fresh), &["store", "load", target, "--key", &key]);
        assert_eq!(again["written_bytes"], 0);
    }
}

#[test]
fn stock_tools_read_the_directory_and_the_file() {
    let (Some(skopeo), Some(registry)) = (ci::tool("skopeo"), Program::start()) else { return };
    let (Some(cosign), Some(crane)) = (ci::tool("cosign"), ci::tool("crane")) else { return };
    let made = signed();
    let store = path(&made, "store");
    let (directory, file) = (format!("{}/", path(&made, "mirror")), path(&made, "mirror.tar"));
    let stock = |tool: &Path, args: &[&str]| {
        let mut command = Command::new(tool);
        command.args(args).env("HOME", made.dir.path()).env("NO_PROXY", "*").current_dir(made.dir.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for target in [&directory, &file] {
        run(Path::new(&store), &["mirror", "--version", VERSION, "--unsigned", "--to", target]);
    }
    for (from, to) in [("oci:mirror", "a"), ("oci-archive:mirror.tar", "b")] {
        for repository in ["siderolabs/imager", "siderolabs/installer-base", "siderolabs/tools"] {
            let tag = if repository.ends_with("tools") { "1.0" } else { VERSION };
            let image = format!("{}/{to}/{repository}:{tag}", registry.host);
            let args =
                ["--insecure-policy", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false"];
            let (from, to) = (format!("{from}:{repository}:{tag}"), format!("docker://{image}"));
            stock(&skopeo, &[&args[..], &[&from, &to]].concat());
            let digest = made.store.resolve_tag(repository, tag).unwrap();
            if let Some(descriptor) = digest {
                assert_eq!(stock(&crane, &["digest", &image]), descriptor.digest().to_string());
            }
        }
    }
    // Mirrored to a registry, stock cosign believes it by either shape.
    let namespace = format!("{}/airgap", registry.host);
    run(Path::new(&store), &["mirror", "--version", VERSION, "--unsigned", "--to", &namespace]);
    for shape in ["--new-bundle-format=true", "--new-bundle-format=false"] {
        let image = format!("{namespace}/siderolabs/imager:{VERSION}");
        let args = ["verify", "--insecure-ignore-tlog", "--allow-http-registry", shape, "--key", "key.pub"];
        stock(&cosign, &[&args[..], &[&image]].concat());
    }
}

#[test]
fn what_is_not_signed_as_it_should_be_goes_nowhere() {
    let made = signed();
    let store = path(&made, "store");
    let store = Path::new(&store);
    let (key, other) = (path(&made, "key.pub"), path(&made, "other.pub"));
    let file = path(&made, "mirror.tar");
    let fail = |store: &Path, args: &[&str], code: i32, says: &str| {
        imager(store).env("DOCKER_CONFIG", store).args(args).assert().code(code).stderr(contains(says));
    };
    fail(
        store,
        &["mirror", "--version", VERSION, "--key", &other, "--to", &file],
        5,
        "no signature that is believed",
    );
    assert!(!Path::new(&file).exists());
    let mirror = ["mirror", "--version", VERSION, "--key", &key, "--to", &file];
    run(store, &mirror);
    let fresh = path(&made, "fresh");
    let fresh = Path::new(&fresh);
    fail(fresh, &["store", "load", &file], 2, "--key");
    fail(fresh, &["store", "load", &file, "--key", &other], 5, "no signature that is believed");
    assert_eq!(names(fresh), [""; 0]);
    // A bit of the last layer flipped.
    let whole = fs::read(&file).unwrap();
    let imager_index = made.store.resolve_tag("siderolabs/imager", VERSION).unwrap().unwrap();
    let name = format!("blobs/sha256/{}", imager_index.digest().to_string().trim_start_matches("sha256:"));
    let at = whole.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    let mut flipped = whole.clone();
    flipped[at + 600] ^= 1;
    fs::write(&file, flipped).unwrap();
    fail(fresh, &["store", "load", &file, "--key", &key], 5, "instead of");
    assert!(names(fresh).iter().all(|name| !name.starts_with("siderolabs/imager:")));
    // Cut off.
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    fail(fresh, &["store", "load", &file, "--key", &key], 2, "ends within");
    fs::write(&file, "no archive").unwrap();
    fail(fresh, &["store", "load", &file, "--key", &key], 2, "mirror.tar");
    fail(fresh, &["store", "load", "/nowhere", "--key", &key], 2, "/nowhere");
}

#[test]
fn what_cannot_be_mirrored_says_so() {
    let made = signed();
    let store = path(&made, "store");
    let file = path(&made, "mirror.tar");
    for (args, code, says) in [
        (&["--unsigned", "--to", &file][..], 2, "--version"),
        (&["--unsigned", "--to", "x", "--version", VERSION], 2, "slash at its end"),
        (&["--to", &file, "--version", VERSION], 2, "--key"),
        (&["--unsigned", "--to", &file, "--version", "v13.9.9"], 2, "imager versions"),
        (
            &["--unsigned", "--to", &file, "--version", VERSION, "--extension", "siderolabs/tool"],
            2,
            "siderolabs/tools",
        ),
        (&["--unsigned", "--to", "127.0.0.1:1/x", "--version", VERSION], 5, "127.0.0.1:1"),
        (&["--unsigned", "--to", &file, "--from", "127.0.0.1:1", "--version", VERSION], 5, "127.0.0.1:1"),
    ] {
        let mut command = imager(Path::new(&store));
        command
            .env("DOCKER_CONFIG", &store)
            .arg("mirror")
            .args(args)
            .assert()
            .code(code)
            .stderr(contains(says));
    }
    let some = ["mirror", "--all-versions", "--unsigned", "--extension", "siderolabs/tools", "--to", &file];
    let copied = run(Path::new(&store), &some);
    assert_eq!(copied["images"].as_array().unwrap().len(), 4, "{copied}");
    let none = ["mirror", "--all-versions", "--unsigned", "--no-extensions", "--to", &file];
    assert_eq!(run(Path::new(&store), &none)["images"].as_array().unwrap().len(), 3);
}
