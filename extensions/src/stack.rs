//! Flattening: the layers of an image laid one over the other, as one tree.
//!
//! ```text
//! layer ─┬─ hard links out of it ──▶ files that lower layers have, before anything is taken away
//!        ├─ whiteouts `.wh.NAME`, `.wh..wh..opq` ──▶ names of lower layers go
//!        └─ entries ──▶ names, in place of what is there
//! ```
//!
//! The order of entries in an archive decides nothing. Where the way to an entry leads over a symbolic link of a lower
//! layer, the entry lies where the link leads, and no link leads out of the root: `/` and `..` end there.
//!
//! Source: OCI image specification 1.1, layer, "Change Types" and "Whiteouts".

use std::collections::{BTreeMap, BTreeSet};

use extent::{Kind, Node, Tree, TreeError, TreePath};
use formats::tar::Layer;

use crate::Error;
use crate::inodes::Inodes;

/// What precedes the name of an entry that a layer removes.
const WHITEOUT: &str = ".wh.";
/// The name that removes all that lower layers have in its directory.
const OPAQUE: &str = ".wh..wh..opq";
/// What the names begin with that AUFS keeps for itself.
const AUFS: &str = ".wh..wh.";
/// The most entries of all layers of an image: what one layer may have.
const ENTRIES_MAX: usize = 1_000_000;
/// The most bytes of names and attributes of all layers of an image, which are kept in memory.
const TEXT_LEN_MAX: u64 = 512 << 20;
/// The most symbolic links on the way to one entry: what Linux follows (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

/// Layers that lie one over the other.
#[derive(Debug)]
pub struct Stack {
    inodes: Inodes,
    entries: usize,
    text_len: u64,
}

impl Default for Stack {
    fn default() -> Self {
        Self { inodes: Inodes::new(), entries: 0, text_len: 0 }
    }
}

impl Stack {
    /// No layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays `layer` on top.
    ///
    /// # Errors
    /// `HardLink` where a link leads neither to a file of its layer nor of a lower one; `Tree` where an entry lies
    /// below something that is no directory, or its path gets too long; `Twice` where two entries lie at one place once
    /// links are followed; `TooManyLinks`; `TooManyEntries` and `TooMuchText`, of all layers together.
    pub fn lay(&mut self, layer: &Layer) -> Result<(), Error> {
        self.count(&layer.tree)?;
        let mut places = Places { layer, followed: BTreeMap::new(), taken: BTreeSet::new() };
        let entries = || {
            layer.tree.iter().filter(|(path, _)| !layer.implied.contains(path) && **path != TreePath::root())
        };

        // What is linked to must outlive what is whited out: a layer that renames a file does both.
        let mut lower = BTreeMap::new();
        for (path, node) in entries() {
            if let Kind::HardLink(target) = &node.kind
                && layer.tree.get(target).is_none()
            {
                let missing = || Error::HardLink { path: path.clone(), target: target.clone() };
                let place = follow(&self.inodes, &TreePath::root(), target.as_str(), Last::Stays)?;
                let inode = self.inodes.inode(&place).ok_or_else(missing)?;
                if self.inodes.get(&place).is_none_or(|node| node.kind == Kind::Directory) {
                    return Err(missing());
                }
                lower.insert(path, inode);
            }
        }
        for (path, _) in entries() {
            self.white_out(path, &mut places)?;
        }
        // Links were followed past names that are gone now.
        places.followed.clear();

        if let Some(root) = layer.tree.get(&TreePath::root())
            && !layer.implied.contains(&TreePath::root())
        {
            let root = self.inodes.new_inode(root.clone());
            self.inodes.put(TreePath::root(), root);
        }
        let files = self.inodes.files(&layer.tree);
        let is_kept = |path: &TreePath| !path.as_str().split('/').any(|name| name.starts_with(WHITEOUT));
        for (path, node) in entries().filter(|(path, _)| is_kept(path)) {
            let inode = match &node.kind {
                Kind::File(_) => files[path],
                Kind::HardLink(target) => *files
                    .get(target)
                    .or_else(|| lower.get(path))
                    .ok_or_else(|| Error::HardLink { path: path.clone(), target: target.clone() })?,
                _ => self.inodes.new_inode(node.clone()),
            };
            let place = places.of(&self.inodes, path)?;
            self.make_directories(&place, path)?;
            self.inodes.put(place, inode);
        }
        Ok(())
    }

    /// The tree that the layers make. The first name of a file holds it, the others are hard links to that.
    ///
    /// # Errors
    /// None: what cannot be in a tree was refused before.
    pub fn into_tree(self) -> Result<Tree, Error> {
        self.inodes.into_tree()
    }

    fn count(&mut self, tree: &Tree) -> Result<(), Error> {
        self.entries += tree.len() - 1;
        if self.entries > ENTRIES_MAX {
            return Err(Error::TooManyEntries { max: ENTRIES_MAX });
        }
        for (path, node) in tree.iter() {
            let target = match &node.kind {
                Kind::Symlink(target) => target.len(),
                Kind::HardLink(target) => target.as_str().len(),
                _ => 0,
            };
            let xattrs: usize = node.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
            self.text_len += (path.as_str().len() + target + xattrs) as u64;
        }
        if self.text_len > TEXT_LEN_MAX {
            return Err(Error::TooMuchText { max: TEXT_LEN_MAX });
        }
        Ok(())
    }

