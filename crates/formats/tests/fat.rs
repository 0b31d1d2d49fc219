//! FAT32 volumes before their judges: mkfs.vfat, fsck.vfat, mtools, the `fatfs` crate, and people who read
//! golden files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod golden;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use bytes::Bytes;
use extent::{Digest, ExtentMap, Kind, Node, Tree, TreePath};
use formats::fat::{self, Error, Volume};
use golden::{Mark, le};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
/// The time of `mkfs.vfat --invariant`.
const MKFS_TIME: u32 = 1_426_325_212;
const EPOCH: u32 = 1_559_424_892;

fn volume(len: u64, sector_size: u32) -> Volume {
    Volume { len, sector_size, label: "EFI".to_owned(), time: EPOCH, ..Volume::default() }
}

/// A blob whose every 8 bytes differ, so that a cluster out of place shows.
fn blob(seed: u64, len: usize) -> Bytes {
    (0..=len as u64 / 8).flat_map(|i| (i << 20 | seed).to_le_bytes()).take(len).collect()
}

struct Esp {
    tree: Tree,
    blobs: HashMap<Digest, Bytes>,
}

impl Esp {
    fn new() -> Self {
        Self { tree: Tree::new(), blobs: HashMap::new() }
    }

    fn blob(mut self, path: &str, len: usize) -> Self {
        let bytes = blob(self.blobs.len() as u64, len);
        let digest = Digest::of(&bytes);
        self.tree.file(path, ExtentMap::blob(digest, 0, len as u64), 0o644).unwrap();
        self.blobs.insert(digest, bytes);
        self
    }

    /// What a boot disk has, and what a board adds.
    fn boot() -> Self {
        let mut esp = Self::new()
            .blob("EFI/boot/BOOTX64.efi", 170_001)
            .blob("EFI/Linux/Talos-v1.14.0.efi", 3 << 20)
            .blob("EFI/Linux/Talos-v1.14.0~1.efi", 4096)
            .blob("overlays/bcm2711-rpi-4-b.dtb", 1);
        esp.tree.file("loader/loader.conf", b"timeout 10\n".to_vec(), 0o644).unwrap();
        esp.tree.file("loader/random-seed", vec![0; 32], 0o444).unwrap();
        esp.tree.file("loader/empty", ExtentMap::new(), 0o644).unwrap();
        esp.tree.directory("EFI/keys", 0o755).unwrap();
        esp.tree.file("Ünïcode ☃ name.txt", b"snow".to_vec(), 0o644).unwrap();
        esp.tree
            .insert(
                TreePath::parse("kernel.img").unwrap(),
                Node::new(Kind::HardLink(TreePath::parse("overlays/bcm2711-rpi-4-b.dtb").unwrap()), 0o644),
            )
            .unwrap();
        esp
    }

    /// The boot disk's files and a directory of many clusters.
    fn crowded() -> Self {
        let mut esp = Self::boot();
        for i in 0..600 {
            let path = format!("overlays/a-rather-long-name-of-an-overlay-{i:03}.dtbo");
            esp.tree.file(&path, format!("overlay {i}").into_bytes(), 0o644).unwrap();
        }
        esp
    }

    fn write(&self, volume: &Volume, path: &Path) -> ExtentMap {
        let map = fat::fat32(&self.tree, volume).unwrap();
        assert_eq!(map.len(), volume.len);
        golden::write(&map, &self.blobs, path);
        map
    }

    /// Every file and its bytes; directories have none.
    fn files(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let entries = self.tree.iter().skip(1);
        let bytes = |map: &ExtentMap| extent::read_all(map, &self.blobs, 1 << 30).unwrap();
        entries.map(|(path, _)| (path.to_string(), self.tree.content(path.as_str()).map(bytes))).collect()
    }
}

