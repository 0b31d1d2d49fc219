//! What is in the images.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use extent::{Kind, Tree, TreePath};

use crate::{Set, sets};

fn paths(tree: &Tree) -> BTreeSet<&str> {
    tree.iter().map(|(path, _)| path.as_str()).collect()
}

/// The members of the initramfs, by name.
fn initramfs(set: &Set<'_>) -> BTreeMap<String, Vec<u8>> {
    let packed = set.boot_file("initramfs.xz");
    let mut decoder = zstd::Decoder::with_buffer(&packed[..]).unwrap().single_frame();
    let mut archive = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut archive).unwrap();
    assert!(decoder.finish().is_empty(), "the kernel wants one frame around one archive");
    let entries = formats::cpio::entries(&archive).map(Result::unwrap);
    entries
        .map(|entry| (String::from_utf8(entry.name.to_vec()).unwrap(), archive[range(&entry.data)].to_vec()))
        .collect()
}

fn range(range: &std::ops::Range<u64>) -> std::ops::Range<usize> {
    range.start.try_into().unwrap()..range.end.try_into().unwrap()
}

/// Unpacks the base into `dir`, as far as a user can; gives the paths in it, links included.
fn unpack_base(set: &Set<'_>, dir: &Path) -> Option<BTreeSet<String>> {
    let unsquashfs = ci::tool("unsquashfs")?;
    let image = dir.join("rootfs.sqsh");
    fs::write(&image, &initramfs(set)["rootfs.sqsh"]).unwrap();
    let root = dir.join("base");
    let output =
        Command::new(&unsquashfs).args(["-no-progress", "-d"]).arg(&root).arg(&image).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut paths = BTreeSet::new();
    walk(&root, &root, &mut paths);
    Some(paths)
}

fn walk(root: &Path, dir: &Path, paths: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        paths.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        if path.is_dir() && !path.is_symlink() {
            walk(root, &path, paths);
        }
    }
}

#[test]
fn boot_files_lie_where_the_factory_looks() {
    for set in &sets() {
        let tree = set.boot_files();
        let prefix = format!("usr/install/{}/", set.arch);
        let found: Vec<_> = paths(&tree).into_iter().filter_map(|path| path.strip_prefix(&prefix)).collect();
        assert_eq!(found, ["initramfs.xz", "systemd-boot.efi", "systemd-stub.efi", "vmlinuz"]);
        let release = formats::linux::release(&set.boot_file("vmlinuz")).unwrap().unwrap();
        let line = if set.version.starts_with("v12.") { "6.1." } else { "6.12." };
        assert!(release.starts_with(line), "{release}");
        for name in ["systemd-boot.efi", "systemd-stub.efi"] {
            let image = set.boot_file(name);
            let sections = format!("{:?}", formats::pe::sections(&image).unwrap());
            assert!(sections.contains(".sdmagic"), "{name}: {sections}");
        }
        let members = initramfs(set);
        for name in ["init", "rootfs.sqsh", "bin/busybox", "layers.awk", "modules/order", "modules/loop.ko"] {
            assert!(members.contains_key(name), "{name} in {:?}", members.keys());
        }
        // Loaded by busybox as it is, so not compressed; and whole, with the signature that lockdown asks for.
        assert!(members["modules/loop.ko"].starts_with(b"\x7fELF"));
        assert!(members["modules/loop.ko"].ends_with(b"~Module signature appended~\n"));
    }
}

#[test]
fn the_base_leaves_out_what_an_extension_brings() {
    for set in &sets() {
        check_base(set);
    }
}

