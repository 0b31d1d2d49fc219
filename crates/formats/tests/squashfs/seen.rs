//! A file system as a reader sees it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use extent::{Digest, Kind, Tree, TreePath, read_all};

/// Paths, `/` for the root, and what is there.
pub type Seen = BTreeMap<String, Entry>;

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub what: What,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Length and digest of the content.
    File(u64, Digest),
    Directory,
    Symlink(String),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

pub type Blobs = HashMap<Digest, Bytes>;

impl What {
    pub fn file(content: &[u8]) -> Self {
        Self::File(content.len() as u64, Digest::of(content))
    }
}

pub fn key(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

/// What every reader should see of `tree`.
pub fn expected(tree: &Tree, blobs: &Blobs, mtime: u32) -> Seen {
    let mut seen = Seen::new();
    for (path, node) in tree.iter() {
        let mut node = node;
        while let Kind::HardLink(target) = &node.kind {
            node = tree.get(target).unwrap();
        }
        let what = match &node.kind {
            Kind::File(map) => What::file(&read_all(map, blobs, 1 << 30).unwrap()),
            Kind::Directory => What::Directory,
            Kind::Symlink(target) => What::Symlink(target.clone()),
            Kind::CharDevice { major, minor } => What::Char(*major, *minor),
            Kind::BlockDevice { major, minor } => What::Block(*major, *minor),
            Kind::Fifo => What::Fifo,
            Kind::Socket => What::Socket,
            Kind::HardLink(_) => unreachable!("followed above"),
        };
        let entry = Entry { what, mode: u32::from(node.mode), uid: node.uid, gid: node.gid, mtime };
        seen.insert(key(path.as_str()), entry);
    }
    seen
}

/// The names that are hard links to one another, in groups of two or more.
pub fn expected_links(tree: &Tree) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<TreePath, Vec<String>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let (mut owner, mut node) = (path, node);
        while let Kind::HardLink(target) = &node.kind {
            (owner, node) = (target, tree.get(target).unwrap());
        }
        groups.entry(owner.clone()).or_default().push(key(path.as_str()));
    }
    let mut links: Vec<_> = groups.into_values().filter(|names| names.len() > 1).collect();
    for names in &mut links {
        names.sort();
    }
    links.sort();
    links
}

/// Fails with the first difference alone: trees are long.
pub fn assert_same(seen: &Seen, expected: &Seen, reader: &str) {
    for (path, entry) in expected {
        assert_eq!(seen.get(path), Some(entry), "{reader}: `{path}`");
    }
    for path in seen.keys() {
        assert!(expected.contains_key(path), "{reader}: `{path}` is not in the tree");
    }
}
