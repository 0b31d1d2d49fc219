//! Trees taken apart: names, and the inodes that they lead to.
//!
//! A tree says of a hard link which path holds its file. When paths are replaced, removed or moved, the file must
//! stay with the names that are left; here no name is more than another.

use std::collections::BTreeMap;

use extent::{Kind, Node, Tree, TreePath};

use crate::Error;

/// What precedes the name of an entry that a layer removes.
const WHITEOUT: &str = ".wh.";
/// The name that removes all that lower layers have in its directory.
const OPAQUE: &str = ".wh..wh..opq";
/// What the names begin with that AUFS keeps for itself.
const AUFS: &str = ".wh..wh.";

/// Lays `trees` one over the other: later entries replace earlier ones, directories join, and a file stays with
/// those of its hard links that are not replaced.
///
/// # Errors
/// `HardLink`, `Tree`.
pub fn union(trees: impl IntoIterator<Item = Tree>) -> Result<Tree, Error> {
    let mut inodes = Inodes::new();
    for tree in trees {
        inodes.lay(&tree, |_| true)?;
    }
    inodes.into_tree()
}

/// Lays the `layers` of an image one over the other, the lowest first, and takes away what they white out.
///
/// Source: OCI image specification 1.1, layer, "Whiteouts".
pub(crate) fn flatten(layers: Vec<Tree>) -> Result<Tree, Error> {
    let mut inodes = Inodes::new();
    for layer in layers {
        // Whiteouts concern lower layers only, wherever in the layer they stand.
        for (path, _) in layer.iter() {
            let parent = path.parent().unwrap_or(TreePath::root());
            if path.name() == OPAQUE {
                inodes.remove_below(&parent);
            } else if let Some(name) = path.name().strip_prefix(WHITEOUT)
                && !path.name().starts_with(AUFS)
            {
                let removed = TreePath::parse(&format!("{parent}/{name}"))?;
                // `.wh.` alone names nothing; taken for its directory it would remove that.
                if removed.parent().as_ref() == Some(&parent) && !name.is_empty() {
                    inodes.remove(&removed);
                }
            }
        }
        inodes.lay(&layer, |path| !path.as_str().split('/').any(|name| name.starts_with(WHITEOUT)))?;
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
        inodes.lay(tree, |_| true)?;
        Ok(inodes)
    }

    /// Lays what `wanted` says of `tree` over what is there.
    fn lay(&mut self, tree: &Tree, wanted: impl Fn(&TreePath) -> bool) -> Result<(), Error> {
        // The files first, whether or not their own names are wanted: a link may be in front of them.
        let mut files = BTreeMap::new();
        for (path, node) in tree.iter() {
            if let Kind::File(_) = node.kind {
                files.insert(path, self.inodes.len());
                self.inodes.push(node.clone());
            }
        }
        for (path, node) in tree.iter().filter(|(path, _)| wanted(path)) {
            let inode = match &node.kind {
                Kind::File(_) => files[path],
                Kind::HardLink(target) => *files
                    .get(target)
                    .ok_or_else(|| Error::HardLink { path: path.clone(), target: target.clone() })?,
                _ => {
                    self.inodes.push(node.clone());
                    self.inodes.len() - 1
                }
            };
            if node.kind != Kind::Directory {
                self.remove(path);
            }
            self.names.insert(path.clone(), inode);
        }
        Ok(())
    }

    /// Takes away the name at `path` and all below it; the root stays.
    pub fn remove(&mut self, path: &TreePath) {
        self.remove_below(path);
        if *path != TreePath::root() {
            self.names.remove(path);
        }
    }

    fn remove_below(&mut self, path: &TreePath) {
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

    /// What is tested, layers, and what they make.
    type Row<'a> = (&'a str, &'a [&'a [&'a str]], &'a [&'a str]);

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
    fn later_layers_replace_and_white_out_earlier_ones() {
        let rows: &[Row<'_>] = &[
            ("replace", &[&["a=1", "b=1"], &["a=2"]], &["a=2", "b=1"]),
            ("white out a file", &[&["d/a=1", "d/b=1"], &["d/.wh.a="]], &["d/b=1"]),
            ("white out a directory", &[&["d/e/a=1"], &["d/.wh.e="]], &["d"]),
            ("white out what is not there", &[&["a=1"], &[".wh.b="]], &["a=1"]),
            ("only lower layers", &[&["d/a=1"], &["d/.wh.a=", "d/a=2"]], &["d/a=2"]),
            ("opaque", &[&["d/a=1", "d/e/b=1"], &["d/.wh..wh..opq=", "d/c=2"]], &["d/c=2"]),
            ("opaque root", &[&["a=1", "d/b=1"], &[".wh..wh..opq=", "c=2"]], &["c=2"]),
            ("AUFS' own", &[&["a=1"], &[".wh..wh.plnk/x=", ".wh..wh.aufs="]], &["a=1"]),
            ("an empty name", &[&["d/a=1"], &["d/.wh.="]], &["d/a=1"]),
            ("a file for a directory", &[&["d/a=1"], &["d=2"]], &["d=2"]),
            ("a directory for a file", &[&["d=1"], &["d/a=2"]], &["d/a=2"]),
            ("back again", &[&["a=1"], &[".wh.a="], &["a=3"]], &["a=3"]),
        ];
        for (what, layers, wanted) in rows {
            let layers = layers.iter().map(|entries| tree(entries)).collect();
            assert_eq!(flatten(layers).unwrap(), tree(wanted), "{what}");
        }
    }

    #[test]
    fn a_file_stays_with_the_links_that_are_left() {
        let rows: &[Row<'_>] = &[
            ("all stay", &[&["b=1", "a>b", "c>b"]], &["a=1", "b>a", "c>a"]),
            ("holder replaced", &[&["a=1", "b>a", "c>a"], &["a=2"]], &["a=2", "b=1", "c>b"]),
            ("holder whited out", &[&["a=1", "b>a"], &[".wh.a="]], &["b=1"]),
            ("holder's directory whited out", &[&["d/a=1", "b>d/a"], &[".wh.d="]], &["b=1"]),
            ("link replaced", &[&["a=1", "b>a"], &["b=2"]], &["a=1", "b=2"]),
        ];
        for (what, layers, wanted) in rows {
            let layers = layers.iter().map(|entries| tree(entries)).collect();
            assert_eq!(flatten(layers).unwrap(), tree(wanted), "{what}");
        }
        let dangling = vec![tree(&["a=1"]), tree(&["b>a"])];
        assert!(matches!(flatten(dangling), Err(Error::HardLink { .. })), "links stay in their layer");
        let escaping = vec![tree(&["d/.wh...="])];
        assert!(matches!(flatten(escaping), Err(Error::Tree(_))), "`..` is not whited out");
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
