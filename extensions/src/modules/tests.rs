use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use bytes::Bytes;
use extent::{Digest, read_all};
use formats::{cpio, squashfs};
use proptest::prelude::*;

use super::*;

const RELEASE: &str = "6.1.0-50-amd64";

fn nothing() -> HashMap<Digest, Bytes> {
    HashMap::new()
}

/// A module as C: its name, what it exports, what it needs, its aliases.
type Source<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);

/// Real modules for the tests; the kernel would take none of them, `depmod` takes them all.
fn compiled(sources: &[Source<'_>]) -> Option<HashMap<String, Vec<u8>>> {
    let gcc = ci::tool("gcc")?;
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(gcc);
    command.arg("-c").current_dir(&dir);
    for (name, exports, needs, aliases) in sources {
        let mut source = String::new();
        let mut section = |section: &str, text: &str| {
            static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            writeln!(
                source,
                "static const char s{next}[] __attribute__((used, section(\"{section}\"))) = \"{text}\";"
            )
            .unwrap();
        };
        section(".modinfo", &format!("name={name}"));
        for alias in *aliases {
            section(".modinfo", &format!("alias={alias}"));
        }
        for export in *exports {
            section("__ksymtab_strings", export);
        }
        for export in *exports {
            writeln!(source, "void {export}(void) {{}}").unwrap();
        }
        writeln!(source, "void init_{name}(void) {{").unwrap();
        for need in *needs {
            writeln!(source, "extern void {need}(void); {need}();").unwrap();
        }
        source.push_str("}\n");
        fs::write(dir.path().join(format!("{name}.c")), source).unwrap();
        command.arg(format!("{name}.c"));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let object = |name: &str| fs::read(dir.path().join(format!("{name}.o"))).unwrap();
    Some(sources.iter().map(|(name, ..)| ((*name).to_owned(), object(name))).collect())
}

/// The kernel's `crc32c` and `libcrc32c`, which the extension's `drbd` needs with its own `lru_cache`.
const SOURCES: &[Source<'_>] = &[
    ("crc32c", &["crc32c_le"], &[], &["crypto-crc32c"]),
    ("libcrc32c", &["crc32c"], &["crc32c_le"], &[]),
    ("lru_cache", &["lc_create"], &[], &[]),
    ("drbd", &[], &["lc_create", "crc32c"], &["block-major-147-*"]),
];

fn squashed(tree: &Tree) -> Vec<u8> {
    let options = squashfs::Options::new(squashfs::Compression::Zstd { level: 3 });
    let mut out = Cursor::new(vec![]);
    squashfs::write(tree, &options, &nothing(), &mut out).unwrap();
    out.into_inner()
}

fn archive(rootfs: &[u8]) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.file("init", vec![b'#'; 3000], 0o755).unwrap();
    tree.file("rootfs.sqsh", rootfs.to_vec(), 0o644).unwrap();
    read_all(&cpio::archive(&tree, 0).unwrap(), &nothing(), 1 << 30).unwrap()
}

fn base_tree(modules: &HashMap<String, Vec<u8>>) -> Tree {
    let mut tree = Tree::new();
    let mut file = |name: &str, content: &[u8]| {
        tree.file(&format!("usr/lib/modules/{RELEASE}/{name}"), content.to_vec(), 0o644).unwrap();
    };
    file("kernel/crypto/crc32c.ko", &modules["crc32c"]);
    file("kernel/lib/libcrc32c.ko", &modules["libcrc32c"]);
    file("modules.order", b"kernel/lib/libcrc32c.ko\nkernel/crypto/crc32c.ko\n");
    file("modules.builtin", b"kernel/fs/ext4/ext4.ko\n");
    file("modules.builtin.modinfo", b"ext4.alias=fs-ext4\0ext4.file=fs/ext4/ext4\0");
    tree.symlink(&format!("usr/lib/modules/{RELEASE}/build"), "/usr/src/linux").unwrap();
    tree.file("usr/bin/sh", vec![1; 200_000], 0o755).unwrap();
    tree
}

fn extension(name: &str, files: &[(&str, &[u8])]) -> Parts {
    let mut rootfs = Tree::new();
    for (path, content) in files {
        rootfs.file(&format!("usr/lib/modules/{path}"), content.to_vec(), 0o644).unwrap();
    }
    let manifest = Manifest { name: name.to_owned(), ..Manifest::default() };
    Extension { manifest, rootfs }.split(&Paths::merged_usr()).unwrap()
}

fn drbd(modules: &HashMap<String, Vec<u8>>) -> Parts {
    let xz = {
        let mut xz = liblzma::write::XzEncoder::new(vec![], 1);
        xz.write_all(&modules["drbd"]).unwrap();
        xz.finish().unwrap()
    };
    let drbd = format!("{RELEASE}/kernel/drivers/block/drbd.ko.xz");
    let lru_cache = format!("{RELEASE}/kernel/lib/lru_cache.ko");
    extension("drbd", &[(&drbd, &xz), (&lru_cache, &modules["lru_cache"])])
}

fn indexed(initramfs: Vec<u8>, extensions: &[&Parts], scratch: &Path) -> Result<Extension, Error> {
    modules_dep(&initramfs.into(), extensions, &Paths::merged_usr(), &nothing(), scratch)
}

/// The text of a file of the index.
fn text(index: &Extension, name: &str) -> String {
    let content = index.rootfs.content(&format!("usr/lib/modules/{RELEASE}/{name}")).expect(name);
    String::from_utf8_lossy(&read_all(content, &nothing(), 1 << 30).unwrap()).into_owned()
}

fn tools() -> Option<HashMap<String, Vec<u8>>> {
    ci::tool("depmod")?;
    compiled(SOURCES)
}

#[test]
fn modules_of_an_extension_are_found_with_those_of_the_base() {
    let Some(modules) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let base = archive(&squashed(&base_tree(&modules)));
    let index = indexed(base, &[&extension("none", &[]), &drbd(&modules)], dir.path()).unwrap();

    assert_eq!(index.manifest.name, "modules.dep");
    assert_eq!(index.manifest.version, RELEASE);
    assert_eq!(index.manifest.author, "Talos Machinery");
    let dep = text(&index, "modules.dep");
    assert!(
        dep.contains(
            "kernel/drivers/block/drbd.ko.xz: kernel/lib/libcrc32c.ko kernel/crypto/crc32c.ko kernel/lib/lru_cache.ko\n"
        ),
        "{dep}"
    );
    assert!(text(&index, "modules.alias").contains("alias block-major-147-* drbd\n"));
    assert!(text(&index, "modules.symbols").contains("alias symbol:lc_create lru_cache\n"));
    assert_eq!(text(&index, "modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
    assert_eq!(
        text(&index, "modules.order"),
        "kernel/lib/libcrc32c.ko\nkernel/crypto/crc32c.ko\nkernel/drivers/block/drbd.ko\nkernel/lib/lru_cache.ko\n"
    );
    for name in ["modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin"] {
        assert!(!text(&index, name).is_empty(), "{name}");
    }
    for (path, _) in index.rootfs.iter().skip(5) {
        assert!(path.name().starts_with("modules."), "{path}: no modules, only their index");
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing is left behind");

    // The judge: what the booted machine asks.
    let Some(modprobe) = ci::tool("modprobe") else { return };
    let root = dir.path().join(format!("lib/modules/{RELEASE}"));
    fs::create_dir_all(&root).unwrap();
    for name in ["modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin"] {
        let path = format!("usr/lib/modules/{RELEASE}/{name}");
        let content = index.rootfs.content(&path).unwrap();
        fs::write(root.join(name), read_all(content, &nothing(), 1 << 30).unwrap()).unwrap();
    }
    // It looks whether the modules are there, not into them.
    for path in dep.lines().filter_map(|line| line.split(':').next()).map(|path| root.join(path)) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    std::os::unix::fs::symlink(".", dir.path().join("usr")).unwrap();
    let output = Command::new(modprobe)
        .args(["--show-depends", "--set-version", RELEASE, "--dirname"])
        .arg(dir.path())
        .arg("block-major-147-0")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let loaded: Vec<_> = said.lines().filter_map(|line| line.trim_end().rsplit('/').next()).collect();
    assert_eq!(loaded, ["lru_cache.ko", "crc32c.ko", "libcrc32c.ko", "drbd.ko.xz"], "{said}");
}

#[test]
fn the_root_file_system_is_found_in_every_form_of_initramfs() {
    let Some(modules) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let base = archive(&squashed(&base_tree(&modules)));
    let zstd = zstd::encode_all(&base[..], 3).unwrap();
    let gzip = {
        let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gzip.write_all(&base).unwrap();
        gzip.finish().unwrap()
    };
    let xz = {
        let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let stream =
            liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32).unwrap();
        let mut xz = liblzma::write::XzEncoder::new_stream(vec![], stream);
        xz.write_all(&base).unwrap();
        xz.finish().unwrap()
    };
    // Members before the one that has it: microcode, stored; and something else, compressed, of odd length.
    let mut ucode = Tree::new();
    ucode.file("kernel/x86/microcode/GenuineIntel.bin", vec![1; 777], 0o644).unwrap();
    let ucode = read_all(&cpio::archive(&ucode, 0).unwrap(), &nothing(), 1 << 20).unwrap();
    let mut odd = zstd::encode_all(&ucode[..], 3).unwrap();
    odd.resize(odd.len().next_multiple_of(4) + 8, 0);
    let wanted = indexed(base.clone(), &[&drbd(&modules)], dir.path()).unwrap();
    for (name, initramfs) in [
        ("zstd", zstd.clone()),
        ("gzip", gzip.clone()),
        ("xz", xz.clone()),
        ("stored after stored", [&ucode[..], &base].concat()),
        ("zstd after stored", [&ucode[..], &zstd].concat()),
        ("xz after stored and zstd", [&ucode[..], &odd, &xz].concat()),
        ("stored after gzip of another", {
            let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            gzip.write_all(&ucode).unwrap();
            let mut first = gzip.finish().unwrap();
            first.resize(first.len().next_multiple_of(4), 0);
            [&first[..], &base].concat()
        }),
    ] {
        let found = indexed(initramfs, &[&drbd(&modules)], dir.path());
        assert_eq!(found.unwrap_or_else(|error| panic!("{name}: {error}")), wanted, "{name}");
    }
}

#[test]
fn the_index_does_not_depend_on_the_order_of_directories() {
    let names: Vec<String> = (0..40).map(|n| format!("m{}", (n * 17) % 40)).collect();
    let sources: Vec<Source<'_>> =
        names.iter().map(|name| (name.as_str(), &[][..], &["shared"][..], &["pci:v00001234*"][..])).collect();
    if ci::tool("depmod").is_none() {
        return;
    }
    let Some(mut modules) = compiled(&sources) else { return };
    let Some(exporter) = compiled(&[("one", &["shared"], &[], &[]), ("two", &["shared"], &[], &[])]) else {
        return;
    };
    modules.extend(exporter);
    let Some(kernel) = compiled(SOURCES) else { return };
    let base = archive(&squashed(&base_tree(&kernel)));
    let mut paths: Vec<(String, &[u8])> =
        modules.iter().map(|(name, content)| (format!("{RELEASE}/extra/{name}.ko"), &content[..])).collect();
    // Of two modules of one name in one layer, `depmod` shows the one that the directory lists last.
    for (name, directory) in (0..10).flat_map(|n| [(n, "x"), (n, "y")]) {
        paths.push((format!("{RELEASE}/{directory}/twice{name}.ko"), &modules["m0"][..]));
    }
    let files: Vec<(&str, &[u8])> = paths.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    let parts = extension("many", &files);
    // A file system of memory lists its newest file first, one on a disk by a hash with a seed of its own; and the
    // threads make the files in another order every time.
    let places = ["/dev/shm", "/tmp"].map(PathBuf::from);
    let mut found = vec![];
    for place in places.iter().filter(|place| place.is_dir()).cycle().take(4) {
        let dir = tempfile::tempdir_in(place).unwrap();
        found.push(indexed(base.clone(), &[&parts], dir.path()).unwrap());
    }
    let dep = text(&found[0], "modules.dep");
    let listed: Vec<&str> = dep.lines().filter_map(|line| line.split(':').next()).collect();
    let mut wanted = vec!["kernel/lib/libcrc32c.ko".to_owned(), "kernel/crypto/crc32c.ko".to_owned()];
    let mut added: Vec<String> = modules.keys().map(|name| format!("extra/{name}.ko")).collect();
    added.extend((0..10).map(|n| format!("y/twice{n}.ko")));
    added.sort();
    wanted.extend(added);
    assert_eq!(listed, wanted, "those that the base lists, then the others by path");
    for other in &found[1..] {
        assert_eq!(text(&found[0], "modules.alias"), text(other, "modules.alias"));
        assert_eq!(text(&found[0], "modules.dep"), text(other, "modules.dep"));
        assert_eq!(found[0], *other);
    }
}

#[test]
fn a_module_of_a_later_layer_replaces_those_of_its_name() {
    let Some(modules) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let base = archive(&squashed(&base_tree(&modules)));
    let newer = format!("{RELEASE}/updates/lib-crc32c.ko");
    let newest = format!("{RELEASE}/kernel/net/libcrc32c.ko");
    let extra = format!("{RELEASE}/extras/crc32c.ko");
    let lib = &modules["libcrc32c"];
    // `lib-crc32c` would be another module; `libcrc32c` from elsewhere is the same.
    let first = extension("first", &[(&newer, lib), (&newest, lib)]);
    let second = extension("second", &[(&extra, &modules["crc32c"])]);
    let index = indexed(base, &[&first, &second], dir.path()).unwrap();
    let dep = text(&index, "modules.dep");
    assert!(dep.contains("kernel/net/libcrc32c.ko: extras/crc32c.ko\n"), "{dep}");
    assert!(!dep.contains("kernel/lib/libcrc32c.ko"), "{dep}");
    assert!(!dep.contains("kernel/crypto/crc32c.ko"), "extras go first: {dep}");
    assert!(dep.contains("updates/lib-crc32c.ko: "), "{dep}");
}

#[test]
fn what_does_not_go_together_is_named() {
    let Some(modules) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let fails =
        |initramfs: Vec<u8>, parts: &Parts| indexed(initramfs, &[parts], dir.path()).unwrap_err().to_string();
    let base = archive(&squashed(&base_tree(&modules)));
    let drbd = drbd(&modules);

    let other = extension("zfs", &[("6.1.0-47-amd64/extra/zfs.ko", &modules["drbd"])]);
    assert_eq!(
        fails(base.clone(), &other),
        "extension `zfs` has modules for `6.1.0-47-amd64`, not for kernel `6.1.0-50-amd64` of the base"
    );
    let mut rootfs = Tree::new();
    rootfs.directory("usr/lib/modules", 0o755).unwrap();
    let manifest = Manifest { name: "empty".into(), ..Manifest::default() };
    let empty = Extension { manifest, rootfs }.split(&Paths::merged_usr()).unwrap();
    assert!(fails(base.clone(), &empty).starts_with("extension `empty` has modules for none"));

    let mut two = base_tree(&modules);
    two.directory("usr/lib/modules/6.1.0-47-amd64", 0o755).unwrap();
    assert_eq!(
        fails(archive(&squashed(&two)), &drbd),
        "the base has the modules of 2 kernels below `usr/lib/modules` instead of one: `6.1.0-47-amd64`, `6.1.0-50-amd64`"
    );
    assert!(fails(archive(&squashed(&Tree::new())), &drbd).contains("of 0 kernels"));
    let mut option = Tree::new();
    option.directory("usr/lib/modules/--help", 0o755).unwrap();
    assert!(fails(archive(&squashed(&option)), &drbd).contains("`--help` is no kernel release"));

    let broken = extension("broken", &[(&format!("{RELEASE}/extra/broken.ko"), b"no ELF")]);
    let error = fails(base.clone(), &broken);
    assert!(error.starts_with("`depmod` fails") && error.contains("extra/broken.ko"), "{error}");
    let cut = extension("cut", &[(&format!("{RELEASE}/extra/cut.ko.xz"), b"\xFD7zXZ\0cut")]);
    assert_eq!(fails(base.clone(), &cut), "unpacking module `extra/cut.ko.xz`");
    let missing = {
        let mut parts = drbd.clone();
        let path = TreePath::parse(&format!("usr/lib/modules/{RELEASE}/extra/gone.ko")).unwrap();
        let content = Kind::File(ExtentMap::blob(Digest::of(b"gone"), 0, 100));
        parts.layer.insert(path, extent::Node::new(content, 0o644)).unwrap();
        parts
    };
    assert_eq!(fails(base.clone(), &missing), "reading `extra/gone.ko`");

    assert!(
        fails(archive(b"no squashfs at all"), &drbd).starts_with("`rootfs.sqsh` of the base cannot be read")
    );
    let mut empty = Tree::new();
    empty.file("init", vec![], 0o755).unwrap();
    let empty = read_all(&cpio::archive(&empty, 0).unwrap(), &nothing(), 1 << 20).unwrap();
    assert_eq!(fails(empty, &drbd), "the base initramfs has no `rootfs.sqsh`");
    assert_eq!(fails(vec![], &drbd), "the base initramfs has no `rootfs.sqsh`");
    assert!(fails(b"\0\0\0\0ELF".to_vec(), &drbd).contains("no archive at byte 4"));
    assert!(fails(base[..base.len() / 2].to_vec(), &drbd).contains("not a run of cpio archives"));
    let zstd = zstd::encode_all(&base[..], 3).unwrap();
    assert!(fails(zstd[..zstd.len() / 2].to_vec(), &drbd).contains("not a run of cpio archives"));
    let nowhere =
        modules_dep(&base.into(), &[&drbd], &Paths::merged_usr(), &nothing(), Path::new("/nowhere"));
    assert!(matches!(nowhere, Err(Error::Scratch { .. })));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn links_among_modules_lead_nowhere() {
    let Some(modules) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let base = archive(&squashed(&base_tree(&modules)));
    let mut parts = drbd(&modules);
    parts.layer.symlink(&format!("usr/lib/modules/{RELEASE}/all"), "/").unwrap();
    parts.layer.symlink(&format!("usr/lib/modules/{RELEASE}/passwd.ko"), "/etc/passwd").unwrap();
    let index = indexed(base, &[&parts], dir.path()).unwrap();
    assert!(!text(&index, "modules.dep").contains("passwd"));
}

#[test]
fn names_are_as_modprobe_has_them() {
    for (path, name) in [
        ("kernel/fs/nfs/nfs.ko", Some("nfs")),
        ("extra/snd-hda.ko.xz", Some("snd_hda")),
        ("a.ko.zst", Some("a")),
        ("a.ko.gz", Some("a")),
        ("modules.order", None),
        ("a.ko.lz4", None),
        (".ko", None),
        ("kernel/README", None),
    ] {
        assert_eq!(module_name(path).as_deref(), name, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_root_file_system_never_panics(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<Option<prop::sample::Index>>()) {
        let modules = HashMap::from(["crc32c", "libcrc32c"].map(|name| (name.to_owned(), vec![7; 5000])));
        let mut rootfs = squashed(&base_tree(&modules));
        for (at, value) in damage {
            let at = at.index(rootfs.len());
            rootfs[at] = value;
        }
        if let Some(cut) = cut {
            rootfs.truncate(cut.index(rootfs.len()));
        }
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        let initramfs = ExtentMap::from(archive(&rootfs));
        if let Ok(base) = Base::open(&initramfs, &nothing(), &Paths::merged_usr().modules, &scratch) {
            for path in base.modules() {
                prop_assert!(!path.contains(".."));
            }
            let _ = base.text("modules.order");
        }
    }
}