/// Content by its words and its code.
fn fsck(path: &str) -> Option<(bool, String)> {
    let (code, said) = golden::run(&ci::tool("fsck.vfat")?, &["-n", "-v", path]);
    let complaints = [
        "differ",
        "Wrong",
        "wrong",
        "Invalid",
        "invalid",
        "Expected",
        "Free cluster",
        "Orphan",
        "Reclaim",
        "bad",
    ];
    let summary = said.lines().last().is_some_and(|line| line.contains(" clusters"));
    Some((code && summary && !complaints.iter().any(|word| said.contains(word)), said))
}

/// All that `mkfs.vfat` writes, byte for byte, but for what the module says is meant to differ.
#[test]
fn an_empty_volume_is_that_of_mkfs() {
    let Some(mkfs) = ci::tool("mkfs.vfat") else { return };
    let small =
        [33, 64, 100, 128, 129, 256, 257, 260, 261, 504, 505, 1008, 1009, 2016, 2017, 2101, 4032, 4033];
    let large = [8192, 8193, 16_384, 16_385, 32_768, 32_769];
    let mut cases: Vec<(u64, u32, Option<u8>)> =
        small.iter().chain(&large).map(|mib| (mib * MIB, 512, None)).collect();
    cases.extend(
        [257, 1024, 1025, 2080, 2081, 2088, 2101, 4032, 4040, 8064].map(|mib| (mib * MIB, 4096, None)),
    );
    cases.extend([(66, 2), (132, 4), (264, 8), (4200, 128)].map(|(mib, spc)| (mib * MIB, 512, Some(spc))));
    cases.extend([
        (100 * MIB + 512 * 7, 512, None),
        (600 * MIB + 1024, 512, None),
        (40 * MIB + 1024, 512, None),
    ]);
    for (len, sector_size, sectors_per_cluster) in cases {
        let (_dir, path, text) = golden::scratch("mkfs.img");
        File::create(&path).unwrap().set_len(len).unwrap();
        let (sector, cluster) = (sector_size.to_string(), sectors_per_cluster.unwrap_or(0).to_string());
        let mut arguments = vec!["-F", "32", "-n", "EFI", "--invariant", "-S", &sector];
        if sectors_per_cluster.is_some() {
            arguments.extend(["-s", &cluster]);
        }
        arguments.push(&text);
        let (ok, said) = golden::run(&mkfs, &arguments);
        assert!(ok, "{said}");

        let ours = Volume { sectors_per_cluster, time: MKFS_TIME, ..volume(len, sector_size) };
        let map = fat::fat32(&Tree::new(), &ours).unwrap();
        // Everything up to the root's second sector; mkfs leaves the rest of the file as it was.
        let root = map.iter().filter(|(_, e)| e.source != extent::Source::Zero).last().unwrap().0;
        let mut theirs = vec![0; usize::try_from(root).unwrap() + 512];
        File::open(&path).unwrap().read_exact(&mut theirs).unwrap();
        let ours = extent::read_all(&map.slice(0..root + 512), &HashMap::new(), 1 << 30).unwrap();
        let sector = usize::try_from(sector_size).unwrap();
        let meant = |at: usize| {
            [0, 6 * sector].iter().any(|base| {
                (base + 0x5a..base + 510).contains(&at)
                    || (base + sector + 492..base + sector + 496).contains(&at)
            })
        };
        let differ: Vec<usize> = (0..ours.len()).filter(|&i| ours[i] != theirs[i] && !meant(i)).collect();
        assert!(differ.is_empty(), "{len} of {sector_size}, {sectors_per_cluster:?}: differ at {differ:?}");
        assert_eq!(&ours[sector + 492..sector + 496], &3_u32.to_le_bytes());
    }
}

#[test]
fn fsck_is_content_with_every_geometry() {
    let cases =
        [(34 * MIB, 512, None), (66 * MIB, 512, Some(2)), (300 * MIB, 512, None), (2101 * MIB, 512, None)];
    for (len, sector_size, sectors_per_cluster) in
        cases.into_iter().chain([(300 * MIB, 4096, None), (2101 * MIB, 4096, None)])
    {
        let (_dir, path, text) = golden::scratch("esp.img");
        Esp::crowded().write(&Volume { sectors_per_cluster, ..volume(len, sector_size) }, &path);
        let Some((content, said)) = fsck(&text) else { return };
        assert!(content, "{len} of {sector_size}: {said}");
    }
}

