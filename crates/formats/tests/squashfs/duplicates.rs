//! Files of equal content are stored once, and no file is read more often than that needs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use extent::{Digest, ExtentMap, Tree};
use formats::squashfs;

use crate::seen::Blobs;
use crate::{judge, noise, text, zstd};

fn len(files: &[(&str, Vec<u8>)]) -> usize {
    let mut tree = Tree::new();
    for (name, content) in files {
        tree.file(name, content.clone(), 0o644).unwrap();
    }
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    judge(&tree, &Blobs::new(), &image);
    image.len()
}

#[test]
fn equal_files_are_stored_once() {
    for size in [500, 4000, 5000, 128 << 10, 300_000] {
        let other_end = [noise(1, size - 1), vec![7]].concat();
        let one = len(&[("a", noise(1, size))]);
        let same = len(&[("a", noise(1, size)), ("b/c", noise(1, size)), ("d", noise(1, size))]);
        let different = len(&[("a", noise(1, size)), ("b", other_end.clone()), ("c", noise(2, size))]);
        let mixed =
            len(&[("a", noise(1, size)), ("b", other_end.clone()), ("c", noise(1, size)), ("d", other_end)]);
        assert!(same <= one + 4096, "{size}: {same} for {one}");
        // Wrong duplicates would have been seen by the readers; tails alike compress one another.
        assert!(different + 4096 >= 2 * size, "{size}: {different}");
        assert!(mixed <= 2 * one + 4096, "{size}: {mixed}");
    }
}

#[test]
fn a_file_with_described_holes_equals_one_with_zeros() {
    let block = 128 << 10;
    let bytes = [noise(1, 2 * block), vec![0; 3 * block], noise(2, block / 2)].concat();
    let mut map = ExtentMap::inline(noise(1, 2 * block));
    map.push_zeros(3 * block as u64);
    map.push_inline(noise(2, block / 2));
    let mut tree = Tree::new();
    tree.file("described", map, 0o644).unwrap();
    tree.file("read", bytes.clone(), 0o644).unwrap();
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    judge(&tree, &Blobs::new(), &image);
    assert!(image.len() < 2 * block + block / 2 + 8192, "{}", image.len());
}

/// Counts the bytes read of each blob.
struct Counting {
    blobs: Blobs,
    read: Mutex<BTreeMap<Digest, u64>>,
}

impl extent::Blobs for Counting {
    fn read_at(&self, digest: &Digest, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        *self.read.lock().unwrap().entry(*digest).or_default() += buf.len() as u64;
        self.blobs.read_at(digest, offset, buf)
    }
}

#[test]
fn only_files_that_begin_alike_are_read_twice() {
    let mut tree = Tree::new();
    let mut blobs = Blobs::new();
    let mut add = |name: &str, content: Vec<u8>| {
        let digest = Digest::of(&content);
        let map = ExtentMap::blob(digest, 0, content.len() as u64);
        blobs.insert(digest, content.into());
        tree.file(name, map, 0o644).unwrap();
        digest
    };
    let alone = add("alone", noise(1, 500_000));
    let one = add("one", noise(2, 400_000));
    let other = add("other", noise(3, 400_000));
    let head = text(4, 10_000);
    let alike = add("alike", [head.clone(), noise(4, 400_000)].concat());
    let too = add("alike too", [head, noise(5, 400_000)].concat());
    let counting = Counting { blobs, read: Mutex::default() };
    squashfs::image(&tree, &zstd(), &counting).unwrap();
    let read = counting.read.into_inner().unwrap();
    let expected = [(alone, 500_000), (one, 404_096), (other, 404_096), (alike, 824_096), (too, 824_096)];
    assert_eq!(read, BTreeMap::from(expected));
}
