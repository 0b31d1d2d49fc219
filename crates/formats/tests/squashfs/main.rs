//! Squashfs file systems before their judges: `unsquashfs`, the kernel and the `backhand` crate.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod duplicates;
mod properties;
mod readers;
mod refusals;
mod seen;
mod shapes;
mod structure;
mod xattrs;

use std::io::Cursor;
use std::num::NonZeroUsize;

use extent::{Digest, ExtentMap, Kind, Node, Tree, TreePath};
use formats::squashfs::{self, Compression, Options};

use readers::Mounted;
use seen::{Blobs, assert_same, expected, expected_links};

const MTIME: u32 = 1_559_424_892;

fn options(compression: Compression, threads: usize) -> Options {
    Options { mtime: MTIME, threads: NonZeroUsize::new(threads).unwrap(), ..Options::new(compression) }
}

fn zstd() -> Options {
    options(Compression::Zstd { level: 3 }, 2)
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let blocks =
        (0u64..).flat_map(|i| *Digest::of(&[seed.to_le_bytes(), i.to_le_bytes()].concat()).as_bytes());
    blocks.take(len).collect()
}

/// Bytes that compress, the same for the same seed.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let words = (0u64..).flat_map(|i| format!("{} ", (seed + i) * i % 7919).into_bytes());
    words.take(len).collect()
}

/// Every reader sees in `image` what is in `tree`.
fn judge(tree: &Tree, blobs: &Blobs, image: &[u8]) {
    let expected = expected(tree, blobs, MTIME);
    assert_same(&readers::backhand(image), &expected, "backhand");
    judge_by_tools(tree, blobs, image);
}

/// As [`judge`], for what `backhand` cannot read.
fn judge_by_tools(tree: &Tree, blobs: &Blobs, image: &[u8]) {
    let expected = expected(tree, blobs, MTIME);
    let expected_links = expected_links(tree);
    if let Some((seen, links)) = readers::unsquashfs(image) {
        assert_same(&seen, &expected, "unsquashfs");
        assert_eq!(links, expected_links, "unsquashfs");
    }
    if let Some(mounted) = Mounted::new(image) {
        let (seen, links) = readers::walk(&mounted.path());
        assert_same(&seen, &expected, "kernel");
        assert_eq!(links, expected_links, "kernel");
    }
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// A tree with one of everything.
fn everything() -> (Tree, Blobs) {
    let mut tree = Tree::new();
    let mut blobs = Blobs::new();
    let block = 128 << 10;
    for (name, len) in [("empty", 0), ("one", 1), ("tail", block - 1), ("block", block), ("more", block + 1)]
    {
        tree.file(&format!("text/{name}"), text(1, len), 0o644).unwrap();
        tree.file(&format!("noise/{name}"), noise(2, len), 0o600).unwrap();
    }
    tree.file("long", text(3, 5 * block + 77), 0o755).unwrap();
    let archive = noise(4, 3 * block);
    let digest = Digest::of(&archive);
    blobs.insert(digest, archive.into());
    tree.file("from a blob", ExtentMap::blob(digest, 77, 2 * block as u64 + 9), 0o644).unwrap();
    let mut holes = ExtentMap::inline(noise(5, 10));
    holes.push_zeros(4 * block as u64);
    holes.push_inline(noise(6, 10));
    holes.push_zeros(block as u64);
    tree.file("holes", holes, 0o644).unwrap();
    tree.file("zeros/described", ExtentMap::zeros(300_000), 0o644).unwrap();
    tree.file("zeros/read", vec![0; 300_001], 0o644).unwrap();
    tree.file("zeros/tail", vec![0; 300], 0o644).unwrap();
    tree.directory("empty directory", 0o1777).unwrap();
    tree.symlink("link", "text/one").unwrap();
    tree.symlink("long link", &"x".repeat(255)).unwrap();
    for (name, kind) in [
        ("null", Kind::CharDevice { major: 1, minor: 3 }),
        ("wide", Kind::CharDevice { major: 4095, minor: 0xf_ffff }),
        ("disk", Kind::BlockDevice { major: 259, minor: 300 }),
        ("fifo", Kind::Fifo),
        ("socket", Kind::Socket),
    ] {
        tree.insert(path(&format!("dev/{name}")), Node::new(kind, 0o620)).unwrap();
    }
    tree.insert(
        path("sudo"),
        Node { uid: 1000, gid: 4_000_000_000, ..Node::new(Kind::File(text(9, 99).into()), 0o6755) },
    )
    .unwrap();
    let link = |target| Node::new(Kind::HardLink(path(target)), 0);
    tree.insert(path("a/very/deep/name"), link("sudo")).unwrap();
    tree.insert(path("zz"), link("a/very/deep/name")).unwrap();
    (tree, blobs)
}

#[test]
fn all_readers_see_everything() {
    let (tree, blobs) = everything();
    for compression in
        [Compression::Zstd { level: 3 }, Compression::Zstd { level: 15 }, Compression::Xz { preset: 1 }]
    {
        for stored in [false, true] {
            let options = Options { stored, ..options(compression, 2) };
            let image = squashfs::image(&tree, &options, &blobs).unwrap();
            assert_eq!(image.len() % 4096, 0);
            judge(&tree, &blobs, &image);
        }
    }
}

#[test]
fn all_readers_see_an_empty_tree() {
    let tree = Tree::new();
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    assert_eq!(image.len(), 4096);
    judge(&tree, &Blobs::new(), &image);
}

#[test]
fn the_number_of_threads_leaves_no_trace() {
    let (tree, blobs) = everything();
    let images = [1, 2, 3, 8].map(|threads| {
        squashfs::image(&tree, &options(Compression::Zstd { level: 9 }, threads), &blobs).unwrap()
    });
    assert!(images.iter().all(|image| *image == images[0]));
}

#[test]
fn a_file_system_begins_where_the_sink_stands() {
    let (tree, blobs) = everything();
    let image = squashfs::image(&tree, &zstd(), &blobs).unwrap();
    let mut out = Cursor::new(vec![7; 100]);
    out.set_position(100);
    let len = squashfs::write(&tree, &zstd(), &blobs, &mut out).unwrap();
    assert_eq!(len, image.len() as u64);
    assert_eq!(out.position(), 100 + len);
    let (before, after) = out.get_ref().split_at(100);
    assert_eq!(before, [7; 100]);
    assert!(after == image);
}