#[test]
fn fsck_finds_what_was_tampered_with() {
    let (_dir, path, text) = golden::scratch("esp.img");
    let map = Esp::boot().write(&volume(34 * MIB, 512), &path);
    let fat = 32 * 512;
    let bytes = std::fs::read(&path).unwrap();
    let fat_len = usize::try_from(le(&bytes, 36, 4)).unwrap() * 512;
    let data = fat + 2 * fat_len;
    let cluster = |number: usize| data + (number - 2) * 512;
    assert_eq!(&bytes[cluster(3)..cluster(3) + 2], b". ");
    assert_eq!(map.len(), 34 * MIB);
    for (what, at, value) in [
        ("the second table", fat + fat_len + 12, 0),
        ("a chain", fat + 4 * 40, 0),
        ("the free count", 512 + 488, 1),
        ("the backup boot sector", 6 * 512 + 40, 9),
        ("`.`", cluster(3) + 26, 9),
        ("the sum of a long name", cluster(2) + 64 + 13, 1),
    ] {
        let mut tampered = bytes.clone();
        assert_ne!(tampered[at], value, "{what}");
        tampered[at] = value;
        std::fs::write(&path, &tampered).unwrap();
        let Some((content, said)) = fsck(&text) else { return };
        assert!(!content, "{what}: {said}");
    }
}

#[test]
fn mtools_read_back_names_and_bytes() {
    let (Some(mdir), Some(mcopy)) = (ci::tool("mdir"), ci::tool("mcopy")) else { return };
    for (len, sector_size) in [(34 * MIB, 512), (300 * MIB, 512), (300 * MIB, 4096)] {
        let (dir, path, text) = golden::scratch("esp.img");
        // mtools show names in the locale's character set and know only ASCII here.
        let mut esp = Esp::crowded();
        esp.tree.remove(&TreePath::parse("Ünïcode ☃ name.txt").unwrap());
        esp.write(&volume(len, sector_size), &path);

        let (ok, said) = golden::run(&mdir, &["-/", "-b", "-i", &text, "::"]);
        assert!(ok, "{said}");
        let mut seen: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("::/")).collect();
        seen.sort_unstable();
        let mut files: Vec<String> = esp.files().into_keys().collect();
        for (name, bytes) in esp.files() {
            if bytes.is_none() {
                files.retain(|file| *file != name);
                files.push(name + "/");
            }
        }
        files.sort_unstable();
        assert_eq!(seen, files);

        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let (ok, said) = golden::run(&mcopy, &["-s", "-n", "-i", &text, "::*", out.to_str().unwrap()]);
        assert!(ok, "{said}");
        for (name, bytes) in esp.files() {
            let there = std::fs::read(out.join(&name)).ok();
            assert!(there == bytes, "{name}");
        }

        let (_, said) = golden::run(&mdir, &["-i", &text, "::/loader/loader.conf"]);
        assert!(said.contains("2019-06-01  21:34"), "{said}");
    }
}

type FatDir<'a> = fatfs::Dir<'a, File>;

/// Every file below `dir` and its bytes, by the `fatfs` crate.
fn read_back(dir: &FatDir, above: &str, files: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in dir.iter() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{above}{name}");
        if entry.is_dir() {
            read_back(&entry.to_dir(), &format!("{path}/"), files);
            files.insert(path, None);
        } else {
            let mut bytes = Vec::new();
            entry.to_file().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, entry.len());
            let read_only = entry.attributes().contains(fatfs::FileAttributes::READ_ONLY);
            assert_eq!(read_only, name == "random-seed", "{path}");
            files.insert(path, Some(bytes));
        }
    }
}

