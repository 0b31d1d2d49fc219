//! Extended attributes.

use std::collections::BTreeMap;

use extent::{Kind, Node, Tree, TreePath};
use formats::squashfs;

use crate::readers::{self, Mounted};
use crate::seen::{Blobs, key};
use crate::{judge, path, zstd};

type Attributes = BTreeMap<String, Vec<u8>>;

fn attributes(pairs: &[(&str, &[u8])]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
}

fn expected(tree: &Tree) -> BTreeMap<String, Attributes> {
    let with = tree.iter().filter(|(_, node)| !node.xattrs.is_empty());
    with.map(|(path, node)| (key(path.as_str()), node.xattrs.clone())).collect()
}

/// Every kind of inode with attributes. Those of `user.` belong to files and directories alone.
fn labelled() -> Tree {
    let mut tree = Tree::new();
    let label = attributes(&[("security.selinux", b"system_u:object_r:usr_t:s0\0")]);
    let user =
        attributes(&[("user.a", b""), ("user.b", b"\0\xff"), ("trusted.a", b"1"), ("security.a", b"2")]);
    for (name, kind, xattrs) in [
        ("file", Kind::File(vec![1; 10].into()), &user),
        ("same", Kind::File(vec![1; 10].into()), &user),
        ("label", Kind::File(vec![0; 5000].into()), &label),
        ("empty", Kind::File(Vec::new().into()), &label),
        ("directory", Kind::Directory, &user),
        ("symlink", Kind::Symlink("file".to_owned()), &label),
        ("char", Kind::CharDevice { major: 1, minor: 3 }, &label),
        ("block", Kind::BlockDevice { major: 7, minor: 0 }, &label),
        ("fifo", Kind::Fifo, &label),
        ("socket", Kind::Socket, &label),
    ] {
        tree.insert(path(name), Node { xattrs: xattrs.clone(), ..Node::new(kind, 0o640) }).unwrap();
    }
    tree.file("plain", vec![1], 0o644).unwrap();
    tree.get_mut(&TreePath::root()).unwrap().xattrs = label;
    tree
}

#[test]
fn all_readers_see_inodes_with_attributes() {
    let tree = labelled();
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    judge(&tree, &Blobs::new(), &image);
    if let Some(mounted) = Mounted::new(&image) {
        assert_eq!(readers::xattrs(&mounted.path()), expected(&tree));
    }
    if let Some(dir) = readers::extracted(&image) {
        assert_eq!(readers::xattrs(&dir.path().join("root")), expected(&tree));
    }
}

#[test]
fn long_values_and_thousands_of_sets_are_kept() {
    let mut tree = Tree::new();
    let long = format!("user.{}", "n".repeat(250));
    let xattrs = attributes(&[(&long, &vec![3; 65536]), ("user.short", b"x")]);
    tree.insert(path("long"), Node { xattrs, ..Node::new(Kind::Directory, 0o755) }).unwrap();
    for i in 0..2000 {
        let value = format!("{}", i / 2);
        let xattrs = attributes(&[("security.id", value.as_bytes()), ("user.id", &vec![5; i % 97])]);
        let node = Node { xattrs, ..Node::new(Kind::Directory, 0o755) };
        tree.insert(path(&format!("{i}")), node).unwrap();
    }
    let image = squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap();
    if let Some(mounted) = Mounted::new(&image) {
        assert_eq!(readers::xattrs(&mounted.path()), expected(&tree));
    }
    judge(&tree, &Blobs::new(), &image);
}

#[test]
fn inodes_with_equal_attributes_share_them() {
    let len = |different: bool| {
        let mut tree = Tree::new();
        for i in 0..200 {
            let value = crate::noise(if different { i } else { 0 }, 1000);
            let xattrs = attributes(&[("user.noise", &value)]);
            tree.insert(path(&format!("{i}")), Node { xattrs, ..Node::new(Kind::Directory, 0o755) }).unwrap();
        }
        squashfs::image(&tree, &zstd(), &Blobs::new()).unwrap().len()
    };
    assert!(len(false) <= 8192, "{}", len(false));
    assert!(len(true) >= 200_000, "{}", len(true));
}
