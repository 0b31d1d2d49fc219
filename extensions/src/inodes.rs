//! Trees taken apart: names, and the inodes that they lead to.
//!
//! A tree says of a hard link which path holds its file. When paths are replaced, removed or moved, the file must
//! stay with the names that are left; here no name is more than another.

use std::collections::BTreeMap;

use extent::{Kind, Node, Tree, TreePath};

use crate::Error;

/// Lays `trees` one over the other: later entries replace earlier ones, directories join, and a file stays with
/// those of its hard links that are not replaced.
///
/// # Errors
/// `HardLink`, `Tree`.
pub fn union(trees: impl IntoIterator<Item = Tree>) -> Result<Tree, Error> {
    let mut inodes = Inodes::new();
    for tree in trees {
        inodes.lay(&tree)?;
    }
    inodes.into_tree()
}

/// Names and the inodes that they lead to.
#[derive(Clone, Debug)]
pub(crate) struct Inodes {
    inodes: Vec<Node>,
    names: BTreeMap<TreePath, usize>,
}

impl Inodes {
    pub fn new() -> Self {
        Self {
            inodes: vec![Node::new(Kind::Directory, 0o755)],
            names: BTreeMap::from([(TreePath::root(), 0)]),
        }
    }

    pub fn of(tree: &Tree) -> Result<Self, Error> {
        let mut inodes = Self::new();
        inodes.lay(tree)?;
        Ok(inodes)
    }

    /// Lays `tree` over what is there.
    fn lay(&mut self, tree: &Tree) -> Result<(), Error> {
        let files = self.files(tree);
        for (path, node) in tree.iter() {
            let inode = match &node.kind {
                Kind::File(_) => files[path],
                Kind::HardLink(target) => *files
                    .get(target)
                    .ok_or_else(|| Error::HardLink { path: path.clone(), target: target.clone() })?,
                _ => self.new_inode(node.clone()),
            };
            self.put(path.clone(), inode);
        }
        Ok(())
    }

    /// Takes in the files of `tree`, without names yet: a link may be in front of its file.
    pub fn files<'a>(&mut self, tree: &'a Tree) -> BTreeMap<&'a TreePath, usize> {
        let files = tree.iter().filter(|(_, node)| matches!(node.kind, Kind::File(_)));
        files.map(|(path, node)| (path, self.new_inode(node.clone()))).collect()
    }

    /// An inode without a name.
    pub fn new_inode(&mut self, node: Node) -> usize {
        self.inodes.push(node);
        self.inodes.len() - 1
    }

    /// Names `inode` by `path`, in place of what is there; a directory keeps what a directory there has.
    pub fn put(&mut self, path: TreePath, inode: usize) {
        let directory = |node: Option<&Node>| matches!(node, Some(Node { kind: Kind::Directory, .. }));
        if !directory(self.inodes.get(inode)) || !directory(self.get(&path)) {
            self.remove(&path);
        }
        self.names.insert(path, inode);
    }

    /// The inode that the name at `path` leads to.
    pub fn inode(&self, path: &TreePath) -> Option<usize> {
        self.names.get(path).copied()
    }

    /// Takes away the name at `path` and all below it; the root stays.
    pub fn remove(&mut self, path: &TreePath) {
        self.remove_below(path);
        if *path != TreePath::root() {
            self.names.remove(path);
        }
    }

    /// Takes away all below `path`.
    pub fn remove_below(&mut self, path: &TreePath) {
        let within = self.names.range(path..).map(|(name, _)| name).take_while(|name| name.is_within(path));
        let below: Vec<TreePath> = within.filter(|name| *name != path).cloned().collect();
        for name in below {
            self.names.remove(&name);
        }
    }

    /// The directory at `path` and all below it, as they lie, with nothing else but the directories that lead
    /// there; here they are no more.
    pub fn take(&mut self, path: &TreePath) -> Self {
        let mut taken = Self { inodes: self.inodes.clone(), names: BTreeMap::new() };
        let mut above = path.parent();
        while let Some(parent) = above {
            taken.inodes.push(Node::new(Kind::Directory, 0o755));
            taken.names.insert(parent.clone(), taken.inodes.len() - 1);
            above = parent.parent();
        }
        let within = self.names.range(path..).take_while(|(name, _)| name.is_within(path));
        taken.names.extend(within.map(|(name, inode)| (name.clone(), *inode)));
        self.remove(path);
        taken
    }

    /// What the name at `path` leads to.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.names.get(path).and_then(|inode| self.inodes.get(*inode))
    }

    /// The names directly below `path`, in byte order, and what they lead to.
    pub fn children(&self, path: &TreePath) -> Vec<(TreePath, &Node)> {
        let below = self.names.range(path..).take_while(|(name, _)| name.is_within(path));
        below
            .filter(|(name, _)| name.parent().as_ref() == Some(path))
            .filter_map(|(name, inode)| Some((name.clone(), self.inodes.get(*inode)?)))
            .collect()
    }

    /// Changes every inode.
    pub fn change(&mut self, change: impl FnMut(&mut Node)) {
        self.inodes.iter_mut().for_each(change);
    }

    /// The tree: the first name of a file holds it.
    pub fn into_tree(self) -> Result<Tree, Error> {
        let mut tree = Tree::new();
        let mut first_names: BTreeMap<usize, TreePath> = BTreeMap::new();
        for (name, inode) in self.names {
            let mut node = self.inodes[inode].clone();
            if let Kind::File(_) = node.kind {
                if let Some(first) = first_names.get(&inode) {
                    node.kind = Kind::HardLink(first.clone());
                } else {
                    first_names.insert(inode, name.clone());
                }
            }
            tree.insert(name, node)?;
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    /// A tree of files: `name=content`, links `name>target`, directories `name/`.
    fn tree(entries: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for entry in entries {
            if let Some((name, target)) = entry.split_once('>') {
                tree.insert(path(name), Node::new(Kind::HardLink(path(target)), 0o644)).unwrap();
            } else if let Some((name, content)) = entry.split_once('=') {
                tree.file(name, content.as_bytes().to_vec(), 0o644).unwrap();
            } else {
                tree.directory(entry, 0o755).unwrap();
            }
        }
        tree
    }

    #[test]
    fn union_knows_no_whiteouts() {
        let union = union([tree(&["a=1", "b>a"]), tree(&["a=2", ".wh.b="])]).unwrap();
        assert_eq!(union, tree(&["a=2", "b=1", ".wh.b="]));
    }

    #[test]
    fn what_is_taken_keeps_its_path_and_copies_what_stays_linked() {
        let mut inodes =
            Inodes::of(&tree(&["lib/fw/a=1", "lib/fw/b>lib/fw/a", "lib/c>lib/fw/a", "lib/fw-x=2"])).unwrap();
        let taken = inodes.take(&path("lib/fw")).into_tree().unwrap();
        assert_eq!(taken, tree(&["lib/fw/a=1", "lib/fw/b>lib/fw/a"]));
        assert_eq!(inodes.into_tree().unwrap(), tree(&["lib/c=1", "lib/fw-x=2"]));
    }
}
