//! A boot: the contract of the initramfs, as the machine inside sees it.
//!
//! The kernel starts in QEMU with layers made here; one of them replaces the second stage by a script that says
//! what it finds.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use extent::{ExtentMap, Tree, read_all};
use formats::squashfs::{Compression, Options, image};

use crate::{Set, sets};

/// Emulated, on a machine that has other things to do: a quiet one takes 7 s.
const TIMEOUT: Duration = Duration::from_mins(4);

const PROBE: &str = "#!/bin/sh
PATH=/usr/sbin:/usr/bin
port=/dev/ttyAMA0
[ -c $port ] || port=/dev/ttyS0
exec >$port 2>&1
dmesg -n 1
echo
echo \"who=$(cat /etc/who) root=$(awk '$2==\"/\"{print $3}' /proc/mounts) layers=$(grep -c 'image: [0-9l]' /etc/extensions.yaml)\"
echo \"firmware=$(cat /usr/lib/firmware/probe.bin) extra=$(cat /.extra/probe)\"
for f in /x /usr/lib/firmware/x /etc/extensions.yaml; do (: >$f) 2>/dev/null && echo \"writable $f\"; done
echo \"schematic=$(cat /run/imager/schematic) extensions=$(cat /run/imager/extensions)\"
for f in /usr/bin/* /usr/sbin/*; do [ -e $f ] || echo \"dangling $f\"; done
/usr/sbin/modprobe drbd; echo \"drbd=$?\"
/usr/sbin/modprobe dm_mod; echo \"dm_mod=$?\"
echo end of probe
poweroff -f
";

/// The squashfs of a tree of files.
fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tree = Tree::new();
    for (path, text) in files {
        tree.file(path, text.as_bytes().to_vec(), 0o755).unwrap();
    }
    image(&tree, &Options::new(Compression::Zstd { level: 3 }), &HashMap::new()).unwrap()
}

/// An archive with layers, their list, firmware and `.extra`.
fn appended() -> Vec<u8> {
    let mut tree = Tree::new();
    let mut yaml = String::from("# made by a test\nlayers:\n");
    // More than the eight loop devices that a kernel begins with.
    for number in 0..10 {
        let who = number.to_string();
        tree.file(&format!("{number}.sqsh"), layer(&[("etc/who", &who)]), 0o644).unwrap();
        let _ = writeln!(
            yaml,
            "    - metadata:\n        name: \"n{number}\"\n        version: '1.{number}'\n      image: {number}.sqsh"
        );
    }
    let last = layer(&[("etc/who", "last"), ("usr/libexec/imager/boot", PROBE)]);
    tree.file("last.sqsh", last, 0o644).unwrap();
    yaml += "    - image: last.sqsh\n      metadata:\n        name: schematic\n        version: abc123\n        extraInfo: |\n            - image: evil.sqsh\n";
    tree.file("extensions.yaml", yaml.into_bytes(), 0o644).unwrap();
    tree.file("usr/lib/firmware/probe.bin", b"blob".to_vec(), 0o644).unwrap();
    tree.file(".extra/probe", b"stub".to_vec(), 0o644).unwrap();
    read_all(&formats::cpio::archive(&tree, 0).unwrap(), &HashMap::new(), 1 << 20).unwrap()
}

/// What the serial line says of a boot with `appended` behind the initramfs, up to its end.
fn boot(set: &Set<'_>, appended: Vec<u8>, arguments: &str) -> Option<String> {
    let (qemu, machine) = match set.arch.as_str() {
        "amd64" => ("qemu-system-x86_64", ["-machine", "q35", "-cpu", "max"]),
        _ => ("qemu-system-aarch64", ["-machine", "virt", "-cpu", "cortex-a57"]),
    };
    let qemu = ci::tool(qemu)?;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("vmlinuz"), set.boot_file("vmlinuz")).unwrap();
    let base = ExtentMap::inline(set.boot_file("initramfs.xz"));
    let initrd = formats::cpio::concat([base, ExtentMap::inline(appended)]);
    fs::write(path("initrd"), read_all(&initrd, &set.seeded.store, 1 << 30).unwrap()).unwrap();
    let mut child = Command::new(qemu)
        .args(machine)
        .args(["-accel", "tcg", "-smp", "1", "-m", "1536", "-no-reboot"])
        .args(["-nographic", "-nic", "none", "-monitor", "none", "-append", arguments])
        .arg("-serial")
        .arg(format!("file:{}", path("log").display()))
        .arg("-kernel")
        .arg(path("vmlinuz"))
        .arg("-initrd")
        .arg(path("initrd"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() && start.elapsed() < TIMEOUT {
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    child.wait().unwrap();
    let log = fs::read(path("log")).unwrap();
    Some(String::from_utf8_lossy(&log).into_owned())
}

#[test]
fn layers_stack_and_bind_as_the_contract_says() {
    for set in &sets() {
        // No serial port among the consoles: what is asserted was written there all the same.
        let Some(log) = boot(set, appended(), "console=tty0 quiet") else { return };
        let names: Vec<_> = (0..10).map(|number| format!("n{number}@1.{number}")).collect();
        for line in [
            "who=last root=overlay layers=11".to_owned(),
            "firmware=blob extra=stub".to_owned(),
            format!("schematic=abc123 extensions={}", names.join(",")),
            "drbd=1".to_owned(),
            "dm_mod=0".to_owned(),
            "end of probe".to_owned(),
        ] {
            assert!(log.lines().any(|said| said.trim_end() == line), "no `{line}` in\n{log}");
        }
        for word in ["writable", "dangling", "IMAGER-BOOT-FAIL", "Kernel panic"] {
            assert!(!log.contains(word), "`{word}` in\n{log}");
        }
    }
}

#[test]
fn without_extensions_the_base_starts_and_reports() {
    for set in &sets() {
        let arguments = "console=tty0 imager.test=poweroff imager.modprobe=dm_mod,drbd,-x,ext4";
        let Some(log) = boot(set, Vec::new(), arguments) else { return };
        let report: Vec<_> =
            log.lines().map(str::trim_end).filter(|line| line.starts_with("IMAGER-")).collect();
        let Set { version, arch, .. } = set;
        assert_eq!(
            report,
            [
                "IMAGER-MODULE-OK dm_mod",
                "IMAGER-MODULE-FAIL drbd",
                "IMAGER-MODULE-OK ext4",
                &format!("IMAGER-BOOT-OK schematic= version={version} arch={arch} extensions="),
            ],
            "{log}"
        );
    }
}

#[test]
fn a_list_that_names_a_layer_that_is_not_there_does_not_boot() {
    for set in &sets() {
        let mut tree = Tree::new();
        tree.file("extensions.yaml", b"layers:\n- image: lost.sqsh\n".to_vec(), 0o644).unwrap();
        let archive = read_all(&formats::cpio::archive(&tree, 0).unwrap(), &HashMap::new(), 1 << 20).unwrap();
        let Some(log) = boot(set, archive, "console=tty0 imager.test=poweroff") else { return };
        assert!(log.contains("IMAGER-BOOT-FAIL cannot mount lost.sqsh"), "{log}");
        assert!(!log.contains("IMAGER-BOOT-OK"), "{log}");
    }
}
