//! Trees of packages, made fit for an image.
//!
//! Everything goes below `usr/`: a package that ships a real `bin`, `sbin` or `lib` directory would, as a layer
//! of an overlay, hide the link of that name in the base, and the machine would not find its loader. What serves
//! people or the package manager is dropped.

use extent::{Kind, Node, Tree, TreePath};

/// Top directories that a merged-usr system has as links into `usr/`.
///
/// Source: file-hierarchy(7), systemd 252, "Compatibility symlinks".
pub(crate) const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// What no image carries, by path prefix in the merged tree.
const DROPPED: &[&str] = &[
    // For people.
    "usr/games",
    "usr/include",
    "usr/share/applications",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/fish",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/pixmaps",
    "usr/share/zsh",
    // For services of a Debian machine: its init systems, its timers, its initramfs, its policies.
    "etc/apparmor.d",
    "etc/cron.d",
    "etc/cron.daily",
    "etc/cron.weekly",
    "etc/default",
    "etc/init.d",
    "etc/insserv.conf.d",
    "etc/kernel",
    "etc/logrotate.d",
    "etc/network",
    "usr/lib/systemd",
    "usr/lib/sysusers.d",
    "usr/lib/tmpfiles.d",
    "usr/share/initramfs-tools",
    "usr/share/libgcrypt20",
    // A machine's own state is mounted over these.
    "run",
    "var",
];

/// Parses a path of this crate's own making.
pub(crate) fn path(text: &str) -> TreePath {
    TreePath::parse(text).expect("the seed writes valid paths")
}

/// Inserts `node`; an entry in the way of its parents gives way.
pub(crate) fn insert(tree: &mut Tree, path: TreePath, node: Node) {
    let mut above = path.parent();
    while let Some(parent) = above {
        above = parent.parent();
        if tree.get(&parent).is_some_and(|node| node.kind != Kind::Directory) {
            tree.remove(&parent);
        }
    }
    tree.insert(path, node).expect("nothing is in the way any more");
}

/// The files of a package as an image carries them.
pub(crate) fn merged(package: &Tree) -> Tree {
    let mut merged = Tree::new();
    for (path, node) in package.iter() {
        let Some(place) = place(path) else { continue };
        let mut node = node.clone();
        if let Kind::HardLink(target) = &node.kind {
            node.kind = match (self::place(target), package.content(target.as_str())) {
                (Some(place), _) => Kind::HardLink(place),
                // The other name goes: this one has the content from now on.
                (None, Some(content)) => Kind::File(content.clone()),
                (None, None) => continue,
            };
        }
        // A directory joins the one that is there, which may have come by the other of its two names.
        let joins = node.kind == Kind::Directory && merged.get(&place).is_some();
        if !joins {
            insert(&mut merged, place, node);
        }
    }
    remove_empty_directories(&mut merged);
    merged
}

/// Takes away `prefixes` and all below them, and directories that are empty then.
pub(crate) fn without(mut tree: Tree, prefixes: &[&str]) -> Tree {
    for prefix in prefixes {
        tree.remove(&path(prefix));
    }
    remove_empty_directories(&mut tree);
    tree
}

/// Takes away directories that hold nothing.
pub(crate) fn remove_empty_directories(tree: &mut Tree) {
    loop {
        let empty: Vec<TreePath> = {
            let mut entries = tree.iter().peekable();
            let mut empty = Vec::new();
            while let Some((path, node)) = entries.next() {
                let has_entries = entries.peek().is_some_and(|(next, _)| next.is_within(path));
                if node.kind == Kind::Directory && !path.as_str().is_empty() && !has_entries {
                    empty.push(path.clone());
                }
            }
            empty
        };
        if empty.is_empty() {
            return;
        }
        for path in &empty {
            tree.remove(path);
        }
    }
}

