//! cpio archives in the newc form: what the kernel unpacks as an initramfs.
//!
//! Writes and reads complete archives. Knows no other cpio form, no compression and no checksums; extended
//! attributes have no place in newc and are left out.
//!
//!   0        110          every part begins at a multiple of 4
//!   │ header │ name NUL … │ data … │ header │ name NUL … │ … │ TRAILER!!! │ zeros to 512
//!
//! A header is the magic `070701` and 13 fields of eight hexadecimal digits: inode, mode, uid, gid, links,
//! mtime, size, device and rdev (major, minor each), length of the name with its NUL, checksum (0).
//!
//! An initramfs is a run of such archives, compressed or not. The kernel looks for an uncompressed one only
//! at multiples of 4: a misaligned one is dropped with everything behind it, and the boot goes on ([`concat()`]).
//! Linux 6.1 says `invalid magic at start of compressed archive` then, on a console that few see.
//!
//! Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`, `init/initramfs.c`.

use std::collections::BTreeMap;
use std::io::Write as _;

use extent::{ExtentMap, Kind, Node, Tree, TreePath};

mod read;

pub use read::{Entry, Reader, entries};

/// The length of a header.
const HEADER_LEN: u64 = 110;
/// What a part of an archive begins at a multiple of.
const ALIGNMENT: u64 = 4;
/// What GNU cpio pads an archive to.
const ARCHIVE_ALIGNMENT: u64 = 512;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// `PATH_MAX`: the kernel skips an entry whose name with its NUL, or whose link target, is longer.
const PATH_LEN_MAX: usize = 4096;

