//! The base: the system that every image starts with.
//!
//! busybox, the C library, kmod and the kernel's modules, all below `usr/`; no package manager, no shell on the
//! console, no daemon. It is read-only: what changes while it runs is mounted over `run`, `tmp` and `var`.
//!
//! ```text
//! bin sbin lib lib64 → usr/…     usr/bin       busybox, a link for each of its applets, kmod
//! etc/                           usr/lib       the C library, os-release, modules/<release>/, firmware/ (empty)
//! dev proc run sys tmp var       usr/libexec   stage 2 of the boot
//! .extra                         usr/sbin      init → busybox
//! ```
//!
//! Source: imager specification, §4.8 (mount points that have to be there).

use std::fmt::Write as _;

use extent::{Blobs, ExtentMap, Tree, TreeError, read_all};

use crate::initramfs::BOOT;
use crate::{Error, Suite, tree};

/// Packages of the base; what they depend on comes with them. The kernel is not among them: only its modules are
/// in the tree.
pub(crate) const PACKAGES: [&str; 3] = ["busybox-static", "kmod", "libc6"];
/// The package that busybox is taken from: static, so that it also runs where there is no library.
pub(crate) const BUSYBOX: &str = "busybox-static";

/// What a base of this kind does not use of its packages.
const DROPPED: [&str; 2] = ["usr/share/libc-bin", "usr/libexec/coreutils"];
/// busybox has 2 MB.
const BUSYBOX_LEN_MAX: u64 = 16 << 20;
/// busybox has 400 applets.
const APPLETS_MAX: usize = 2000;

const INITTAB: &str = "::sysinit:/usr/libexec/imager/boot\n::ctrlaltdel:/usr/bin/reboot\n\
                       ::shutdown:/usr/bin/umount -a -r\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";

/// The tree of the base, of the files of `packages` and the `modules`.
///
/// # Errors
/// `FileMissing` when busybox is not where it should be, or names no applets.
pub(crate) fn rootfs(
    suite: Suite,
    version: &str,
    packages: &[Tree],
    modules: &Tree,
    blobs: &dyn Blobs,
) -> Result<Tree, Error> {
    let mut rootfs = Tree::new();
    for package in packages {
        lay(&mut rootfs, &tree::merged(package));
    }
    rootfs = tree::without(rootfs, &DROPPED);
    let busybox = busybox(&rootfs)?.clone();
    let binary = read_all(&busybox, blobs, BUSYBOX_LEN_MAX).map_err(Error::io("read", BUSYBOX))?;
    let applets = applets(&binary).ok_or_else(|| missing("usr/bin/busybox with a list of applets"))?;
    for applet in applets {
        let taken = ["usr/bin", "usr/sbin"].map(|dir| tree::path(&format!("{dir}/{applet}")));
        if taken.iter().all(|path| rootfs.get(path).is_none()) {
            rootfs.symlink(taken[0].as_str(), "busybox").expect("usr/bin is a directory");
        }
    }
    lay(&mut rootfs, modules);
    skeleton(&mut rootfs, suite, version).expect("these paths are valid and apart");
    Ok(rootfs)
}

/// busybox in a tree of the base's packages.
pub(crate) fn busybox(tree: &Tree) -> Result<&ExtentMap, Error> {
    tree.content("usr/bin/busybox").ok_or_else(|| missing("usr/bin/busybox"))
}

/// Lays `over` over `tree`; what is in its way goes.
pub(crate) fn lay(tree: &mut Tree, over: &Tree) {
    for (path, node) in over.iter().skip(1) {
        tree::insert(tree, path.clone(), node.clone());
    }
}

fn missing(path: &str) -> Error {
    Error::FileMissing { package: BUSYBOX.to_owned(), path: path.to_owned() }
}

