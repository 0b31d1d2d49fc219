//! Trees: names for maps.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use crate::ExtentMap;

/// The longest path a tree holds, in bytes: Linux' `PATH_MAX`.
const PATH_LEN_MAX: usize = 4096;
/// The longest name, in bytes: `NAME_MAX`; FAT's 255 UTF-16 units and squashfs' 256 are no tighter.
const NAME_LEN_MAX: usize = 255;

/// A file system tree: paths to files, directories, links and devices, with one modification time.
///
/// Iterates in pre-order, the names of a directory in byte order: the order of `find | sort` per directory,
/// which every format here can take as its own. A directory always comes before what it holds, and every
/// entry has one. The root is the empty path and is always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

/// A path relative to the root: components joined by `/`, none of them empty, `.` or `..`.
///
/// Orders as its list of components does, so `a/b` comes before `a-b`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TreePath(String);

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// The twelve permission bits: set-uid, set-gid, sticky, `rwxrwxrwx`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by full name (`security.selinux`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file and its content.
    File(ExtentMap),
    /// A directory.
    Directory,
    /// A symbolic link and its target, as written.
    Symlink(String),
    /// Another name of the regular file at this path.
    HardLink(TreePath),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Why an entry cannot be in a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// A path leaves the tree, or has an empty, `.` or `..` component, or a NUL.
    #[error("`{path}` is not a path below the root")]
    Path {
        /// The path as given, at most 200 characters of it.
        path: String,
    },
    /// A path or one of its names is longer than Linux allows.
    #[error("`{path}` has more than {max} bytes")]
    PathTooLong {
        /// The path as given, at most 200 characters of it.
        path: String,
        /// The limit that it exceeds.
        max: usize,
    },
    /// A component of the path is there already and is not a directory.
    #[error("`{path}` lies below `{parent}`, which is not a directory")]
    NotADirectory {
        /// The path.
        path: TreePath,
        /// The entry in its way.
        parent: TreePath,
    },
}

impl TreePath {
    /// The root.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Parses a relative path; leading `/` and `./` and trailing `/` are dropped, as archives write them.
    ///
    /// # Errors
    /// `Path` and `PathTooLong`.
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        let shown = || text.chars().take(200).collect::<String>();
        let mut rest = text;
        while let Some(after) = rest.strip_prefix("./").or_else(|| rest.strip_prefix('/')) {
            rest = after;
        }
        let rest = rest.trim_end_matches('/');
        if rest.is_empty() || rest == "." {
            return Ok(Self::root());
        }
        if rest.len() > PATH_LEN_MAX {
            return Err(TreeError::PathTooLong { path: shown(), max: PATH_LEN_MAX });
        }
        for name in rest.split('/') {
            if matches!(name, "" | "." | "..") || name.contains('\0') {
                return Err(TreeError::Path { path: shown() });
            }
            if name.len() > NAME_LEN_MAX {
                return Err(TreeError::PathTooLong { path: shown(), max: NAME_LEN_MAX });
            }
        }
        Ok(Self(rest.to_owned()))
    }

    /// The text, without a leading `/`; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The directory that holds this entry; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned())))
    }

    /// Whether this is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.0.is_empty()
            || self.0 == ancestor.0
            || self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Node {
    /// An entry owned by root without extended attributes.
    pub fn new(kind: Kind, mode: u16) -> Self {
        Self { kind, mode, uid: 0, gid: 0, xattrs: BTreeMap::new() }
    }
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node::new(Kind::Directory, 0o755);
        Self { nodes: BTreeMap::from([(TreePath::root(), root)]) }
    }
}

