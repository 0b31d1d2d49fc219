//! Early microcode: files that the kernel loads before any file system is there.
//!
//! Source: Linux `Documentation/arch/x86/microcode.rst`, "Early load microcode".

use std::collections::VecDeque;

use extent::{ExtentMap, Kind, TreePath};

use crate::Error;
use crate::inodes::Inodes;

/// Symbolic links that are followed in a row: as many as Linux follows.
const LINKS_MAX: usize = 40;

/// Whose microcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Intel,
    Amd,
}

impl Vendor {
    fn directory(self) -> &'static str {
        match self {
            Self::Intel => "intel-ucode",
            Self::Amd => "amd-ucode",
        }
    }

    fn wants(self, name: &str) -> bool {
        match self {
            Self::Intel => true,
            Self::Amd => {
                name.strip_prefix("microcode_amd").and_then(|rest| rest.strip_suffix(".bin")).is_some()
            }
        }
    }
}

/// Takes the microcode of `vendor` out of `inodes`: the content of its files, in the order of their names, with
/// nothing between them.
pub(crate) fn take(
    inodes: &mut Inodes,
    firmware: &TreePath,
    vendor: Vendor,
    extension: &str,
) -> Result<ExtentMap, Error> {
    let directory = TreePath::parse(&format!("{firmware}/{}", vendor.directory()))?;
    let mut joined = ExtentMap::new();
    let wanted = |(path, _): (TreePath, _)| vendor.wants(path.name()).then_some(path);
    let names: Vec<TreePath> = inodes.children(&directory).into_iter().filter_map(wanted).collect();
    for path in &names {
        let content = content(inodes, path);
        joined.append(
            content.ok_or_else(|| Error::Microcode { name: extension.to_owned(), path: path.clone() })?,
        );
    }
    for path in &names {
        inodes.remove(path);
    }
    if !names.is_empty() && inodes.children(&directory).is_empty() {
        inodes.remove(&directory);
    }
    Ok(joined)
}

/// The content of the file at `path`, symbolic links followed inside the tree.
fn content(inodes: &Inodes, path: &TreePath) -> Option<ExtentMap> {
    let mut left: VecDeque<String> = path.as_str().split('/').map(str::to_owned).collect();
    let mut at: Vec<String> = vec![];
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(name),
        }
        match &inodes.get(&TreePath::parse(&at.join("/")).ok()?)?.kind {
            Kind::File(content) if left.is_empty() => return Some(content.clone()),
            Kind::Symlink(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                if target.starts_with('/') {
                    at.clear();
                } else {
                    at.pop();
                }
                for part in target.split('/').rev() {
                    left.push_front(part.to_owned());
                }
            }
            Kind::Directory => {}
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use extent::Tree;

    use super::*;

    fn intel(tree: &Tree) -> Result<ExtentMap, Error> {
        let firmware = TreePath::parse("lib/firmware").unwrap();
        take(&mut Inodes::of(tree).unwrap(), &firmware, Vendor::Intel, "x")
    }

    #[test]
    fn links_are_followed_inside_the_tree() {
        for target in
            ["../real", "/lib/firmware/real", "../../../../lib/firmware/./real", "../dir/real", "../chain"]
        {
            let mut tree = Tree::new();
            tree.file("lib/firmware/real", b"code".to_vec(), 0o644).unwrap();
            tree.symlink("lib/firmware/dir", ".").unwrap();
            tree.symlink("lib/firmware/chain", "dir/real").unwrap();
            tree.symlink("lib/firmware/intel-ucode/06-01-01", target).unwrap();
            assert_eq!(intel(&tree).unwrap(), ExtentMap::inline(&b"code"[..]), "{target}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for target in ["06-01-01", "../missing", "..", "/", "", "../file/x", "../dev"] {
            let mut tree = Tree::new();
            tree.file("lib/firmware/file", vec![1], 0o644).unwrap();
            tree.insert(
                TreePath::parse("lib/firmware/dev").unwrap(),
                extent::Node::new(Kind::CharDevice { major: 1, minor: 5 }, 0o644),
            )
            .unwrap();
            tree.symlink("lib/firmware/intel-ucode/06-01-01", target).unwrap();
            assert!(matches!(intel(&tree), Err(Error::Microcode { .. })), "{target}");
        }
        let mut tree = Tree::new();
        tree.directory("lib/firmware/intel-ucode/directory", 0o755).unwrap();
        assert!(matches!(intel(&tree), Err(Error::Microcode { .. })));
    }

    #[test]
    fn only_files_that_the_kernel_takes_are_amds() {
        for (name, wanted) in [
            ("microcode_amd.bin", true),
            ("microcode_amd_fam19h.bin", true),
            ("microcode_amd_fam19h.bin.asc", false),
            ("README", false),
            ("microcode_amd.bi", false),
        ] {
            assert_eq!(Vendor::Amd.wants(name), wanted, "{name}");
        }
    }
}