    /// Takes away what the entry at `path` takes away, if it is a whiteout.
    fn white_out(&mut self, path: &TreePath, places: &mut Places<'_>) -> Result<(), Error> {
        let is_opaque = path.name() == OPAQUE;
        let Some(name) = path.name().strip_prefix(WHITEOUT) else { return Ok(()) };
        if name.is_empty() || (path.name().starts_with(AUFS) && !is_opaque) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(TreePath::root());
        match places.directory(&self.inodes, &parent) {
            Ok(directory) if is_opaque => self.inodes.remove_below(&directory),
            Ok(directory) => self.inodes.remove(&join(&directory, name)?),
            // Below something that is no directory there is nothing to take away.
            Err(_) => {}
        }
        Ok(())
    }

    /// Makes the directories above `place` that nobody has stated.
    fn make_directories(&mut self, place: &TreePath, path: &TreePath) -> Result<(), Error> {
        let mut missing = vec![];
        let mut above = place.parent();
        while let Some(parent) = above {
            match self.inodes.get(&parent) {
                None => {
                    above = parent.parent();
                    missing.push(parent);
                }
                Some(Node { kind: Kind::Directory, .. }) => break,
                Some(_) => return Err(TreeError::NotADirectory { path: path.clone(), parent }.into()),
            }
        }
        self.entries += missing.len();
        self.text_len += missing.iter().map(|path| path.as_str().len() as u64).sum::<u64>();
        if self.entries > ENTRIES_MAX || self.text_len > TEXT_LEN_MAX {
            return Err(Error::TooManyEntries { max: ENTRIES_MAX });
        }
        for path in missing.into_iter().rev() {
            let inode = self.inodes.new_inode(Node::new(Kind::Directory, 0o755));
            self.inodes.put(path, inode);
        }
        Ok(())
    }
}

/// Where the entries of a layer lie.
struct Places<'a> {
    layer: &'a Layer,
    /// Directories of the layer whose way leads over symbolic links, or does not: where they lie.
    followed: BTreeMap<TreePath, TreePath>,
    /// Entries that lie elsewhere than they say.
    taken: BTreeSet<TreePath>,
}

impl Places<'_> {
    /// Where the entry `path` lies.
    fn of(&mut self, inodes: &Inodes, path: &TreePath) -> Result<TreePath, Error> {
        let Some(parent) = path.parent() else { return Ok(TreePath::root()) };
        let directory = self.directory(inodes, &parent).map_err(|error| match error {
            Error::Tree(TreeError::NotADirectory { parent, .. }) => {
                Error::Tree(TreeError::NotADirectory { path: path.clone(), parent })
            }
            other => other,
        })?;
        if directory == parent {
            return Ok(path.clone());
        }
        let place = join(&directory, path.name())?;
        let is_stated = |place| self.layer.tree.get(place).is_some() && !self.layer.implied.contains(place);
        if is_stated(&place) || (is_stated(path) && !self.taken.insert(place.clone())) {
            return Err(Error::Twice { path: path.clone(), place });
        }
        Ok(place)
    }

    /// Where the directory `path` of the layer lies. What the layer states is where it says; what it implies may be a
    /// link of a lower layer.
    fn directory(&mut self, inodes: &Inodes, path: &TreePath) -> Result<TreePath, Error> {
        let Some(parent) = path.parent() else { return Ok(TreePath::root()) };
        if let Some(place) = self.followed.get(path) {
            return Ok(place.clone());
        }
        // As deep as the reader of layers lets paths be.
        let above = self.directory(inodes, &parent)?;
        let place = if self.layer.implied.contains(path) {
            follow(inodes, &above, path.name(), Last::Followed)?
        } else {
            join(&above, path.name())?
        };
        self.followed.insert(path.clone(), place.clone());
        Ok(place)
    }
}

/// What becomes of a symbolic link at the end of a path.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Stays,
    Followed,
}

/// Where `path` leads from the directory `base`; what is not there is taken for a directory.
fn follow<'a>(inodes: &'a Inodes, base: &TreePath, path: &'a str, last: Last) -> Result<TreePath, Error> {
    let mut place = base.clone();
    let mut links = 0;
    // What is still to go, the next name last.
    let mut rest: Vec<&str> = path.split('/').rev().collect();
    while let Some(name) = rest.pop() {
        match name {
            "" | "." => continue,
            ".." => {
                place = place.parent().unwrap_or(TreePath::root());
                continue;
            }
            _ => {}
        }
        if name.starts_with(WHITEOUT) {
            // No entry has such a name; a link could still lead to one.
            return Err(TreeError::Path { path: name.to_owned() }.into());
        }
        let next = join(&place, name)?;
        match inodes.get(&next).map(|node| &node.kind) {
            Some(Kind::Symlink(target)) if last == Last::Followed || !rest.is_empty() => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::TooManyLinks { path: next, max: LINKS_MAX });
                }
                if target.starts_with('/') {
                    place = TreePath::root();
                }
                rest.extend(target.split('/').rev());
            }
            None | Some(Kind::Directory) => place = next,
            Some(_) if rest.is_empty() && last == Last::Stays => place = next,
            Some(_) => return Err(TreeError::NotADirectory { path: next.clone(), parent: next }.into()),
        }
    }
    Ok(place)
}

/// The entry `name` of `directory`.
fn join(directory: &TreePath, name: &str) -> Result<TreePath, Error> {
    let path = TreePath::parse(&format!("{directory}/{name}"))?;
    if path.name() != name {
        // `.` in the root.
        return Err(TreeError::Path { path: name.to_owned() }.into());
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