/// Length of all regular files, in bytes.
pub(crate) fn content_len(tree: &Tree) -> u64 {
    let len = |node: &Node| if let Kind::File(content) = &node.kind { content.len() } else { 0 };
    tree.iter().map(|(_, node)| len(node)).sum()
}

/// Where `path` of a package lies in an image; none if no image carries it.
fn place(path: &TreePath) -> Option<TreePath> {
    let first = path.as_str().split('/').next().unwrap_or_default();
    if first.is_empty() || MERGED.contains(&path.as_str()) {
        return None;
    }
    // The one path that cannot be parsed is one that gets too long by this.
    let place =
        if MERGED.contains(&first) { TreePath::parse(&format!("usr/{path}")).ok()? } else { path.clone() };
    // Conversions between character sets, 5 MB of them; the C library knows UTF-8 without.
    let is_gconv =
        place.as_str().starts_with("usr/lib/") && place.as_str().split('/').nth(3) == Some("gconv");
    let is_dropped = is_gconv || DROPPED.iter().any(|prefix| place.is_within(&self::path(prefix)));
    (!is_dropped).then_some(place)
}

#[cfg(test)]
mod tests {
    use extent::ExtentMap;

    use super::*;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.iter().map(|(path, _)| path.as_str()).skip(1).collect()
    }

    #[test]
    fn everything_goes_below_usr_and_what_serves_people_is_dropped() {
        let mut package = Tree::new();
        for path in [
            "bin/a",
            "usr/bin/b",
            "lib/x86_64-linux-gnu/libx.so.1",
            "usr/lib/x86_64-linux-gnu/gconv/KOI8-R.so",
            "lib64/ld.so",
            "sbin/iscsid",
            "etc/iscsi/iscsid.conf",
            "etc/init.d/iscsid",
            "lib/systemd/system/iscsid.service",
            "usr/share/doc/x/copyright",
            "var/lib/x/y",
            "library/z",
        ] {
            package.file(path, vec![1], 0o644).unwrap();
        }
        package.insert(path("bin/c"), Node::new(Kind::HardLink(path("bin/a")), 0o644)).unwrap();
        let of_dropped = Kind::HardLink(path("usr/share/doc/x/copyright"));
        package.insert(path("usr/bin/d"), Node::new(of_dropped, 0o644)).unwrap();
        let merged = merged(&package);
        let files: Vec<_> =
            merged.iter().filter(|(_, n)| n.kind != Kind::Directory).map(|(p, _)| p.as_str()).collect();
        assert_eq!(
            files,
            [
                "etc/iscsi/iscsid.conf",
                "library/z",
                "usr/bin/a",
                "usr/bin/b",
                "usr/bin/c",
                "usr/bin/d",
                "usr/lib/x86_64-linux-gnu/libx.so.1",
                "usr/lib64/ld.so",
                "usr/sbin/iscsid",
            ]
        );
        assert_eq!(merged.get(&path("usr/bin/c")).unwrap().kind, Kind::HardLink(path("usr/bin/a")));
        assert_eq!(merged.get(&path("usr/bin/d")).unwrap().kind, Kind::File(ExtentMap::inline(vec![1])));
    }

    #[test]
    fn directories_that_hold_nothing_go_with_those_that_held_them() {
        let mut tree = Tree::new();
        tree.directory("a/b/c", 0o755).unwrap();
        tree.file("d/e", vec![1], 0o644).unwrap();
        tree.directory("d/f", 0o755).unwrap();
        assert_eq!(paths(&without(tree.clone(), &[])), ["d", "d/e"]);
        assert_eq!(paths(&without(tree, &["d/e"])), [""; 0]);
    }

    #[test]
    fn an_entry_in_the_way_gives_way() {
        let mut tree = Tree::new();
        tree.symlink("usr/lib", "lib64").unwrap();
        insert(&mut tree, path("usr/lib/x"), Node::new(Kind::Fifo, 0o644));
        assert_eq!(paths(&tree), ["usr", "usr/lib", "usr/lib/x"]);
    }
}
