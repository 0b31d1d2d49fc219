//! Images of real packages, booted: both suites, both architectures, with and without extensions, plain and compressed.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::imager;
use formats::cpio;
use schematics::Schematic;
use seed::{Arch, Suite};
use serde_json::Value;

/// In this order in the schematic, and so on the line: user programs, firmware, microcode, a module.
const EXTENSIONS: [&str; 4] = ["iscsi-tools", "realtek-firmware", "qemu-guest-agent", "drbd"];
/// Seconds; a boot takes 20 to 60 on an idle machine without KVM, and tests share theirs.
const TIMEOUT: &str = "900";
/// Suite, architecture, extensions, file.
const BOOTS: &[(Suite, Arch, &[&str], &str)] = &[
    (Suite::Trixie, Arch::Amd64, &EXTENSIONS, ".raw"),
    (Suite::Trixie, Arch::Amd64, &[], ".raw.zst"),
    (Suite::Trixie, Arch::Arm64, &EXTENSIONS, ".raw"),
    (Suite::Trixie, Arch::Arm64, &[], ".raw.zst"),
    (Suite::Bookworm, Arch::Amd64, &EXTENSIONS, ".raw.zst"),
    (Suite::Bookworm, Arch::Amd64, &[], ".raw"),
    (Suite::Bookworm, Arch::Arm64, &EXTENSIONS, ".raw.zst"),
    (Suite::Bookworm, Arch::Arm64, &[], ".raw"),
];

/// What is booted.
struct Image {
    store: PathBuf,
    version: String,
    arch: Arch,
    schematic: Schematic,
    dir: tempfile::TempDir,
}

