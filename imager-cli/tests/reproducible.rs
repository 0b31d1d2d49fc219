//! The promise: same inputs, same bytes, on any machine, with any number of threads.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use seed::Suite;
use store::Store;

const ASSETS: [&str; 6] =
    ["kernel-@", "initramfs-@.xz", "cmdline-metal-@", "metal-@-uki.efi", "metal-@.raw", "metal-@.raw.zst"];
const SCHEMATIC: &str = "customization:
  extraKernelArgs: [console=ttyS0, quiet]
  meta: [{key: 0xa, value: reproducible}]
  systemExtensions:
    officialExtensions:
      - siderolabs/drbd
      - siderolabs/realtek-firmware
      - siderolabs/iscsi-tools
      - siderolabs/qemu-guest-agent
";

/// A factory of its own: a store in some place, on a machine with so many processors.
struct Place {
    store: PathBuf,
    processors: &'static str,
}

impl Place {
    fn imager(&self) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", self.processors]).arg(assert_cmd::cargo::cargo_bin("imager"));
        command.env("IMAGER_STORE", &self.store).env("HOME", "/nonexistent");
        command
    }

    fn seed(&self, threads: &str) {
        let mut command = self.imager();
        command.args(["seed", "debian", "--suite", "trixie", "--arch", "amd64", "--arch", "arm64"]);
        command.args(["--threads", threads]).assert().success();
    }

    /// The digest of the file that `build` writes.
    fn sha256(&self, asset: &str, version: &str, schematic: &Path) -> String {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = dir.path().join(asset);
        let mut command = self.imager();
        command.args(["build", asset, "--version", version, "--schematic"]).arg(schematic);
        command.arg("-o").arg(&file).assert().success();
        let output = Command::new("sha256sum").arg(&file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    }

    /// Every tag with the digest that it names.
    fn tags(&self, version: &str) -> Vec<(String, String, String)> {
        let store = Store::open(&self.store).unwrap();
        let mut found = Vec::new();
        for repository in store.repositories().unwrap() {
            for tag in store.tags(&repository).unwrap() {
                let descriptor = store.resolve_tag(&repository, &tag).unwrap().unwrap();
                found.push((repository.clone(), tag, descriptor.digest().to_string()));
            }
        }
        found.retain(|(_, tag, _)| tag.ends_with(version));
        found
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn stores_seeded_in_different_places_give_the_same_assets() {
    if std::env::var_os("IMAGER_TEST_STORE").is_some() {
        eprintln!("SKIPPED: the packages that the given store was made of may be of another day");
        return;
    }
    if ci::tool("taskset").is_none() {
        return;
    }
    let Some(ci::Seeded { dir: first, version }) = ci::seeded(Suite::Trixie) else { return };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let schematic = |arch| dir.path().join(arch);
    fs::write(schematic("arm64"), SCHEMATIC).unwrap();
    // Microcode is for the one architecture only.
    fs::write(schematic("amd64"), format!("{SCHEMATIC}      - siderolabs/intel-ucode\n")).unwrap();
    let first = Place { store: first, processors: "0,1" };
    let second = Place { store: dir.path().join("elsewhere/on a longer path"), processors: "0" };

    // The shared store may be of another day, when other packages were the newest.
    first.seed("2");
    // The packages are taken over; all that is made of them is made again.
    let scratch = |place: &Place| Store::open(&place.store).unwrap().scratch("seed").unwrap();
    copy(&scratch(&first), &scratch(&second));
    second.seed("1");
    let tags = first.tags(&version);
    assert_eq!(tags.len(), 4 + 8);
    assert_eq!(second.tags(&version), tags);

    for arch in ["amd64", "arm64"] {
        for asset in ASSETS.map(|asset| asset.replace('@', arch)) {
            let [ours, theirs] =
                [&first, &second].map(|place| place.sha256(&asset, &version, &schematic(arch)));
            println!("{ours}  {asset}");
            assert_eq!(ours, theirs, "{asset}");
        }
    }
}
