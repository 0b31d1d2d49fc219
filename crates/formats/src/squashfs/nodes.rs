//! The tree as inodes: names joined by hard links, numbered in the order they are written.
//!
//! A directory can be listed only when the inodes of its entries have their place. So the deepest entries come
//! first and the root last; the entries of one directory are neighbours, which keeps listings short. An inode
//! with several names counts as deep as its deepest.
//!
//!   depth     3            2            1          0
//!           │ a/b/x a/b/y │ a/b c/d    │ a c e    │ root │
//!   number    1     2       3   4        5 6 7      8

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use extent::{ExtentMap, Kind, Node, Tree, TreePath};

use super::Error;

/// Blocks of all files together, holes included. Each costs four bytes of memory and of inode table, even those
/// of a hole, and a hole is cheap to ask for: this is 8 TiB in blocks of 128 KiB.
const MAX_BLOCKS: u64 = 1 << 26;
/// The field of the superblock that counts them has 16 bits, and 0 is refused.
const MAX_IDS: usize = u16::MAX as usize;
/// Longest target of a symbolic link that Linux follows: `PATH_MAX` less the NUL.
const MAX_SYMLINK_LEN: usize = 4095;
/// Circles end here; chains of hard links to hard links are short.
const MAX_LINK_STEPS: usize = 32;

/// The inodes of a tree, in the order they are written: number 1 first, the root last.
pub(super) struct Nodes<'a> {
    pub(super) inodes: Vec<Inode<'a>>,
    /// The regular files, those of a directory together, in the order of the tree.
    pub(super) files: Vec<File<'a>>,
    /// Owners and groups, ascending.
    pub(super) ids: Vec<u32>,
}

/// One inode.
pub(super) struct Inode<'a> {
    /// Its first name.
    pub(super) path: &'a TreePath,
    pub(super) node: &'a Node,
    /// How many names it has; for a directory 2 and one for each directory in it.
    pub(super) links: u32,
    /// The inode of the directory that holds the first name; of the root, nothing.
    pub(super) parent: Option<usize>,
    /// Index in `files`, of a regular file.
    pub(super) file: Option<usize>,
    /// What a directory holds, by name.
    pub(super) entries: Option<Vec<Entry<'a>>>,
    /// How many directories its deepest name has above it.
    pub(super) depth: usize,
}

/// A name in a directory.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) inode: usize,
}

/// The content of a regular file.
pub(super) struct File<'a> {
    pub(super) path: &'a TreePath,
    pub(super) content: &'a ExtentMap,
}

impl<'a> Nodes<'a> {
    /// The inodes of `tree`.
    pub(super) fn of(tree: &'a Tree, block_size: u32) -> Result<Self, Error> {
        let mut nodes = Self { inodes: Vec::with_capacity(tree.len()), files: Vec::new(), ids: Vec::new() };
        let mut named = HashMap::new();
        let mut above: Vec<usize> = Vec::new();
        for (path, node) in tree.iter() {
            while above.last().is_some_and(|dir| !path.is_within(nodes.inodes[*dir].path)) {
                above.pop();
            }
            check_parent(path, node, above.last().map(|dir| nodes.inodes[*dir].path))?;
            let (owner, node) = resolve(tree, path, node)?;
            let inode = if matches!(node.kind, Kind::File(_)) {
                *named.entry(owner).or_insert(nodes.inodes.len())
            } else {
                nodes.inodes.len()
            };
            if inode == nodes.inodes.len() {
                nodes.add(path, node, above.last().copied())?;
            } else {
                nodes.inodes[inode].links += 1;
                nodes.inodes[inode].depth = nodes.inodes[inode].depth.max(above.len());
            }
            if let Some(&parent) = above.last() {
                let parent = &mut nodes.inodes[parent];
                parent.links += u32::from(node.kind == Kind::Directory);
                let entries = parent.entries.as_mut().expect("what lies above is a directory");
                entries.push(Entry { name: path.name(), inode });
            }
            if node.kind == Kind::Directory {
                above.push(inode);
            }
        }
        nodes.collect_files();
        nodes.check_blocks(block_size)?;
        nodes.collect_ids()?;
        nodes.order();
        Ok(nodes)
    }