fn fatfs_reads(esp: &Esp, volume: &Volume, path: &Path) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    file.rewind().unwrap();
    let read = fatfs::FileSystem::new(file, fatfs::FsOptions::new().update_accessed_date(false)).unwrap();
    assert_eq!(read.fat_type(), fatfs::FatType::Fat32);
    assert_eq!(read.volume_id(), volume.id);
    assert_eq!(read.read_volume_label_from_root_dir().unwrap().as_deref(), Some("EFI"));
    let mut files = BTreeMap::new();
    read_back(&read.root_dir(), "", &mut files);
    assert!(files == esp.files(), "{:?}", files.keys());
}

#[test]
fn the_fatfs_crate_reads_back_names_and_bytes() {
    for (len, sector_size) in [(34 * MIB, 512), (300 * MIB, 512), (300 * MIB, 4096)] {
        let (_dir, path, _) = golden::scratch("esp.img");
        let (esp, volume) = (Esp::crowded(), volume(len, sector_size));
        esp.write(&volume, &path);
        fatfs_reads(&esp, &volume, &path);
    }
}

/// The boot sector, FSInfo, the runs of the first table and all directories, decoded by hand.
fn marks(map: &ExtentMap, blobs: &HashMap<Digest, Bytes>) -> Vec<Mark> {
    let bytes = extent::read_all(map, blobs, 1 << 30).unwrap();
    let number = |at, len| le(&bytes, at, len);
    let text = |at: usize, len: usize| String::from_utf8_lossy(&bytes[at..at + len]).into_owned();
    let sector = number(11, 2);
    let (reserved, fat_sectors, per_cluster) = (number(14, 2), number(36, 4), number(13, 1));
    let mut marks = Vec::new();
    for base in [0, 6 * sector] {
        let b = usize::try_from(base).unwrap();
        let s = usize::try_from(base + sector).unwrap();
        marks.push(Mark(
            base,
            format!(
                "boot `{}` {} byte sectors, {} per cluster, {} reserved, {} FATs of {}, {} in all, media {:x}",
                text(b + 3, 8),
                number(b + 11, 2),
                number(b + 13, 1),
                number(b + 14, 2),
                number(b + 16, 1),
                number(b + 36, 4),
                number(b + 32, 4),
                number(b + 21, 1)
            ),
        ));
        marks.push(Mark(
            base + 44,
            format!(
                "root {} FSInfo {} backup {} tracks {} x {} id {:08x} label `{}` type `{}`",
                number(b + 44, 4),
                number(b + 48, 2),
                number(b + 50, 2),
                number(b + 24, 2),
                number(b + 26, 2),
                number(b + 67, 4),
                text(b + 71, 11),
                text(b + 82, 8)
            ),
        ));
        marks.push(Mark(
            base + sector + 484,
            format!("FSInfo {} free, next {}", number(s + 488, 4), number(s + 492, 4)),
        ));
    }
    for table in 0..2 {
        let base = (reserved + table * fat_sectors) * sector;
        let entry = |cluster: u64| number(usize::try_from(base + 4 * cluster).unwrap(), 4);
        marks.push(Mark(base, format!("FAT: {:08x} {:08x}", entry(0), entry(1))));
        let mut first = 2;
        while entry(first) != 0 {
            let mut last = first;
            while entry(last) == last + 1 {
                last += 1;
            }
            marks.push(Mark(base + 4 * first, format!("{first}..={last} then {:08x}", entry(last))));
            first = last + 1;
        }
    }
    let data = (reserved + 2 * fat_sectors) * sector;
    let mut directories = vec![2];
    while let Some(cluster) = directories.pop() {
        let mut at = data + (cluster - 2) * per_cluster * sector;
        loop {
            let e = usize::try_from(at).unwrap();
            if bytes[e] == 0 {
                break;
            }
            let first = number(e + 20, 2) << 16 | number(e + 26, 2);
            if bytes[e + 11] == 0x0f {
                let units: Vec<u16> = [1..11, 14..26, 28..32]
                    .into_iter()
                    .flat_map(|part| bytes[e + part.start..e + part.end].chunks(2))
                    .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                    .take_while(|&unit| unit != 0)
                    .collect();
                let part = String::from_utf16(&units).unwrap();
                marks.push(Mark(at, format!("long {:02x} sum {:02x} `{part}`", bytes[e], bytes[e + 13])));
            } else {
                marks.push(Mark(
                    at,
                    format!(
                        "`{}` attributes {:02x} cluster {first} length {} time {:04x} {:04x}",
                        text(e, 11),
                        bytes[e + 11],
                        number(e + 28, 4),
                        number(e + 24, 2),
                        number(e + 22, 2)
                    ),
                ));
                if bytes[e + 11] == 0x10 && bytes[e] != b'.' {
                    directories.push(first);
                }
            }
            at += 32;
        }
    }
    marks
}