/// Why a tree is not an archive, or bytes are none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is longer than the 32-bit size field says.
    #[error("`{path}` has {len} bytes; newc takes at most {max}")]
    FileTooLarge {
        /// The file.
        path: TreePath,
        /// Its length.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A name or a link target is longer than the kernel unpacks.
    #[error("`{path}` or the target of this link has {len} bytes; the kernel unpacks at most {max}")]
    NameTooLong {
        /// The entry.
        path: TreePath,
        /// The length of its name or target.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The name would end the archive.
    #[error("no entry of the root can be named `TRAILER!!!`, which ends an archive")]
    Reserved,
    /// A hard link leads to no regular file.
    #[error("`{path}` is a hard link to `{target}`, which is not a regular file")]
    HardLink {
        /// The link.
        path: TreePath,
        /// Where it leads.
        target: TreePath,
    },
    /// A header does not begin with the magic of newc.
    #[error("no newc header at byte {offset}")]
    Magic {
        /// Where the header should be.
        offset: u64,
    },
    /// An archive begins where the kernel does not look for one.
    #[error("the archive at byte {offset} is not aligned to 4")]
    Misaligned {
        /// Where it begins.
        offset: u64,
    },
    /// A field of a header is not eight hexadecimal digits, or no possible value.
    #[error("the {field} in the header at byte {offset} is not valid")]
    Field {
        /// Where the header is.
        offset: u64,
        /// The field.
        field: &'static str,
    },
    /// The bytes end within an entry.
    #[error("the archive ends within the entry at byte {offset}")]
    Truncated {
        /// Where the entry begins.
        offset: u64,
    },
    /// The bytes cannot be read.
    #[error("reading the archive")]
    Read(#[from] std::io::Error),
}

/// One complete archive of `tree` without its root, every entry last changed at `mtime`, padded to 512.
///
/// Entries are in the order of the tree, with inode numbers from 0 on. The names of one file share a number
/// and its link count; the last of them carries the data, the others say length 0, as GNU cpio and
/// `gen_init_cpio` write them. A directory has two links. Booted with Linux 6.1, all names were one inode.
///
/// # Errors
/// `FileTooLarge` at 4 GiB, `NameTooLong`, `Reserved`, `HardLink`.
pub fn archive(tree: &Tree, mtime: u32) -> Result<ExtentMap, Error> {
    let names = names(tree)?;
    let mut out = Archive::default();
    let mut inodes = BTreeMap::new();
    let mut next_ino = 0;
    for (path, node) in tree.iter().filter(|(path, _)| **path != TreePath::root()) {
        if path.as_str() == TRAILER {
            return Err(Error::Reserved);
        }
        let file = match &node.kind {
            Kind::HardLink(target) => target,
            _ => path,
        };
        let ino = *inodes.entry(file).or_insert_with(|| {
            next_ino += 1;
            next_ino - 1
        });
        // The names of a file share one inode, so the attributes are those of the entry that holds it.
        let (inode, names) = match names.get(file) {
            Some(names) => (tree.get(file).unwrap_or(node), Some(names)),
            None => (node, None),
        };
        let carries_data = names.is_none_or(|names| names.last == path);
        let nlink = names.map_or(if node.kind == Kind::Directory { 2 } else { 1 }, |names| names.count);
        out.entry(path, inode, Numbers { ino, nlink, mtime }, carries_data)?;
    }
    out.trailer();
    Ok(out.map)
}

/// The members one behind the other, each padded with zeros so that the next begins at a multiple of 4.
pub fn concat(members: impl IntoIterator<Item = ExtentMap>) -> ExtentMap {
    let mut map = ExtentMap::new();
    for member in members {
        map.align_to(ALIGNMENT);
        map.append(member);
    }
    map
}

/// What a header says beside the entry itself.
#[derive(Clone, Copy)]
struct Numbers {
    ino: u32,
    nlink: u32,
    mtime: u32,
}

/// The names of a file that has several.
struct Names<'a> {
    count: u32,
    last: &'a TreePath,
}

/// An archive being written.
#[derive(Default)]
struct Archive {
    map: ExtentMap,
}

impl Archive {
    fn entry(
        &mut self,
        path: &TreePath,
        inode: &Node,
        numbers: Numbers,
        carries_data: bool,
    ) -> Result<(), Error> {
        let too_long = |len| Error::NameTooLong { path: path.clone(), len, max: PATH_LEN_MAX };
        let name = path.as_str();
        if name.len() >= PATH_LEN_MAX {
            return Err(too_long(name.len()));
        }
        let (kind, rdev, data) = match &inode.kind {
            Kind::File(content) => (0o100_000, (0, 0), Some(content.clone())),
            Kind::Directory => (0o040_000, (0, 0), None),
            Kind::Symlink(target) if target.len() > PATH_LEN_MAX => return Err(too_long(target.len())),
            Kind::Symlink(target) => {
                (0o120_000, (0, 0), Some(ExtentMap::inline(target.clone().into_bytes())))
            }
            Kind::HardLink(target) => {
                return Err(Error::HardLink { path: path.clone(), target: target.clone() });
            }
            Kind::CharDevice { major, minor } => (0o020_000, (*major, *minor), None),
            Kind::BlockDevice { major, minor } => (0o060_000, (*major, *minor), None),
            Kind::Fifo => (0o010_000, (0, 0), None),
            Kind::Socket => (0o140_000, (0, 0), None),
        };
        let data = data.filter(|_| carries_data).unwrap_or_default();
        let size = u32::try_from(data.len()).map_err(|_| Error::FileTooLarge {
            path: path.clone(),
            len: data.len(),
            max: u32::MAX.into(),
        })?;
        let mode = kind | u32::from(inode.mode & 0o7777);
        let Numbers { ino, nlink, mtime } = numbers;
        self.header([ino, mode, inode.uid, inode.gid, nlink, mtime, size, 0, 0, rdev.0, rdev.1], name);
        self.map.append(data);
        self.map.align_to(ALIGNMENT);
        Ok(())
    }

    fn trailer(&mut self) {
        self.header([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], TRAILER);
        self.map.align_to(ARCHIVE_ALIGNMENT);
    }

    /// The header, the name and its padding.
    fn header(&mut self, fields: [u32; 11], name: &str) {
        let name_len = u32::try_from(name.len() + 1).expect("a name is shorter than `PATH_MAX`");
        let mut bytes = Vec::with_capacity(128 + name.len());
        bytes.extend_from_slice(b"070701");
        for field in fields.into_iter().chain([name_len, 0]) {
            write!(bytes, "{field:08X}").expect("memory takes any write");
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.map.push_inline(bytes);
    }
}

/// The files of `tree` that have more than one name.
fn names(tree: &Tree) -> Result<BTreeMap<&TreePath, Names<'_>>, Error> {
    let mut names: BTreeMap<&TreePath, Names<'_>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let Kind::HardLink(target) = &node.kind else { continue };
        if !matches!(tree.get(target).map(|n| &n.kind), Some(Kind::File(_))) {
            return Err(Error::HardLink { path: path.clone(), target: target.clone() });
        }
        let file = names.entry(target).or_insert(Names { count: 1, last: target });
        file.count += 1;
        file.last = file.last.max(path);
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