fn skeleton(rootfs: &mut Tree, suite: Suite, version: &str) -> Result<(), TreeError> {
    for name in tree::MERGED {
        rootfs.directory(&format!("usr/{name}"), 0o755)?;
        rootfs.symlink(name, &format!("usr/{name}"))?;
    }
    for (dir, mode) in [
        (".extra", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("mnt", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("run", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("usr/lib/firmware", 0o755),
        ("var", 0o755),
    ] {
        rootfs.directory(dir, mode)?;
    }
    rootfs.symlink("usr/sbin/init", "../bin/busybox")?;
    rootfs.symlink("etc/os-release", "../usr/lib/os-release")?;
    rootfs.symlink("etc/mtab", "../proc/self/mounts")?;
    rootfs.symlink("etc/resolv.conf", "../run/resolv.conf")?;
    rootfs.file("usr/libexec/imager/boot", BOOT.as_bytes().to_vec(), 0o755)?;
    rootfs.file("usr/lib/os-release", os_release(suite, version).into_bytes(), 0o644)?;
    for (path, text) in [
        ("etc/inittab", INITTAB),
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/nsswitch.conf", NSSWITCH),
        // What extensions.yaml is mounted over; without extensions it stays empty.
        ("etc/extensions.yaml", ""),
    ] {
        rootfs.file(path, text.as_bytes().to_vec(), 0o644)?;
    }
    Ok(())
}

fn os_release(suite: Suite, version: &str) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("NAME", "Debian base of the image factory"),
        ("ID", "imager"),
        ("ID_LIKE", "debian"),
        ("VERSION_ID", version),
        ("VERSION_CODENAME", suite.codename()),
    ] {
        let _ = writeln!(text, "{name}=\"{value}\"");
    }
    let _ = writeln!(text, "PRETTY_NAME=\"Debian base of the image factory {version}\"");
    text
}

/// The names of the applets that a busybox binary has, without `init` and its like.
///
/// They lie in it as one ascending list of C strings, which begins with `[` and `[[`. Running it would tell as
/// well, but not on a machine of another architecture.
///
/// Source: busybox 1.35 and 1.37, `applets/applet_tables.c`.
fn applets(binary: &[u8]) -> Option<Vec<&str>> {
    const BEGIN: &[u8] = b"[\0[[\0";
    let at = binary.windows(BEGIN.len()).position(|window| window == BEGIN)?;
    let mut applets: Vec<&str> = Vec::new();
    for name in binary[at..].split(|&byte| byte == 0).take(APPLETS_MAX) {
        let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"[_-.".contains(byte));
        let Some(name) = std::str::from_utf8(name).ok().filter(|_| is_name) else { break };
        if applets.last().is_some_and(|last| *last >= name) || ["", ".", ".."].contains(&name) {
            break;
        }
        applets.push(name);
    }
    applets.retain(|name| !["busybox", "init", "linuxrc"].contains(name));
    Some(applets)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::process::Command;

    use super::*;

    #[test]
    fn applets_are_those_that_busybox_lists() {
        let Some(tool) = ci::tool("busybox") else { return };
        let binary = std::fs::read(&tool).unwrap();
        let output = Command::new(&tool).arg("--list").output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let listed: Vec<_> =
            listed.lines().filter(|name| !["busybox", "init", "linuxrc"].contains(name)).collect();
        assert_eq!(applets(&binary).unwrap(), listed);
        assert_eq!(applets(b"\x7fELF"), None);
        assert_eq!(applets(b"x[\0[[\0ls\0../x\0vi\0"), Some(vec!["[", "[[", "ls"]));
        assert_eq!(applets(b"[\0[[\0ls\0ar\0"), Some(vec!["[", "[[", "ls"]));
        assert_eq!(applets(b"[\0[[\0"), Some(vec!["[", "[["]));
    }

    #[test]
    fn the_base_has_what_the_boot_mounts_over() {
        let mut package = Tree::new();
        package.file("bin/busybox", b"\0[\0[[\0ls\0modprobe\0\0".to_vec(), 0o755).unwrap();
        package.file("sbin/modprobe", b"kmod".to_vec(), 0o755).unwrap();
        let none = HashMap::new();
        let rootfs = rootfs(Suite::Trixie, "v13.2.0", &[package], &Tree::new(), &none).unwrap();
        for path in [
            ".extra",
            "proc",
            "run",
            "usr/lib/firmware",
            "etc/extensions.yaml",
            "usr/bin/ls",
            "usr/sbin/init",
        ] {
            assert!(rootfs.get(&tree::path(path)).is_some(), "{path}");
        }
        assert!(rootfs.get(&tree::path("usr/bin/modprobe")).is_none(), "kmod's is there");
        let os_release = read_all(rootfs.content("usr/lib/os-release").unwrap(), &none, 1000).unwrap();
        assert!(String::from_utf8(os_release).unwrap().contains("\nVERSION_ID=\"v13.2.0\"\n"));
        let error = super::rootfs(Suite::Trixie, "v13.2.0", &[], &Tree::new(), &none).unwrap_err();
        assert_eq!(error.to_string(), "package `busybox-static` has no `usr/bin/busybox`");
    }
}