#[test]
fn golden_volume_of_512_byte_sectors() {
    let esp = Esp::boot();
    let map = fat::fat32(&esp.tree, &volume(34 * MIB, 512)).unwrap();
    golden::compare("fat-512", &golden::table(&map, marks(&map, &esp.blobs)));
}

#[test]
fn golden_volume_of_4096_byte_sectors() {
    let esp = Esp::boot();
    let map = fat::fat32(&esp.tree, &volume(260 * MIB, 4096)).unwrap();
    golden::compare("fat-4096", &golden::table(&map, marks(&map, &esp.blobs)));
}

#[test]
fn what_cannot_be_on_a_volume_is_refused() {
    type Change = fn(&mut Tree, &mut Volume);
    let cases: &[(Change, &str)] = &[
        (|_, v| v.sector_size = 2048, "a sector of 2048 bytes is neither of 512 nor of 4096"),
        (|_, v| v.sectors_per_cluster = Some(0), "0 sectors per cluster are not a power of two"),
        (|_, v| v.label = "twelve chars".into(), "`twelve chars` is not a volume label"),
        (|_, v| v.label = "A/B".into(), "`A/B` is not a volume label"),
        (|_, v| v.len = 20 * MIB, "a volume of 20971520 bytes is too small, 34603008 bytes are enough"),
        (|_, v| v.len = 0, "a volume of 0 bytes is too small, 34603008 bytes are enough"),
        (
            |_, v| v.len = u64::MAX,
            "a volume of 18446744073709551615 bytes is too large, 2199023255040 is the most",
        ),
        (
            |_, v| (v.len, v.sectors_per_cluster) = (1 << 40, Some(1)),
            "2114445404 clusters are more than 268435446: they must be larger",
        ),
        (
            |t, _| t.file("a/big", ExtentMap::zeros(1 << 32), 0o644).unwrap(),
            "`a/big` has 4294967296 bytes, more than 4294967295",
        ),
        (
            |t, _| t.file("a/big", ExtentMap::zeros(u64::MAX), 0o644).unwrap(),
            "`a/big` has 18446744073709551615 bytes, more than 4294967295",
        ),
        (
            |t, _| t.file("a/fits-elsewhere", ExtentMap::zeros(100 * MIB), 0o644).unwrap(),
            "a volume of 35651584 bytes is too small, 106954752 bytes are enough",
        ),
        (|t, _| t.symlink("a/link", "b").unwrap(), "`a/link` is a symbolic link, which FAT cannot hold"),
        (
            |t, _| {
                let null = Node::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666);
                t.insert(TreePath::parse("dev/null").unwrap(), null).unwrap();
            },
            "`dev/null` is a character device, which FAT cannot hold",
        ),
        (
            |t, _| {
                let link = Node::new(Kind::HardLink(TreePath::parse("nowhere").unwrap()), 0o644);
                t.insert(TreePath::parse("a/link").unwrap(), link).unwrap();
            },
            "`a/link` is a link to `nowhere`, which is not a file",
        ),
        (
            |t, _| {
                t.file("a/Name", vec![], 0o644).unwrap();
                t.file("a/nAME", vec![], 0o644).unwrap();
            },
            "`a/nAME` and `a/Name` are the same name to FAT",
        ),
        (|t, _| t.file("a/b:c", vec![], 0o644).unwrap(), "`a/b:c` has a name that FAT cannot hold"),
        (
            |t, _| {
                for i in 0..40_000 {
                    t.file(&format!("many/{i}.a"), vec![], 0o644).unwrap();
                }
            },
            "directory `many` takes 80002 entries, more than 65536",
        ),
    ];
    for (change, message) in cases {
        let (mut tree, mut volume) = (Tree::new(), volume(34 * MIB, 512));
        change(&mut tree, &mut volume);
        let error: Error = fat::fat32(&tree, &volume).unwrap_err();
        assert_eq!(error.to_string(), *message);
        if let Error::TooSmall { needed, .. } = error {
            fat::fat32(&tree, &Volume { len: needed, ..volume.clone() }).unwrap();
            assert!(fat::fat32(&tree, &Volume { len: needed - MIB, ..volume }).is_err());
        }
    }
}

