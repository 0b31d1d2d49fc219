//! Random trees: readers see what was put in, and nothing but the tree decides the bytes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use extent::{Digest, ExtentMap, Kind, Node, Tree, TreePath};
use formats::squashfs::{self, Compression, Options};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::seen::Blobs;
use crate::{MTIME, judge, noise, text};

const BLOCK: u64 = 4096;

/// The content of a file, in pieces.
#[derive(Clone, Debug)]
enum Piece {
    Text(u64, u64),
    Noise(u64, u64),
    /// Zeros that are described.
    Hole(u64),
    /// Zeros that must be read.
    Zeros(u64),
    /// A range of the one blob.
    Blob(u64, u64),
}

/// One insertion; hard links by the number of an earlier one.
#[derive(Clone, Debug)]
enum Kinds {
    File(Vec<Piece>),
    Directory,
    Symlink(String),
    Link(usize),
    Device(bool, u32, u32),
    Fifo,
    Socket,
}

fn len() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..200u64,
        (0..4u64, 0..3u64).prop_map(|(n, d)| (n * BLOCK + d).saturating_sub(1)),
        0..20_000u64
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    // Few seeds, so that files are often equal or begin alike.
    prop_oneof![
        (0..3u64, len()).prop_map(|(seed, len)| Piece::Text(seed, len)),
        (0..3u64, len()).prop_map(|(seed, len)| Piece::Noise(seed, len)),
        len().prop_map(Piece::Hole),
        len().prop_map(Piece::Zeros),
        (0..BLOCK, len()).prop_map(|(offset, len)| Piece::Blob(offset, len)),
    ]
}

fn kind() -> impl Strategy<Value = Kinds> {
    prop_oneof![
        6 => vec(piece(), 0..4).prop_map(Kinds::File),
        1 => Just(Kinds::Directory),
        1 => "[a-z/ .]{1,300}".prop_map(|target| Kinds::Symlink(target.chars().take(255).collect())),
        2 => any::<usize>().prop_map(Kinds::Link),
        1 => (any::<bool>(), 0..4096u32, 0..1u32 << 20).prop_map(|(char, a, b)| Kinds::Device(char, a, b)),
        1 => Just(Kinds::Fifo),
        1 => Just(Kinds::Socket),
    ]
}

/// Path, kind, mode, owner, group and attributes.
type Described = (String, Kinds, u16, u32, u32, BTreeMap<String, Vec<u8>>);

fn node() -> impl Strategy<Value = Described> {
    let name =
        prop_oneof![select(vec!["a", "b", "c", "a-b", "a b"]).prop_map(str::to_owned), "[ -.0-~é]{1,40}"];
    let path = vec(name, 1..5).prop_map(|names| names.join("/"));
    let id = || prop_oneof![Just(0u32), any::<u32>()];
    let attribute = "(security|trusted)\\.[a-z]{1,9}";
    let xattrs = btree_map(attribute, vec(any::<u8>(), 0..20), 0..3);
    (path, kind(), 0..0o10000u16, id(), id(), xattrs)
}

fn blob() -> Vec<u8> {
    noise(99, 40_000)
}

fn content(pieces: &[Piece]) -> ExtentMap {
    let size = |len: u64| usize::try_from(len).unwrap();
    let mut map = ExtentMap::new();
    for piece in pieces {
        match *piece {
            Piece::Text(seed, len) => map.push_inline(text(seed, size(len))),
            Piece::Noise(seed, len) => map.push_inline(noise(seed, size(len))),
            Piece::Hole(len) => map.push_zeros(len),
            Piece::Zeros(len) => map.push_inline(vec![0; size(len)]),
            Piece::Blob(offset, len) => map.append(ExtentMap::blob(Digest::of(&blob()), offset, len)),
        }
    }
    map
}

prop_compose! {
    fn tree()(nodes in vec(node(), 0..60)) -> Tree {
        let mut tree = Tree::new();
        let mut files: Vec<TreePath> = Vec::new();
        for (path, kind, mode, uid, gid, xattrs) in nodes {
            let Ok(path) = TreePath::parse(&path) else { continue };
            let kind = match kind {
                Kinds::File(pieces) => Kind::File(content(&pieces)),
                Kinds::Directory => Kind::Directory,
                Kinds::Symlink(target) => Kind::Symlink(target),
                Kinds::Link(_) if files.is_empty() => continue,
                Kinds::Link(number) => Kind::HardLink(files[number % files.len()].clone()),
                Kinds::Device(true, major, minor) => Kind::CharDevice { major, minor },
                Kinds::Device(false, major, minor) => Kind::BlockDevice { major, minor },
                Kinds::Fifo => Kind::Fifo,
                Kinds::Socket => Kind::Socket,
            };
            // Nothing is replaced: what links lead to stays.
            if tree.get(&path).is_none() {
                let file = matches!(kind, Kind::File(_));
                let node = Node { kind, mode, uid, gid, xattrs };
                if tree.insert(path.clone(), node).is_ok() && file {
                    files.push(path);
                }
            }
        }
        tree
    }
}

fn blobs() -> Blobs {
    Blobs::from([(Digest::of(&blob()), blob().into())])
}

fn options(compression: Compression, threads: usize) -> Options {
    Options {
        block_size: u32::try_from(BLOCK).unwrap(),
        mtime: MTIME,
        threads: NonZeroUsize::new(threads).unwrap(),
        ..Options::new(compression)
    }
}

/// The same entries, put in from the last to the first.
fn shuffled(tree: &Tree) -> Tree {
    let mut other = Tree::new();
    for (path, node) in tree.iter().collect::<Vec<_>>().into_iter().rev() {
        // A directory comes after what it holds and takes its place among it.
        other.insert(path.clone(), node.clone()).unwrap();
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn readers_see_what_was_put_in(tree in tree(), xz in any::<bool>(), stored in any::<bool>()) {
        let compression = if xz { Compression::Xz { preset: 0 } } else { Compression::Zstd { level: 1 } };
        let options = Options { stored, ..options(compression, 2) };
        let image = squashfs::image(&tree, &options, &blobs()).unwrap();
        judge(&tree, &blobs(), &image);
    }

    #[test]
    fn threads_and_order_of_insertion_leave_no_trace(tree in tree(), threads in 2..9usize) {
        let compression = Compression::Zstd { level: 5 };
        let image = squashfs::image(&tree, &options(compression, 1), &blobs()).unwrap();
        let parallel = squashfs::image(&tree, &options(compression, threads), &blobs()).unwrap();
        prop_assert!(image == parallel, "{} threads", threads);
        let other = squashfs::image(&shuffled(&tree), &options(compression, threads), &blobs()).unwrap();
        prop_assert!(image == other, "shuffled");
    }
}
