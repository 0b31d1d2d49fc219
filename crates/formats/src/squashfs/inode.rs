//! Inodes.
//!
//!   │ u16 type │ u16 mode │ u16 uid │ u16 gid │ u32 mtime │ u32 number │ … by type
//!
//! Each type has a basic form, which is short, and an extended one for what is rare: attributes, hard links,
//! holes, positions and lengths beyond 32 bits, directories with an index.
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h`, `struct squashfs_*_inode`.

use bytes::BufMut;
use extent::Kind;

use super::data::{Data, Placed};
use super::directory::{Listed, number, type_number};
use super::nodes::{Inode, Nodes};

/// Added to the type number of a basic inode to make it the extended one's.
const EXTENDED: u16 = 7;
/// No fragment, no attributes.
const NONE: u32 = u32::MAX;
/// The bits of a mode that are not the type.
const PERMISSIONS: u16 = 0o7777;

/// What an inode must know of its surroundings.
pub(super) struct Place<'a> {
    /// Its own index.
    pub(super) index: usize,
    /// Where the listing of a directory is.
    pub(super) listed: Option<Listed<'a>>,
    /// Its set of extended attributes.
    pub(super) xattrs: Option<u32>,
    pub(super) mtime: u32,
}

/// Appends `inode` to `out`.
pub(super) fn encode(nodes: &Nodes, inode: &Inode, place: &Place, data: &Data, out: &mut Vec<u8>) {
    let header = |extended: bool, out: &mut Vec<u8>| {
        out.put_u16_le(type_number(&inode.node.kind) + if extended { EXTENDED } else { 0 });
        out.put_u16_le(inode.node.mode & PERMISSIONS);
        out.put_u16_le(nodes.id_index(inode.node.uid));
        out.put_u16_le(nodes.id_index(inode.node.gid));
        out.put_u32_le(place.mtime);
        out.put_u32_le(number(place.index));
    };
    let xattrs = place.xattrs.unwrap_or(NONE);
    let extended = place.xattrs.is_some();
    match (&inode.node.kind, &place.listed, inode.file) {
        (Kind::Directory, Some(listed), _) => {
            // The root's parent is a number that no inode has, as squashfs-tools does it.
            let parent = number(inode.parent.unwrap_or(nodes.inodes.len()));
            let short = u16::try_from(listed.len).ok().filter(|_| !extended && listed.index.is_empty());
            header(short.is_none(), out);
            match short {
                Some(len) => basic_directory(inode.links, listed, len, parent, out),
                None => extended_directory(inode.links, listed, parent, xattrs, out),
            }
        }
        (Kind::File(content), _, Some(file)) => {
            let placed = data.placed(file);
            if let Some(file) = basic_file(inode, content.len(), placed).filter(|_| !extended) {
                header(false, out);
                out.extend_from_slice(&file);
            } else {
                header(true, out);
                extended_file(inode.links, content.len(), placed, xattrs, out);
            }
            for stored in &placed.blocks {
                out.put_u32_le(*stored);
            }
        }
        (Kind::Symlink(target), ..) => {
            header(extended, out);
            out.put_u32_le(inode.links);
            out.put_u32_le(u32::try_from(target.len()).expect("targets were checked"));
            out.extend_from_slice(target.as_bytes());
            put_xattrs(place.xattrs, out);
        }
        (&(Kind::BlockDevice { major, minor } | Kind::CharDevice { major, minor }), ..) => {
            header(extended, out);
            out.put_u32_le(inode.links);
            out.put_u32_le(device_number(major, minor));
            put_xattrs(place.xattrs, out);
        }
        (Kind::Fifo | Kind::Socket, ..) => {
            header(extended, out);
            out.put_u32_le(inode.links);
            put_xattrs(place.xattrs, out);
        }
        (Kind::Directory | Kind::File(_) | Kind::HardLink(_), ..) => {
            unreachable!("directories are listed, files placed and hard links resolved")
        }
    }
}

fn put_xattrs(xattrs: Option<u32>, out: &mut Vec<u8>) {
    if let Some(xattrs) = xattrs {
        out.put_u32_le(xattrs);
    }
}

/// Linux' encoding: minor 0…7, major 8…19, the rest of minor 20…31.
fn device_number(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

fn basic_directory(links: u32, listed: &Listed, len: u16, parent: u32, out: &mut Vec<u8>) {
    out.put_u32_le(listed.reference.block);
    out.put_u32_le(links);
    out.put_u16_le(len);
    out.put_u16_le(listed.reference.offset);
    out.put_u32_le(parent);
}

fn extended_directory(links: u32, listed: &Listed, parent: u32, xattrs: u32, out: &mut Vec<u8>) {
    out.put_u32_le(links);
    out.put_u32_le(listed.len);
    out.put_u32_le(listed.reference.block);
    out.put_u32_le(parent);
    out.put_u16_le(u16::try_from(listed.index.len()).expect("the index was cut to fit"));
    out.put_u16_le(listed.reference.offset);
    out.put_u32_le(xattrs);
    for indexed in &listed.index {
        out.put_u32_le(indexed.offset);
        out.put_u32_le(indexed.block);
        out.put_u32_le(u32::try_from(indexed.name.len() - 1).expect("a name has at most 255 bytes"));
        out.extend_from_slice(indexed.name.as_bytes());
    }
}

/// The basic form of a file, if it can express it.
fn basic_file(inode: &Inode, len: u64, placed: &Placed) -> Option<[u8; 16]> {
    if inode.links > 1 || placed.holes > 0 {
        return None;
    }
    let (fragment, offset) = placed.fragment.unwrap_or((NONE, 0));
    let mut fields = [0; 16];
    let mut rest = &mut fields[..];
    rest.put_u32_le(u32::try_from(placed.start).ok()?);
    rest.put_u32_le(fragment);
    rest.put_u32_le(offset);
    rest.put_u32_le(u32::try_from(len).ok()?);
    Some(fields)
}

fn extended_file(links: u32, len: u64, placed: &Placed, xattrs: u32, out: &mut Vec<u8>) {
    let (fragment, offset) = placed.fragment.unwrap_or((NONE, 0));
    out.put_u64_le(placed.start);
    out.put_u64_le(len);
    // Linux counts a file's disk blocks from length less holes. Programs take a file without any for one
    // without content, so squashfs-tools leaves at least one byte; so do we.
    out.put_u64_le(placed.holes.min(len.saturating_sub(1)));
    out.put_u32_le(links);
    out.put_u32_le(fragment);
    out.put_u32_le(offset);
    out.put_u32_le(xattrs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use extent::{Node, TreePath};

    #[test]
    fn what_32_bits_cannot_say_makes_a_file_extended() {
        let path = TreePath::root();
        let node = Node::new(Kind::Fifo, 0);
        let basic = |links, len, start, holes| {
            let inode =
                Inode { path: &path, node: &node, links, parent: None, file: None, entries: None, depth: 0 };
            basic_file(&inode, len, &Placed { start, holes, ..Placed::default() }).is_some()
        };
        let max = u64::from(u32::MAX);
        assert!(basic(1, max, max, 0));
        assert!(!basic(2, 1, 1, 0), "hard links");
        assert!(!basic(1, max + 1, 1, 0), "long file");
        assert!(!basic(1, 1, max + 1, 0), "far position");
        assert!(!basic(1, 1, 1, 1), "holes");
    }

    #[test]
    fn a_file_of_holes_alone_has_one_byte_for_those_who_count_blocks() {
        for (len, holes, sparse) in [(300, 300, 299u64), (300, 100, 100), (0, 0, 0)] {
            let mut out = Vec::new();
            extended_file(2, len, &Placed { holes, ..Placed::default() }, NONE, &mut out);
            assert_eq!(out.len(), 40);
            assert_eq!(out[16..24], sparse.to_le_bytes(), "{holes} of {len}");
        }
    }

    #[test]
    fn device_numbers_are_those_of_linux() {
        for (major, minor, number) in [
            (1, 3, 0x103),
            (8, 0, 0x800),
            (259, 0, 0x1_0300),
            (4095, 0xf_ffff, 0xffff_ffff),
            (0, 256, 0x10_0000),
        ] {
            assert_eq!(device_number(major, minor), number, "{major}:{minor}");
        }
    }
}