#[test]
fn the_largest_file_fits() {
    // fsck.vfat 4.2 counts the bytes of a run in 32 bits: a run of 4 GiB is one of 0 to it.
    for (len, fsck_can) in [((1 << 32) - 4096, true), ((1 << 32) - 1, false)] {
        let mut tree = Tree::new();
        tree.file("big", ExtentMap::zeros(len), 0o644).unwrap();
        let (_dir, path, text) = golden::scratch("big.img");
        golden::write(&fat::fat32(&tree, &volume(4200 * MIB, 512)).unwrap(), &HashMap::new(), &path);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let read = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).unwrap();
        let mut big = read.root_dir().open_file("big").unwrap();
        big.seek(std::io::SeekFrom::End(-1)).unwrap();
        let mut last = Vec::new();
        assert_eq!((big.read_to_end(&mut last).unwrap(), last), (1, vec![0]));
        let Some((content, said)) = fsck(&text) else { return };
        assert_eq!(content, fsck_can, "{said}");
    }
}

#[test]
fn a_full_volume_has_nothing_free() {
    let sized = |len| {
        let mut tree = Tree::new();
        tree.file("full", ExtentMap::zeros(len), 0o644).unwrap();
        fat::fat32(&tree, &volume(34 * MIB, 512))
    };
    let clusters = (68_000..68_700).rev().find(|clusters| sized(clusters * 512).is_ok()).unwrap();
    let map = sized(clusters * 512).unwrap();
    assert_eq!(
        extent::read_all(&map.slice(1000..1008), &HashMap::new(), 8).unwrap(),
        [[0; 4], [0xff; 4]].concat()
    );
    let (_dir, path, text) = golden::scratch("full.img");
    golden::write(&map, &HashMap::new(), &path);
    let Some((content, said)) = fsck(&text) else { return };
    assert!(content, "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the names and sizes, fsck is content and the second reader finds every byte.
    #[test]
    fn any_tree_is_read_back(
        files in prop::collection::vec(
            (prop::collection::vec("[a-zA-Z0-9 ._+~Ää☃-]{0,30}[a-z0-9]", 1..4), 0..20_000usize),
            0..40,
        ),
        sector_size in prop::sample::select(vec![512u32, 4096]),
    ) {
        let mut esp = Esp::new();
        for (i, (names, len)) in files.iter().enumerate() {
            // Numbered, so that no two names clash; directories repeat.
            let path = format!("d{}/{}{i}", i % 3, names.join("/"));
            if TreePath::parse(&path).is_ok() {
                esp = esp.blob(&path, *len);
            }
        }
        let volume = volume(if sector_size == 512 { 40 * MIB } else { 270 * MIB }, sector_size);
        let (_dir, path, text) = golden::scratch("any.img");
        match fat::fat32(&esp.tree, &volume) {
            Err(Error::NameClash { .. }) => {} // two directories
            Err(error) => prop_assert!(false, "{error}"),
            Ok(map) => {
                prop_assert_eq!(fat::fat32(&esp.tree, &volume).unwrap().id(), map.id());
                esp.write(&volume, &path);
                fatfs_reads(&esp, &volume, &path);
                if let Some((content, said)) = fsck(&text) {
                    prop_assert!(content, "{}", said);
                }
            }
        }
    }
}
