use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use extent::{Digest, read_all};
use proptest::prelude::*;

use super::*;

const EPOCH: u32 = 1_559_424_892;

fn bytes(map: &ExtentMap) -> Vec<u8> {
    read_all(map, &HashMap::<Digest, Bytes>::new(), 1 << 30).unwrap()
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn link(tree: &mut Tree, name: &str, target: &str) {
    tree.insert(path(name), Node::new(Kind::HardLink(path(target)), 0o644)).unwrap();
}

/// One of everything, with the names of a file before and behind the entry that holds it.
fn everything() -> Tree {
    let mut tree = Tree::new();
    tree.file("b/file", b"content".to_vec(), 0o640).unwrap();
    tree.file("b/empty", vec![], 0o600).unwrap();
    tree.file("b/setuid", vec![7; 4096], 0o4755).unwrap();
    tree.symlink("b/link", "../elsewhere").unwrap();
    tree.directory("c", 0o1777).unwrap();
    tree.insert(path("b/pipe"), Node::new(Kind::Fifo, 0o600)).unwrap();
    link(&mut tree, "a", "b/file");
    link(&mut tree, "z", "b/file");
    tree
}

fn run(command: &mut Command, input: &[u8]) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn cpio_extracts_what_the_tree_holds() {
    let Some(cpio) = ci::tool("cpio") else { return };
    let dir = tempfile::tempdir().unwrap();
    let archive = bytes(&archive(&everything(), EPOCH).unwrap());
    let mut command = Command::new(cpio);
    command.args(["-i", "-d", "-m", "--no-preserve-owner", "--quiet"]).current_dir(&dir);
    run(&mut command, &archive);

    let at = |name: &str| dir.path().join(name);
    let meta = |name: &str| std::fs::symlink_metadata(at(name)).unwrap();
    for name in ["a", "z", "b/file"] {
        assert_eq!(std::fs::read(at(name)).unwrap(), b"content");
        assert_eq!(meta(name).nlink(), 3);
        assert_eq!(meta(name).ino(), meta("a").ino());
        assert_eq!(meta(name).mode(), 0o100_640);
        assert_eq!(meta(name).mtime(), i64::from(EPOCH));
    }
    assert_eq!(std::fs::read(at("b/empty")).unwrap(), b"");
    assert_eq!(std::fs::read(at("b/setuid")).unwrap(), vec![7; 4096]);
    assert_eq!(std::fs::read_link(at("b/link")).unwrap(), Path::new("../elsewhere"));
    assert_eq!(meta("b/setuid").mode() & 0o777, 0o755);
    assert_eq!(meta("c").mode(), 0o041_777);
    assert_eq!(meta("b/pipe").mode(), 0o010_600);
}

#[test]
fn cpio_lists_devices_and_owners() {
    let Some(cpio) = ci::tool("cpio") else { return };
    let mut tree = Tree::new();
    let mut console = Node::new(Kind::CharDevice { major: 5, minor: 1 }, 0o600);
    (console.uid, console.gid) = (12, 34);
    tree.insert(path("dev/console"), console).unwrap();
    tree.insert(path("dev/vda"), Node::new(Kind::BlockDevice { major: 254, minor: 300 }, 0o660)).unwrap();
    tree.insert(path("socket"), Node::new(Kind::Socket, 0o700)).unwrap();
    let mut command = Command::new(cpio);
    command.args(["-t", "-v", "-n", "--quiet"]).env("LC_ALL", "C").env("TZ", "UTC");
    let listing = run(&mut command, &bytes(&archive(&tree, EPOCH).unwrap()));
    let lines: Vec<String> =
        listing.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "drwxr-xr-x 2 0 0 0 Jun 1 2019 dev",
            "crw------- 1 12 34 5, 1 Jun 1 2019 dev/console",
            "brw-rw---- 1 0 0 254, 300 Jun 1 2019 dev/vda",
            "srwx------ 1 0 0 0 Jun 1 2019 socket",
        ]
    );
}

#[test]
fn equals_what_gnu_cpio_writes() {
    let Some(cpio) = ci::tool("cpio") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    // No directory has subdirectories: GNU cpio writes the real link count there, we write 2.
    tree.directory("dir", 0o755).unwrap();
    tree.file("dir/data", b"five!".to_vec(), 0o644).unwrap();
    tree.symlink("dir/link", "data").unwrap();
    tree.file("file", vec![], 0o644).unwrap();
    std::fs::create_dir(dir.path().join("dir")).unwrap();
    std::fs::write(dir.path().join("dir/data"), "five!").unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("data", dir.path().join("dir/link")).unwrap();
    let script = format!(
        "chmod 755 dir; chmod 644 file dir/data; touch -h -d @{EPOCH} dir/data dir/link file dir;
         printf 'dir\\ndir/data\\ndir/link\\nfile\\n' |
         '{}' -H newc --create --reproducible --quiet -R +0:+0 > out",
        cpio.display()
    );
    run(Command::new("sh").args(["-e", "-c", &script]).current_dir(&dir), b"");
    let theirs = std::fs::read(dir.path().join("out")).unwrap();
    assert_eq!(bytes(&archive(&tree, EPOCH).unwrap()), theirs);
}