fn check_base(set: &Set<'_>) {
    let dir = tempfile::tempdir().unwrap();
    let Some(base) = unpack_base(set, dir.path()) else { return };
    let has = |part: &str| base.iter().any(|path| path.contains(part));
    for part in [
        "/kernel/fs/overlayfs/overlay.ko",
        "/net/virtio_net.ko",
        "/host/nvme.ko",
        "/fs/ext4/ext4.ko",
        "libcrc32c.ko",
        "wireguard.ko",
    ] {
        assert!(has(part), "{part}");
    }
    for part in [
        "drbd",
        "lru_cache",
        "/drivers/gpu/",
        "/kernel/sound/",
        "/net/wireless/",
        "/infiniband/",
        "usr/share/doc",
    ] {
        assert!(!has(part), "{part}");
    }
    let index = base.iter().find(|path| path.ends_with("/modules.dep")).unwrap();
    let text = fs::read_to_string(dir.path().join("base").join(index)).unwrap();
    let release = Path::new(index).parent().unwrap();
    let mut count = 0;
    for line in text.lines() {
        let (module, needs) = line.split_once(':').unwrap();
        for path in [module].into_iter().chain(needs.split_whitespace()) {
            assert!(base.contains(release.join(path).to_str().unwrap()), "{path} of {module}");
        }
        count += 1;
    }
    assert!(count > 1000, "{count} modules");
    for name in ["bin", "sbin", "lib", "lib64"] {
        let link = fs::read_link(dir.path().join("base").join(name)).unwrap();
        assert_eq!(link, Path::new("usr").join(name));
    }
    let os_release = fs::read_to_string(dir.path().join("base/usr/lib/os-release")).unwrap();
    assert!(os_release.contains(&format!("VERSION_ID=\"{}\"\n", set.version)), "{os_release}");
}

/// The extensions of a set: names, and the trees of their images.
fn extensions(set: &Set<'_>) -> BTreeMap<String, Tree> {
    let mut found = BTreeMap::new();
    for line in set.catalogue("siderolabs/extensions", "image-digests").lines() {
        let (reference, digest) = line.split_once('@').unwrap();
        let name = reference.strip_prefix("debian.invalid/siderolabs/").unwrap().split(':').next().unwrap();
        for entry in set.seeded.index(digest).manifests() {
            if entry.platform().as_ref().unwrap().architecture().to_string() == set.arch {
                let manifest = set.seeded.manifest(entry.digest().as_ref());
                found.insert(name.to_owned(), set.seeded.tree(&manifest));
            }
        }
    }
    found
}

#[test]
fn extension_images_have_a_manifest_and_a_merged_root() {
    for set in &sets() {
        let extensions = extensions(set);
        let mut expected = vec![
            "amd-ucode",
            "drbd",
            "intel-ucode",
            "iscsi-tools",
            "nfs-utils",
            "qemu-guest-agent",
            "realtek-firmware",
            "wireguard-tools",
        ];
        expected.retain(|name| set.arch == "amd64" || !name.ends_with("-ucode"));
        assert_eq!(extensions.keys().collect::<Vec<_>>(), expected);
        for (name, tree) in &extensions {
            let root = TreePath::root();
            let top: Vec<_> = tree.children(&root).map(|(path, _)| path.as_str()).collect();
            assert_eq!(top, ["manifest.yaml", "rootfs"], "{name}");
            let manifest = String::from_utf8(set.seeded.bytes(tree, "manifest.yaml")).unwrap();
            assert!(manifest.contains(&format!("    name: \"{name}\"\n")), "{manifest}");
            let inside = TreePath::parse("rootfs").unwrap();
            for (path, node) in tree.children(&inside) {
                assert!(
                    ["etc", "usr"].contains(&path.name()) && node.kind == Kind::Directory,
                    "{name}: {path}"
                );
            }
        }
        let is_there = |name: &str, part: &str| {
            extensions.get(name).is_none_or(|tree| paths(tree).iter().any(|path| path.contains(part)))
        };
        assert!(is_there("intel-ucode", "rootfs/usr/lib/firmware/intel-ucode/06-"));
        assert!(is_there("amd-ucode", "rootfs/usr/lib/firmware/amd-ucode/microcode_amd_fam17h.bin"));
        assert!(is_there("realtek-firmware", "rootfs/usr/lib/firmware/rtl_nic/"));
        assert!(is_there("drbd", "/kernel/drivers/block/drbd/drbd.ko"));
        assert!(is_there("drbd", "/kernel/lib/lru_cache.ko"));
        assert!(!is_there("drbd", "modules.dep"), "its index is made together with the base's");

        let descriptions = set.catalogue("siderolabs/extensions", "descriptions.yaml");
        for line in set.catalogue("siderolabs/extensions", "image-digests").lines() {
            assert!(descriptions.contains(&format!("{line}:\n    author: \"")), "{line}");
        }
        assert_eq!(set.catalogue("siderolabs/overlays", "overlays.yaml"), "overlays: []\n");
    }
}

