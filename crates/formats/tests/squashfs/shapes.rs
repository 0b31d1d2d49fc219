//! Trees at the limits: huge directories, deep paths, holes of gigabytes, files at the edges of blocks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use extent::{Digest, ExtentMap, Kind, Node, Tree};
use formats::squashfs::{self, Compression, Options};

use crate::readers::{self, Mounted};
use crate::seen::Blobs;
use crate::{judge, judge_by_tools, noise, options, text, zstd};

/// Blobs that must not be read.
struct Unread;

impl extent::Blobs for Unread {
    fn read_at(&self, _: &Digest, _: u64, _: &mut [u8]) -> io::Result<()> {
        panic!("nothing is to be read")
    }
}

#[test]
fn files_at_the_edges_of_blocks_are_whole() {
    for block_size in [4096, 16384, 1 << 20] {
        let mut tree = Tree::new();
        let block = usize::try_from(block_size).unwrap();
        for blocks in 0..if block_size > 16384 { 2 } else { 4 } {
            for (name, len) in [
                ("less", (blocks * block).saturating_sub(1)),
                ("exact", blocks * block),
                ("more", blocks * block + 1),
            ] {
                tree.file(&format!("text/{name}{blocks}"), text(7, len), 0o644).unwrap();
                tree.file(&format!("noise/{name}{blocks}"), noise(8, len), 0o644).unwrap();
                tree.file(&format!("zeros/{name}{blocks}"), vec![0; len], 0o644).unwrap();
                tree.file(&format!("hole/{name}{blocks}"), ExtentMap::zeros(len as u64), 0o644).unwrap();
            }
        }
        for compression in [Compression::Zstd { level: 1 }, Compression::Xz { preset: 0 }] {
            let options = Options { block_size, ..options(compression, 2) };
            judge(&tree, &Blobs::new(), &squashfs::image(&tree, &options, &Blobs::new()).unwrap());
        }
    }
}

#[test]
fn a_directory_of_twenty_thousand_entries_is_found_by_name() {
    let mut tree = Tree::new();
    for i in 0..20_000u32 {
        let name =
            format!("{}/{i:x}-{}", if i % 2 == 0 { "even" } else { "odd" }, "n".repeat(i as usize % 50));
        tree.file(&name, Vec::new(), 0o644).unwrap();
    }
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    // The kernel looks every name up, through the index.
    judge(&tree, &Blobs::new(), &image);
}

#[test]
fn a_listing_longer_than_sixteen_mebibytes_is_found_by_name() {
    let mut tree = Tree::new();
    let name = |i: u32| format!("{i:05}{}", "n".repeat(220));
    for i in 0..80_000 {
        tree.symlink(&name(i), "x").unwrap();
    }
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    if let Some((seen, _)) = readers::unsquashfs(&image) {
        assert_eq!(seen.len(), 80_001);
    }
    if let Some(mounted) = Mounted::new(&image) {
        assert!(fs::metadata(mounted.path()).unwrap().len() > 16 << 20);
        for i in (0..80_000).step_by(997) {
            assert_eq!(fs::read_link(mounted.path().join(name(i))).unwrap().to_str(), Some("x"), "{i}");
        }
        assert!(!mounted.path().join(name(80_000)).exists());
        assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 80_000);
    }
}

#[test]
fn a_tree_as_deep_as_a_path_is_long_is_whole() {
    let mut tree = Tree::new();
    // The readers put a path of their own before it.
    let deep = vec!["d"; 1900].join("/");
    tree.file(&format!("{deep}/file"), text(1, 100), 0o644).unwrap();
    tree.file("file", text(1, 100), 0o644).unwrap();
    judge(&tree, &Blobs::new(), &squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap());
}

#[test]
fn a_symbolic_link_is_as_long_as_linux_follows() {
    let mut tree = Tree::new();
    for len in [256, 4095] {
        tree.symlink(&format!("{len}"), &"x/".repeat(len)[..len]).unwrap();
    }
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    judge_by_tools(&tree, &Blobs::new(), &image);
}

#[test]
fn holes_of_gigabytes_are_neither_read_nor_stored() {
    const GIB: u64 = 1 << 30;
    let mut tree = Tree::new();
    let mut map = ExtentMap::zeros(5 * GIB);
    map.push_inline(&b"end"[..]);
    tree.file("ends", map, 0o644).unwrap();
    tree.file("zeros", ExtentMap::zeros(100 * GIB + 1), 0o644).unwrap();
    // Of equal length, so they are compared; of equal content, so they are one.
    tree.file("again", ExtentMap::zeros(100 * GIB + 1), 0o644).unwrap();
    let image = squashfs::image(&tree, &zstd(), &Unread).unwrap();
    assert!(image.len() < 64 << 10, "{}", image.len());
    let Some(mounted) = Mounted::new(&image) else { return };
    let ends = File::open(mounted.path().join("ends")).unwrap();
    let mut bytes = [1; 8];
    ends.read_exact_at(&mut bytes, 5 * GIB - 5).unwrap();
    assert_eq!(&bytes, b"\0\0\0\0\0end");
    for (name, len) in [("ends", 5 * GIB + 3), ("zeros", 100 * GIB + 1), ("again", 100 * GIB + 1)] {
        let metadata = fs::metadata(mounted.path().join(name)).unwrap();
        assert_eq!(metadata.len(), len, "{name}");
        // What is not a hole: a tail of three bytes; one byte, so that there is something.
        assert_eq!(metadata.blocks(), 1, "{name}");
    }
}

#[test]
fn every_owner_up_to_the_last_is_kept() {
    let mut tree = Tree::new();
    // With the root's 0, all that the table holds.
    for id in 1..=32_767u32 {
        let node = Node { uid: id * 65_000, gid: id * 65_000 + 1, ..Node::new(Kind::Fifo, 0o644) };
        tree.insert(crate::path(&format!("{}/{id}", id / 1000)), node).unwrap();
    }
    // `backhand` reads only the first block of ids.
    judge_by_tools(&tree, &Blobs::new(), &squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap());
}