#[test]
fn a_header_is_what_the_kernel_documents() {
    let mut tree = Tree::new();
    tree.file("a/b", vec![1, 2, 3], 0o644).unwrap();
    let archive = bytes(&archive(&tree, 0x5CF2_EABC).unwrap());
    let (dir, rest) = archive.split_at(112);
    assert_eq!(
        dir,
        b"070701\
        00000000\
        000041ED\
        00000000\
        00000000\
        00000002\
        5CF2EABC\
        00000000\
        00000000\
        00000000\
        00000000\
        00000000\
        00000002\
        00000000a\0"
    );
    assert_eq!(&rest[..62], b"07070100000001000081A40000000000000000000000015CF2EABC00000003");
    assert_eq!(&rest[110..120], b"a/b\0\0\0\x01\x02\x03\0");
    assert_eq!(archive.len(), 512);
}

#[test]
fn data_is_behind_the_last_name_only() {
    let archive = bytes(&archive(&everything(), 0).unwrap());
    let entries: Vec<_> = entries(&archive).collect::<Result<_, _>>().unwrap();
    let of = |name: &str| entries.iter().find(|e| e.name == name.as_bytes()).unwrap();
    assert_eq!((of("a").ino, of("b/file").ino, of("z").ino), (0, 0, 0));
    assert_eq!((of("a").nlink, of("b").nlink, of("b/empty").nlink), (3, 2, 1));
    assert_eq!(of("a").mode, 0o100_640, "a link has the attributes of its file");
    let lens = ["a", "b/file", "z"].map(|name| of(name).data.clone().count());
    assert_eq!(lens, [0, 0, 7]);
    let inodes: Vec<_> = entries.iter().map(|e| e.ino).collect();
    assert_eq!(inodes, [0, 1, 2, 0, 3, 4, 5, 6, 0], "numbered in the order of the listing");
}

#[test]
fn members_begin_aligned_and_a_misaligned_one_is_seen() {
    let mut tree = Tree::new();
    tree.file("one", vec![1], 0o644).unwrap();
    let first = archive(&tree, 0).unwrap();
    // What a compressor leaves behind has any length.
    let compressed = ExtentMap::inline(vec![0; 5]);
    let joined = concat([compressed.clone(), first.clone(), compressed.clone(), first.clone()]);
    let joined = bytes(&joined);
    let offsets: Vec<_> = entries(&joined).map(|entry| entry.unwrap().offset).collect();
    assert_eq!(offsets, [8, 8 + 512 + 8]);

    // The control: without the padding the kernel drops the rest, and we say so.
    let mut unaligned = compressed;
    unaligned.append(first);
    let unaligned = bytes(&unaligned);
    assert!(matches!(entries(&unaligned).next(), Some(Err(Error::Misaligned { offset: 5 }))));
    assert!(matches!(Reader::new(&unaligned[..]).next_entry(), Err(Error::Misaligned { offset: 5 })));
}

#[test]
fn what_newc_cannot_say_is_refused() {
    let mut large = Tree::new();
    large.insert(path("large"), Node::new(Kind::File(ExtentMap::zeros(1 << 32)), 0o644)).unwrap();
    assert!(matches!(archive(&large, 0), Err(Error::FileTooLarge { len: 0x1_0000_0000, .. })));
    large.insert(path("large"), Node::new(Kind::File(ExtentMap::zeros((1 << 32) - 1)), 0o644)).unwrap();
    assert_eq!(archive(&large, 0).unwrap().len(), (1 << 32) + 512);

    let mut reserved = Tree::new();
    reserved.file("TRAILER!!!", vec![], 0o644).unwrap();
    assert!(matches!(archive(&reserved, 0), Err(Error::Reserved)));

    let mut long = Tree::new();
    long.file(&["a".repeat(255).as_str(); 16].join("/"), vec![], 0o644).unwrap();
    assert!(archive(&long, 0).is_ok(), "4095 bytes and a NUL are PATH_MAX");
    long.symlink("link", &"a".repeat(4097)).unwrap();
    assert!(matches!(archive(&long, 0), Err(Error::NameTooLong { len: 4097, .. })));

    for target in ["nothing", "dir"] {
        let mut dangling = Tree::new();
        dangling.directory("dir", 0o755).unwrap();
        link(&mut dangling, "link", target);
        assert!(matches!(archive(&dangling, 0), Err(Error::HardLink { .. })), "{target}");
    }
}

