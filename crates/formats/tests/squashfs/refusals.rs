//! What squashfs cannot express is refused, with what is needed to find it.

use std::io::{self, Cursor, Seek, SeekFrom, Write};

use extent::{Digest, ExtentMap, Kind, Node, Tree, TreePath};
use formats::squashfs::{self, Compression, Error, Options};

use crate::seen::Blobs;
use crate::{noise, options, path, zstd};

fn refused(tree: &Tree, options: &Options) -> String {
    squashfs::image(tree, options, &Blobs::new()).unwrap_err().to_string()
}

fn with(name: &str, node: Node) -> Tree {
    let mut tree = Tree::new();
    tree.insert(path(name), node).unwrap();
    tree
}

#[test]
fn options_out_of_range_are_refused() {
    for block_size in [0, 1, 2048, 5000, 131_073, 2 << 20, u32::MAX] {
        let options = Options { block_size, ..zstd() };
        let expected = format!("a block of {block_size} bytes is not a power of two from 4096 to 1048576");
        assert_eq!(refused(&Tree::new(), &options), expected);
    }
    let level = options(Compression::Zstd { level: 23 }, 1);
    assert_eq!(refused(&Tree::new(), &level), "compression level 23 is not from 1 to 22");
    let preset = options(Compression::Xz { preset: 10 }, 1);
    assert_eq!(refused(&Tree::new(), &preset), "compression level 10 is not from 0 to 9");
}

#[test]
fn entries_beyond_the_format_are_refused() {
    let attribute = |name: &str, len: usize| {
        let mut node = Node::new(Kind::Fifo, 0o644);
        node.xattrs.insert(name.to_owned(), vec![0; len]);
        with("x", node)
    };
    let link = |target: &str| with("a/x", Node::new(Kind::HardLink(path(target)), 0));
    let symlink = |target: String| with("x", Node::new(Kind::Symlink(target), 0o777));
    let symlink_text =
        |len| format!("the target of `x`, {len} bytes, is empty, has a NUL or is longer than 4095 bytes");
    let name = |name| {
        format!("the extended attribute `{name}` of `x` is not below `user.`, `trusted.` or `security.`")
    };
    let long = format!("user.{}", "n".repeat(251));
    for (tree, expected) in [
        (link("none"), "`a/x` is a hard link to `none`, which is not a regular file".to_owned()),
        (link("a"), "`a/x` is a hard link to `a`, which is not a regular file".to_owned()),
        (link("a/x"), "`a/x` is a hard link to `a/x`, which is not a regular file".to_owned()),
        (symlink(String::new()), symlink_text(0)),
        (symlink("a\0b".to_owned()), symlink_text(3)),
        (symlink("a".repeat(4096)), symlink_text(4096)),
        (
            with("x", Node::new(Kind::CharDevice { major: 4096, minor: 0 }, 0)),
            "device 4096:0 at `x` is beyond 4095:1048575".to_owned(),
        ),
        (
            with("x", Node::new(Kind::BlockDevice { major: 0, minor: 1 << 20 }, 0)),
            "device 0:1048576 at `x` is beyond 4095:1048575".to_owned(),
        ),
        (attribute("system.posix_acl_access", 1), name("system.posix_acl_access")),
        (attribute("user.", 1), name("user.")),
        (attribute("user.a\0b", 1), name("user.a\0b")),
        (attribute(&long, 1), format!("the extended attribute `{long}` of `x` has 256 bytes, more than 255")),
        (
            attribute("user.a", 65537),
            "the extended attribute `user.a` of `x` has 65537 bytes, more than 65536".to_owned(),
        ),
        (
            with("a", Node::new(Kind::File(ExtentMap::zeros(u64::MAX)), 0)),
            format!("`a` of {} bytes takes the tree over 67108864 blocks", u64::MAX),
        ),
    ] {
        assert_eq!(refused(&tree, &zstd()), expected);
    }
}

#[test]
fn links_in_a_circle_are_refused() {
    let mut tree = with("a", Node::new(Kind::HardLink(path("b")), 0));
    tree.insert(path("b"), Node::new(Kind::HardLink(path("a")), 0)).unwrap();
    assert_eq!(refused(&tree, &zstd()), "`a` is a hard link to `b`, which is not a regular file");
}

#[test]
fn more_owners_than_the_table_holds_are_refused() {
    let mut tree = Tree::new();
    for id in 0..=u32::from(u16::MAX) {
        tree.insert(path(&format!("{id}")), Node { uid: id, ..Node::new(Kind::Fifo, 0) }).unwrap();
    }
    assert_eq!(refused(&tree, &zstd()), "65536 different owners and groups are more than 65535");
}

#[test]
fn holes_without_end_are_refused_at_once() {
    let mut tree = Tree::new();
    for i in 0..10 {
        tree.file(&format!("{i}"), ExtentMap::zeros(1 << 40), 0o644).unwrap();
    }
    let expected = "`8` of 1099511627776 bytes takes the tree over 67108864 blocks";
    assert_eq!(refused(&tree, &zstd()), expected);
}

#[test]
fn a_kind_changed_in_place_is_refused_where_it_hides_entries() {
    let mut tree = Tree::new();
    tree.file("a/b", vec![1], 0o644).unwrap();
    tree.get_mut(&path("a")).unwrap().kind = Kind::Fifo;
    assert_eq!(refused(&tree, &zstd()), "`/a` is not a directory");
    let mut tree = Tree::new();
    tree.get_mut(&TreePath::root()).unwrap().kind = Kind::Fifo;
    assert_eq!(refused(&tree, &zstd()), "`/` is not a directory");
}

#[test]
fn bytes_that_cannot_be_had_are_an_error_of_their_file() {
    for threads in [1, 4] {
        let mut tree = Tree::new();
        for i in 0..50 {
            tree.file(&format!("{i}"), noise(i, 200_000), 0o644).unwrap();
        }
        tree.file("0/missing", ExtentMap::blob(Digest::of(b"missing"), 0, 300_001), 0o644).unwrap_err();
        tree.file("31-missing", ExtentMap::blob(Digest::of(b"missing"), 0, 300_001), 0o644).unwrap();
        let options = options(Compression::Zstd { level: 1 }, threads);
        match squashfs::image(&tree, &options, &Blobs::new()) {
            Err(Error::Read { path, source }) => {
                assert_eq!(path.as_str(), "31-missing");
                assert_eq!(source.kind(), io::ErrorKind::NotFound);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A sink with room for `room` bytes.
struct Full {
    out: Cursor<Vec<u8>>,
    room: u64,
}

impl Write for Full {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.out.position() + buf.len() as u64 > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.out.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Full {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.out.seek(position)
    }
}

#[test]
fn a_sink_that_is_full_is_an_error_wherever_it_happens() {
    let mut tree = Tree::new();
    for i in 0..20 {
        tree.file(&format!("{i}"), noise(i, 50_000), 0o644).unwrap();
    }
    let len = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap().len() as u64;
    for room in [0, 95, 102, 200_000, 1_000_000, len - 1] {
        let mut full = Full { out: Cursor::default(), room };
        match squashfs::write(&tree, &zstd(), &Blobs::new(), &mut full) {
            Err(Error::Write(source)) => assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{room}"),
            other => panic!("{room}: {other:?}"),
        }
    }
    let mut full = Full { out: Cursor::default(), room: len };
    assert_eq!(squashfs::write(&tree, &zstd(), &Blobs::new(), &mut full).unwrap(), len);
}