    /// How many inodes there are.
    pub(super) fn count(&self) -> Result<u32, Error> {
        u32::try_from(self.inodes.len()).map_err(|_| Error::TableTooLarge {
            table: "inode",
            len: self.inodes.len() as u64,
            max: u64::from(u32::MAX),
        })
    }

    /// The index of `id` in the table of ids.
    pub(super) fn id_index(&self, id: u32) -> u16 {
        let index = self.ids.binary_search(&id).expect("every id was collected");
        u16::try_from(index).expect("the ids were counted")
    }

    fn add(&mut self, path: &'a TreePath, node: &'a Node, parent: Option<usize>) -> Result<(), Error> {
        check(path, node)?;
        let mut inode = Inode {
            path,
            node,
            links: 1,
            parent,
            file: None,
            entries: None,
            depth: parent.map_or(0, |parent| self.inodes[parent].depth + 1),
        };
        if node.kind == Kind::Directory {
            inode.links = 2;
            inode.entries = Some(Vec::new());
        }
        self.inodes.push(inode);
        Ok(())
    }

    /// Numbers the regular files. Those of a directory go together, before those below it: they are read
    /// together, and their tails are alike more often than those of neighbours in the order of the tree.
    fn collect_files(&mut self) {
        let is_file = |inode: &usize| matches!(self.inodes[*inode].node.kind, Kind::File(_));
        let mut order: Vec<usize> = (0..self.inodes.len()).filter(is_file).collect();
        order.sort_by_key(|&inode| (self.inodes[inode].parent, inode));
        for inode in order {
            let inode = &mut self.inodes[inode];
            if let Kind::File(content) = &inode.node.kind {
                inode.file = Some(self.files.len());
                self.files.push(File { path: inode.path, content });
            }
        }
    }

    fn check_blocks(&self, block_size: u32) -> Result<(), Error> {
        let mut blocks = 0;
        for file in &self.files {
            // At most 2⁵² blocks in a file: the sum stays in range until it is refused.
            blocks += file.content.len().div_ceil(u64::from(block_size));
            if blocks > MAX_BLOCKS {
                let (path, len) = (file.path.clone(), file.content.len());
                return Err(Error::FileTooLarge { path, len, max: MAX_BLOCKS });
            }
        }
        Ok(())
    }

    fn collect_ids(&mut self) -> Result<(), Error> {
        let ids: BTreeSet<u32> = self.inodes.iter().flat_map(|i| [i.node.uid, i.node.gid]).collect();
        if ids.len() > MAX_IDS {
            return Err(Error::TooManyIds { count: ids.len(), max: MAX_IDS });
        }
        self.ids = ids.into_iter().collect();
        Ok(())
    }

    /// Puts the inodes, so far in the order of the tree, into the order in which they are written.
    fn order(&mut self) {
        let mut order: Vec<usize> = (0..self.inodes.len()).collect();
        order.sort_by_key(|&inode| (Reverse(self.inodes[inode].depth), inode));
        let mut place = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let mut inodes: Vec<_> = self.inodes.drain(..).map(Some).collect();
        for old in order {
            let mut inode = inodes[old].take().expect("each inode has one place");
            inode.parent = inode.parent.map(|parent| place[parent]);
            for entry in inode.entries.iter_mut().flatten() {
                entry.inode = place[entry.inode];
            }
            self.inodes.push(inode);
        }
    }
}