/// What the loader or the kernel would look for: the interpreters and libraries that the programs in a directory
/// name, each with one that names it. As `readelf` and the first lines of scripts say.
fn needs(dir: &Path) -> Option<BTreeMap<String, String>> {
    let mut files = BTreeSet::new();
    walk(dir, dir, &mut files);
    let mut needs = BTreeMap::new();
    let mut programs = Vec::new();
    for file in files {
        let path = dir.join(&file);
        if path.is_symlink() || !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        if bytes.starts_with(b"\x7fELF") && !file.contains("/modules/") {
            programs.push(path);
        } else if bytes.starts_with(b"#!") {
            let line = String::from_utf8_lossy(bytes.split(|&b| b == b'\n').next().unwrap()).into_owned();
            let interpreter = line[2..].split_whitespace().next().unwrap().to_owned();
            needs.insert(interpreter, file);
        }
    }
    if programs.is_empty() {
        return Some(needs);
    }
    let output = Command::new(ci::tool("readelf")?).arg("-dlW").args(&programs).output().unwrap();
    let mut program = String::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(file) = line.strip_prefix("File: ") {
            file.clone_into(&mut program);
        }
        let between =
            |start: &str| line.split_once(start)?.1.split_once(']').map(|(name, _)| name.to_owned());
        let needed = between("Shared library: [").or_else(|| between("program interpreter: "));
        if let Some(name) = needed {
            needs.insert(name.trim().to_owned(), program.clone());
        }
    }
    Some(needs)
}

#[test]
fn programs_find_their_libraries_and_interpreters() {
    for set in &sets() {
        check_needs(set);
    }
}

fn check_needs(set: &Set<'_>) {
    let dir = tempfile::tempdir().unwrap();
    let Some(base) = unpack_base(set, dir.path()) else { return };
    let names = |paths: &BTreeSet<String>| -> BTreeSet<String> {
        let name = |path: &String| path.rsplit('/').next().unwrap().to_owned();
        paths.iter().filter(|path| path.starts_with("usr/")).map(name).collect()
    };
    let mut programs = 0;
    for (name, tree) in &extensions(set) {
        let root = dir.path().join(name);
        for (path, node) in tree.iter() {
            let target = root.join(path.as_str());
            match &node.kind {
                Kind::Directory => fs::create_dir_all(target).unwrap(),
                Kind::Symlink(link) => std::os::unix::fs::symlink(link, target).unwrap(),
                _ => fs::write(target, set.seeded.bytes(tree, path.as_str())).unwrap(),
            }
        }
        let mut paths = BTreeSet::new();
        walk(&root.join("rootfs"), &root.join("rootfs"), &mut paths);
        paths.extend(base.iter().cloned());
        let there = names(&paths);
        let Some(needs) = needs(&root.join("rootfs")) else { return };
        programs += needs.len();
        for (needed, by) in needs {
            let file = needed.rsplit('/').next().unwrap();
            assert!(there.contains(file), "{} {} {name}: {by} needs {needed}", set.version, set.arch);
        }
    }
    assert!(programs > 20, "{programs} libraries and interpreters");
    for (needed, by) in needs(&dir.path().join("base")).unwrap_or_default() {
        assert!(names(&base).contains(needed.rsplit('/').next().unwrap()), "base: {by} needs {needed}");
    }
}