impl Tree {
    /// The tree with nothing but its root.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `node` at `path`, in place of what is there; missing parents become directories of mode 0755.
    /// What lay below an entry that stops being a directory goes with it.
    ///
    /// # Errors
    /// `NotADirectory` when a parent is something else.
    pub fn insert(&mut self, path: TreePath, node: Node) -> Result<(), TreeError> {
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(parent) = above {
            match self.nodes.get(&parent).map(|n| &n.kind) {
                Some(Kind::Directory) => break,
                Some(_) => return Err(TreeError::NotADirectory { path, parent }),
                None => {
                    above = parent.parent();
                    missing.push(parent);
                }
            }
        }
        for parent in missing {
            self.nodes.insert(parent, Node::new(Kind::Directory, 0o755));
        }
        if node.kind != Kind::Directory {
            self.remove(&path);
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Puts a regular file of root's at `path`.
    pub fn file(&mut self, path: &str, content: impl Into<ExtentMap>, mode: u16) -> Result<(), TreeError> {
        self.insert(TreePath::parse(path)?, Node::new(Kind::File(content.into()), mode))
    }

    /// Puts a directory of root's at `path`.
    pub fn directory(&mut self, path: &str, mode: u16) -> Result<(), TreeError> {
        self.insert(TreePath::parse(path)?, Node::new(Kind::Directory, mode))
    }

    /// Puts a symbolic link of root's at `path`.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), TreeError> {
        self.insert(TreePath::parse(path)?, Node::new(Kind::Symlink(target.to_owned()), 0o777))
    }

    /// The entry at `path`.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The entry at `path`, to change in place.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// The content of the regular file at `path`, hard links followed.
    pub fn content(&self, path: &str) -> Option<&ExtentMap> {
        match &self.nodes.get(&TreePath::parse(path).ok()?)?.kind {
            Kind::File(content) => Some(content),
            Kind::HardLink(target) => match &self.nodes.get(target)?.kind {
                Kind::File(content) => Some(content),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes away the entry at `path` and all below it; the root itself stays.
    pub fn remove(&mut self, path: &TreePath) -> Tree {
        let mut taken = Tree::new();
        let within: Vec<TreePath> =
            self.nodes.range(path..).map(|(p, _)| p).take_while(|p| p.is_within(path)).cloned().collect();
        for p in within {
            if !p.0.is_empty()
                && let Some(node) = self.nodes.remove(&p)
            {
                taken.nodes.insert(p, node);
            }
        }
        taken
    }

    /// Lays `other` over this tree: its entries replace those of the same path, directories join.
    ///
    /// # Errors
    /// `NotADirectory` where an entry of `other` lies below a non-directory of this tree.
    pub fn merge(&mut self, other: Self) -> Result<(), TreeError> {
        for (path, node) in other.nodes {
            self.insert(path, node)?;
        }
        Ok(())
    }

    /// All entries in pre-order, the root first.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// The entries of the directory at `path`, in byte order of their names.
    pub fn children<'a>(&'a self, path: &'a TreePath) -> impl Iterator<Item = (&'a TreePath, &'a Node)> {
        self.nodes
            .range::<TreePath, _>(path..)
            .take_while(move |(p, _)| p.is_within(path))
            .filter(move |(p, _)| p.parent().as_ref() == Some(path))
    }

    /// How many entries there are, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }
}

/// Component order is byte order with `/` below every other byte.
fn compare(a: &str, b: &str) -> Ordering {
    let key = |byte: u8| if byte == b'/' { 0u8 } else { byte };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.iter().map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn iterates_in_pre_order_with_names_in_byte_order() {
        let mut tree = Tree::new();
        for path in ["a-b", "a/z", "a/b/c", "B", "a.b"] {
            tree.file(path, vec![1], 0o644).unwrap();
        }
        assert_eq!(paths(&tree), ["", "B", "a", "a/b", "a/b/c", "a/z", "a-b", "a.b"]);
        let root = TreePath::root();
        let names: Vec<_> = tree.children(&root).map(|(path, _)| path.name()).collect();
        assert_eq!(names, ["B", "a", "a-b", "a.b"]);
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for path in ["../a", "a/../b", "a//b", "a/./b", "a\0b", ".."] {
            assert!(TreePath::parse(path).is_err(), "{path}");
        }
        assert!(TreePath::parse(&"a".repeat(256)).is_err());
        assert_eq!(TreePath::parse("./usr/bin/").unwrap().as_str(), "usr/bin");
        assert_eq!(TreePath::parse("/").unwrap(), TreePath::root());
    }

    #[test]
    fn nothing_lies_below_a_file() {
        let mut tree = Tree::new();
        tree.file("a", vec![1], 0o644).unwrap();
        assert!(matches!(tree.file("a/b", vec![1], 0o644), Err(TreeError::NotADirectory { .. })));
    }

    #[test]
    fn a_file_in_place_of_a_directory_takes_its_entries_along() {
        let mut tree = Tree::new();
        tree.file("a/b/c", vec![1], 0o644).unwrap();
        tree.file("a/b", vec![2], 0o644).unwrap();
        assert_eq!(paths(&tree), ["", "a", "a/b"]);
    }

    #[test]
    fn removing_gives_back_what_was_there() {
        let mut tree = Tree::new();
        for path in ["a/b/c", "a/b-c", "a/d"] {
            tree.file(path, vec![1], 0o644).unwrap();
        }
        let taken = tree.remove(&TreePath::parse("a/b").unwrap());
        assert_eq!(paths(&tree), ["", "a", "a/b-c", "a/d"]);
        assert_eq!(paths(&taken), ["", "a/b", "a/b/c"]);
    }
}