/// An entry lies right below the last directory above it. A tree built by inserting alone is so; a kind changed
/// in place can break it.
fn check_parent(path: &TreePath, node: &Node, directory: Option<&TreePath>) -> Result<(), Error> {
    let wrong = match directory {
        None => node.kind != Kind::Directory,
        Some(directory) => path.parent().as_ref() != Some(directory),
    };
    if wrong {
        return Err(Error::NotADirectory { path: path.parent().unwrap_or_else(TreePath::root) });
    }
    Ok(())
}

/// What `path` is a name of: itself, or the file that hard links lead to.
fn resolve<'a>(
    tree: &'a Tree,
    path: &'a TreePath,
    node: &'a Node,
) -> Result<(&'a TreePath, &'a Node), Error> {
    let (mut owner, mut found) = (path, node);
    for _ in 0..MAX_LINK_STEPS {
        match (&found.kind, owner == path) {
            (Kind::HardLink(target), _) => match tree.get(target) {
                Some(next) => (owner, found) = (target, next),
                None => break,
            },
            (_, true) | (Kind::File(_), false) => return Ok((owner, found)),
            (_, false) => break,
        }
    }
    let Kind::HardLink(target) = &node.kind else { unreachable!("only a link leads on") };
    Err(Error::HardLink { path: path.clone(), target: target.clone() })
}

fn check(path: &TreePath, node: &Node) -> Result<(), Error> {
    match &node.kind {
        Kind::Symlink(target)
            if target.is_empty() || target.len() > MAX_SYMLINK_LEN || target.contains('\0') =>
        {
            Err(Error::Symlink { path: path.clone(), len: target.len(), max: MAX_SYMLINK_LEN })
        }
        &(Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor })
            if major >= 1 << 12 || minor >= 1 << 20 =>
        {
            Err(Error::Device { path: path.clone(), major, minor })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            tree.file(path, vec![1], 0o644).unwrap();
        }
        tree
    }

    #[test]
    fn the_deepest_inodes_come_first_and_the_root_last() {
        let tree = tree(&["a/b/x", "a/b/y", "a-b", "c/d", "e"]);
        let nodes = Nodes::of(&tree, 4096).unwrap();
        let paths: Vec<_> = nodes.inodes.iter().map(|inode| inode.path.as_str()).collect();
        assert_eq!(paths, ["a/b/x", "a/b/y", "a/b", "c/d", "a", "a-b", "c", "e", ""]);
        let parents: Vec<_> = nodes.inodes.iter().map(|inode| inode.parent).collect();
        let root = Some(8);
        assert_eq!(parents, [Some(2), Some(2), Some(4), Some(6), root, root, root, root, None]);
        let links: Vec<_> = nodes.inodes.iter().map(|inode| inode.links).collect();
        assert_eq!(links, [1, 1, 2, 1, 3, 1, 2, 1, 4]);
    }

    #[test]
    fn a_hard_link_is_as_deep_as_its_deepest_name() {
        for (file, link) in [("a", "b/c/d"), ("b/c/d", "a")] {
            let mut tree = tree(&[file]);
            let target = TreePath::parse(file).unwrap();
            tree.insert(TreePath::parse(link).unwrap(), Node::new(Kind::HardLink(target), 0)).unwrap();
            let nodes = Nodes::of(&tree, 4096).unwrap();
            assert_eq!(nodes.inodes.len(), 4);
            let first = &nodes.inodes[0];
            assert_eq!((first.path.as_str(), first.links, first.file), ("a", 2, Some(0)), "{file}");
            let entry = |dir: usize| nodes.inodes[dir].entries.as_ref().unwrap()[0].inode;
            assert_eq!((entry(1), entry(3)), (0, 0), "{file}");
        }
    }

    #[test]
    fn the_files_of_a_directory_go_together() {
        let tree = tree(&["a/1", "b", "a/2", "a/c/3", "d"]);
        let nodes = Nodes::of(&tree, 4096).unwrap();
        let files: Vec<_> = nodes.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["b", "d", "a/1", "a/2", "a/c/3"]);
    }
}
