//! What no reader shows: the superblock, the export table and the places of blocks.

use extent::{Digest, ExtentMap, Tree};
use formats::squashfs::{self, Compression, Options};

use crate::seen::Blobs;
use crate::{everything, noise, options, zstd};

const INODES: usize = 64;
const EXPORT: usize = 88;

fn number(image: &[u8], at: usize, len: usize) -> u64 {
    image[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn position(image: &[u8], at: usize) -> usize {
    usize::try_from(number(image, at, 8)).unwrap()
}

/// The metadata block at `at`, decompressed.
fn metadata(image: &[u8], at: usize) -> Vec<u8> {
    let header = usize::try_from(number(image, at, 2)).unwrap();
    let stored = &image[at + 2..at + 2 + (header & 0x7fff)];
    if header & 0x8000 == 0 { zstd::bulk::decompress(stored, 8192).unwrap() } else { stored.to_vec() }
}

#[test]
fn the_superblock_says_what_squashfs_tools_would() {
    let mut tree = Tree::new();
    tree.file("a", noise(1, 100), 0o644).unwrap();
    for (compression, id, option_flag, tail) in [
        (Compression::Zstd { level: 18 }, 6, 0x400, &[4u8, 0x80, 18, 0, 0, 0][..]),
        (Compression::Zstd { level: 15 }, 6, 0, &[]),
        (Compression::Xz { preset: 6 }, 4, 0, &[]),
    ] {
        let image = squashfs::image(&tree, &options(compression, 1), &Blobs::new()).unwrap();
        let fields = [(0, 4, 0x7371_7368), (4, 4, 2), (8, 4, 1_559_424_892), (12, 4, 131_072), (16, 4, 1)];
        let more =
            [(20, 2, id), (22, 2, 17), (24, 2, 0xe0 | option_flag), (26, 2, 1), (28, 2, 4), (30, 2, 0)];
        for (at, len, expected) in fields.into_iter().chain(more) {
            assert_eq!(number(&image, at, len), expected, "{compression:?}: field at {at}");
        }
        assert_eq!(&image[96..96 + tail.len()], tail);
        assert_eq!(number(&image, 56, 8), u64::MAX, "no attributes");
        let used = position(&image, 40);
        assert_eq!(image.len(), used.next_multiple_of(4096));
        assert!(image[used..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn the_export_table_leads_to_every_inode() {
    let (mut tree, blobs) = everything();
    for i in 0..3000 {
        tree.file(&format!("many/{i}"), Vec::new(), 0o644).unwrap();
    }
    let image = squashfs::image(&tree, &zstd(), &blobs).unwrap();
    let count = usize::try_from(number(&image, 4, 4)).unwrap();
    let (index, inodes) = (position(&image, EXPORT), position(&image, INODES));
    let table: Vec<u8> = (0..(count * 8).div_ceil(8192))
        .flat_map(|i| metadata(&image, position(&image, index + 8 * i)))
        .collect();
    assert_eq!(table.len(), count * 8);
    for (i, reference) in table.chunks(8).enumerate() {
        let (block, offset) = (number(reference, 2, 6), usize::try_from(number(reference, 0, 2)).unwrap());
        let at = inodes + usize::try_from(block).unwrap();
        let mut inode = metadata(&image, at)[offset..].to_vec();
        if inode.len() < 16 {
            let next = at + 2 + usize::try_from(number(&image, at, 2) & 0x7fff).unwrap();
            inode.extend(metadata(&image, next));
        }
        assert_eq!(number(&inode, 12, 4), i as u64 + 1);
    }
}

#[test]
fn the_bytes_are_the_same_on_any_machine() {
    // A change of these changes what is behind every address that names a file system: it belongs in the
    // changelog. A new zstd or liblzma may be the reason.
    let (tree, blobs) = everything();
    let digests =
        [Compression::Zstd { level: 3 }, Compression::Zstd { level: 18 }, Compression::Xz { preset: 6 }].map(
            |compression| {
                Digest::of(&squashfs::image(&tree, &options(compression, 2), &blobs).unwrap()).hex()
            },
        );
    let expected = [
        "f3a787ac65800f654cc960757acbaed605f4491e89ae6e58495bd9a0a5e1bf3e",
        "dffa35d8dd92ed711fd40a7300161b82e0cec8065d3e64afa6f6dbc9c6184ff2",
        "e62fcbc22f0393213f810337b3e23a9e1411dae4bbbd7532d4c7c1a23148321e",
    ];
    assert_eq!(digests, expected);
}

#[test]
fn what_is_stored_depends_on_no_compressor() {
    let (tree, blobs) = everything();
    let image = |compression| {
        let options = Options { stored: true, ..options(compression, 2) };
        squashfs::image(&tree, &options, &blobs).unwrap()
    };
    let zstd = image(Compression::Zstd { level: 3 });
    assert_eq!(Digest::of(&zstd).hex(), "71cdc39c0803ca1457e51b81284ed1e0d29200e63c6a49748b1a688591ab5062");
    assert!(image(Compression::Zstd { level: 18 }) == zstd);
    let mut xz = image(Compression::Xz { preset: 6 });
    assert_eq!((number(&zstd, 20, 2), number(&xz, 20, 2)), (6, 4), "but for its name");
    xz[20] = 6;
    assert!(xz == zstd);
}

#[test]
fn a_file_that_does_not_compress_costs_its_length() {
    let mut tree = Tree::new();
    let noise = noise(1, 1 << 20);
    tree.file("noise", ExtentMap::inline(noise), 0o644).unwrap();
    for compression in [Compression::Zstd { level: 3 }, Compression::Xz { preset: 1 }] {
        let image = squashfs::image(&tree, &options(compression, 2), &Blobs::new()).unwrap();
        assert_eq!(image.len(), (1 << 20) + 4096);
        assert_eq!(number(&image, 16, 4), 0, "no fragment");
    }
}