impl Image {
    /// An image of `suite` for `arch` with `extensions`, which powers off when it has reported. None where the machine can
    /// neither seed nor emulate.
    fn new(suite: Suite, arch: Arch, extensions: &[&str]) -> Option<Self> {
        ci::tool(match arch {
            Arch::Amd64 => "qemu-system-x86_64",
            Arch::Arm64 => "qemu-system-aarch64",
        })?;
        let ci::Seeded { dir: store, version } = ci::seeded(suite)?;
        let modprobe = if extensions.contains(&"drbd") { ", imager.modprobe=drbd" } else { "" };
        let names: Vec<String> = extensions.iter().map(|name| format!("siderolabs/{name}")).collect();
        let yaml = format!(
            "customization: {{extraKernelArgs: [imager.test=poweroff{modprobe}], \
             systemExtensions: {{officialExtensions: [{}]}}}}",
            names.join(", ")
        );
        let schematic = Schematic::parse(yaml.as_bytes()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("schematic.yaml"), yaml).unwrap();
        Some(Self { store, version, arch, schematic, dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `imager <verb>` on the asset; gives what it printed.
    fn run(&self, verb: &[&str], asset: &str) -> Vec<u8> {
        let (verb, flags) = verb.split_first().unwrap();
        let mut command = imager(&self.store);
        command.current_dir(self.dir.path()).args([*verb, asset, "--version", &self.version]);
        command.args(["--schematic", "schematic.yaml"]).args(flags);
        command.assert().success().get_output().stdout.clone()
    }

    /// Builds the asset; gives its path.
    fn build(&self, asset: &str) -> PathBuf {
        self.run(&["build"], asset);
        self.path(asset)
    }

    /// The line that the machine must print.
    fn line(&self) -> String {
        let Self { version, arch, .. } = self;
        format!("IMAGER-BOOT-OK schematic={} version={version} arch={arch} extensions=", self.schematic.id())
    }
}

/// Boots with these arguments; gives the lines of `expect`.
fn boot(args: &[&str], expect: &[&str]) -> Vec<String> {
    let mut command = imager("/nonexistent".as_ref());
    command.args(["boot", "--json", "--timeout", TIMEOUT]).args(args);
    for text in expect {
        command.args(["--expect", text]);
    }
    let output = command.assert().success().get_output().stdout.clone();
    let booted: Value = serde_json::from_slice(&output).unwrap();
    println!("{booted}");
    serde_json::from_value(booted["lines"].clone()).unwrap()
}

/// The names in a boot line's list of `name@version`.
fn extensions_of<'a>(line: &'a str, image: &Image) -> Vec<&'a str> {
    let list =
        line.strip_prefix(&image.line()).unwrap_or_else(|| panic!("`{line}` is not `{}…`", image.line()));
    list.split(',').filter(|entry| !entry.is_empty()).map(|entry| entry.split_once('@').unwrap().0).collect()
}

/// Builds `metal-<arch><ending>` and boots it.
fn boots(suite: Suite, arch: Arch, extensions: &[&str], ending: &str) {
    let Some(image) = Image::new(suite, arch, extensions) else { return };
    let disk = image.build(&format!("metal-{arch}{ending}"));
    let mut expect = vec!["IMAGER-BOOT-OK"];
    if extensions.contains(&"drbd") {
        expect.push("IMAGER-MODULE-OK drbd");
    }
    let lines = boot(&[disk.to_str().unwrap()], &expect);
    assert_eq!(extensions_of(&lines[0], &image), extensions);
}

#[test]
fn what_is_built_boots_and_names_its_schematic_and_extensions() {
    for &(suite, arch, extensions, ending) in BOOTS {
        println!("{suite} {arch}{ending} with {extensions:?}");
        boots(suite, arch, extensions, ending);
    }
}

/// Where the stored archive with the layers begins in an initramfs, by the plan: after the base.
fn layers_offset(image: &Image, asset: &str) -> usize {
    let plan: Value = serde_json::from_slice(&image.run(&["plan", "--json"], asset)).unwrap();
    let rows = plan["extents"].as_array().unwrap();
    let base = rows.iter().rfind(|row| row["what"] == "initramfs").unwrap();
    let end = base["offset"].as_u64().unwrap() + base["len"].as_u64().unwrap();
    usize::try_from(end.next_multiple_of(4)).unwrap()
}

/// The kernel drops what follows a misaligned archive without failing the boot. Were the layers misaligned, the line
/// would still come, without them: this is what the other tests would see.
#[test]
fn misaligned_layers_are_lost_when_it_boots() {
    let Some(image) = Image::new(Suite::Trixie, Arch::Amd64, &["iscsi-tools"]) else { return };
    let (kernel, initramfs) = (image.build("kernel-amd64"), image.build("initramfs-amd64.xz"));
    let bytes = fs::read(&initramfs).unwrap();
    let offset = layers_offset(&image, "initramfs-amd64.xz");
    assert!(bytes[offset..].starts_with(b"070701"), "a stored archive follows the base");
    let misaligned = image.path("misaligned");
    fs::write(&misaligned, [&bytes[..offset], &[0], &bytes[offset..]].concat()).unwrap();

    let direct = |initrd: &Path| {
        let (kernel, initrd) = (kernel.to_str().unwrap(), initrd.to_str().unwrap());
        let args =
            ["--arch", "amd64", "--kernel", kernel, "--initrd", initrd, "--append", "imager.test=poweroff"];
        boot(&args, &["IMAGER-BOOT-OK"]).remove(0)
    };
    assert_eq!(extensions_of(&direct(&initramfs), &image), ["iscsi-tools"]);
    let lost = direct(&misaligned);
    assert!(lost.ends_with("extensions=") && lost.contains("schematic= "), "{lost}");
}

/// The kernel looks for microcode at the very beginning, in an archive that is not compressed
/// (Documentation/arch/x86/microcode.rst).
#[test]
fn early_microcode_comes_before_all_that_boots() {
    let extensions = ["amd-ucode", "iscsi-tools", "intel-ucode"];
    let Some(image) = Image::new(Suite::Trixie, Arch::Amd64, &extensions) else { return };
    let bytes = fs::read(image.build("initramfs-amd64.xz")).unwrap();
    let names: Vec<String> = cpio::entries(&bytes)
        .map_while(Result::ok)
        .map(|entry| String::from_utf8_lossy(entry.name).into_owned())
        .filter(|name| name.starts_with("kernel/x86/microcode/"))
        .collect();
    assert_eq!(names, ["kernel/x86/microcode/AuthenticAMD.bin", "kernel/x86/microcode/GenuineIntel.bin"]);
}