#[test]
fn a_stream_ends_before_a_compressed_member() {
    let mut joined = bytes(&concat([archive(&everything(), 0).unwrap(), ExtentMap::zeros(8)]));
    joined.extend_from_slice(b"\x28\xB5\x2F\xFDframe");
    let mut reader = Reader::new(&joined[..]);
    let mut found = BTreeMap::new();
    while let Some((name, len)) = reader.next_entry().unwrap() {
        let mut data = vec![];
        if name != b"b/setuid" {
            reader.read_to_end(&mut data).unwrap();
            assert_eq!(data.len() as u64, len);
        }
        found.insert(String::from_utf8(name).unwrap(), data);
    }
    assert_eq!(found["z"], b"content");
    assert_eq!(found.len(), 9);
    assert!(reader.next_entry().unwrap().is_none(), "the end stays the end");
    assert_eq!(reader.into_inner(), b"\x28\xB5\x2F\xFDframe");
}

prop_compose! {
    fn any_tree()(files in prop::collection::vec(("[a-d]{1,2}(/[a-d]{1,2}){0,2}", 0..6u8, 0..9000usize, 0..0o10000u16), 0..12)) -> Tree {
        let mut tree = Tree::new();
        for (name, kind, len, mode) in files {
            let kind = match kind {
                0 => Kind::Directory,
                1 => Kind::Symlink("x".repeat(len % 100 + 1)),
                2 => Kind::CharDevice { major: 4, minor: 64 },
                _ => Kind::File(ExtentMap::inline(vec![b'x'; len])),
            };
            // A parent may be a file: then the entry has no place.
            let _ = tree.insert(path(&name), Node::new(kind, mode));
        }
        tree
    }
}

fn kind_bits(kind: &Kind) -> u32 {
    match kind {
        Kind::Directory => 0o040_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::CharDevice { .. } => 0o020_000,
        _ => 0o100_000,
    }
}

proptest! {
    #[test]
    fn reading_gives_back_what_was_written(tree in any_tree(), mtime: u32) {
        let archive = bytes(&archive(&tree, mtime).unwrap());
        prop_assert_eq!(archive.len() % 512, 0);
        let read: Vec<_> = entries(&archive).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len() + 1, tree.len());
        for (entry, (path, node)) in read.iter().zip(tree.iter().skip(1)) {
            prop_assert_eq!(entry.name, path.as_str().as_bytes());
            prop_assert_eq!(entry.mode, kind_bits(&node.kind) | u32::from(node.mode));
            prop_assert_eq!(entry.mtime, mtime);
            let data = &archive[usize::try_from(entry.data.start).unwrap()..usize::try_from(entry.data.end).unwrap()];
            match &node.kind {
                Kind::File(content) => prop_assert_eq!(data, bytes(content)),
                Kind::Symlink(target) => prop_assert_eq!(data, target.as_bytes()),
                _ => prop_assert!(data.is_empty()),
            }
        }
    }

    #[test]
    fn both_readers_agree_on_damaged_archives(tree in any_tree(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut: prop::sample::Index) {
        let mut archive = bytes(&archive(&tree, 0).unwrap());
        for (at, value) in damage {
            let at = at.index(archive.len());
            archive[at] = value;
        }
        archive.truncate(cut.index(archive.len() + 1));
        let whole: Vec<Vec<u8>> = entries(&archive).map_while(Result::ok).map(|e| e.name.to_vec()).collect();
        let mut reader = Reader::new(&archive[..]);
        let mut streamed = vec![];
        while let Ok(Some((name, _))) = reader.next_entry() {
            streamed.push(name);
        }
        // The stream names an entry before it has seen that its data is cut off.
        prop_assert!(streamed.len() - whole.len() <= 1, "{:?} {:?}", streamed, whole);
        prop_assert_eq!(&streamed[..whole.len()], &whole[..]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut data in prop::collection::vec(any::<u8>(), 0..600), looks_right: bool) {
        if looks_right {
            data.splice(0..0, *b"070701");
            for byte in data.iter_mut().take(110).skip(6) {
                *byte = b"0123456789abcdef"[usize::from(*byte % 16)];
            }
        }
        let _ = entries(&data).count();
        let mut reader = Reader::new(&data[..]);
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}
