//! Writing: a tree becomes an archive, the same one always.

use std::collections::BTreeMap;

use ::tar::{EntryType, Header};
use extent::{ExtentMap, Kind, Node, Tree, TreePath};

use super::{BLOCK_LEN, Error, XATTR_PREFIX};

/// The largest number in a field of eight bytes: seven octal digits.
const SHORT_FIELD_MAX: u32 = 0o7_777_777;
/// The largest number in a field of twelve bytes: eleven octal digits.
const LONG_FIELD_MAX: u64 = 0o77_777_777_777;
/// The length of the name in a header.
const NAME_LEN_MAX: usize = 100;

/// The archive of `tree` without its root, every entry last changed at `mtime`.
///
/// Entries are in the order of the tree. The first name of a file carries its data and the others are links
/// to it, wherever the tree holds the file. Owners have no names. A PAX header precedes an entry that ustar
/// cannot say, and no other.
///
/// # Errors
/// `HardLink`, `Xattr`, `Device`, `Socket`.
pub fn archive(tree: &Tree, mtime: u32) -> Result<ExtentMap, Error> {
    let mut archive = ExtentMap::new();
    // For every file with several names: the first of them.
    let mut first_names: BTreeMap<&TreePath, &TreePath> = BTreeMap::new();
    for (path, node) in tree.iter() {
        if let Kind::HardLink(target) = &node.kind {
            if !matches!(tree.get(target).map(|n| &n.kind), Some(Kind::File(_))) {
                return Err(Error::HardLink { path: path.clone(), target: target.clone() });
            }
            let first = first_names.entry(target).or_insert(target);
            *first = (*first).min(path);
        }
    }
    for (path, node) in tree.iter().filter(|(path, _)| **path != TreePath::root()) {
        let file = match &node.kind {
            Kind::HardLink(target) => target,
            _ => path,
        };
        let first = first_names.get(file).copied().unwrap_or(path);
        let inode = tree.get(file).unwrap_or(node);
        entry(&mut archive, path, inode, (first != path).then_some(first), mtime)?;
    }
    archive.push_zeros(2 * BLOCK_LEN);
    Ok(archive)
}

/// Adds one entry; with `link`, as another name of that file.
fn entry(
    archive: &mut ExtentMap,
    path: &TreePath,
    node: &Node,
    link: Option<&TreePath>,
    mtime: u32,
) -> Result<(), Error> {
    let mut name = path.as_str().to_owned();
    let mut target = String::new();
    let mut data = None;
    let mut device = (0, 0);
    let kind = match (&node.kind, link) {
        (_, Some(link)) => {
            link.as_str().clone_into(&mut target);
            EntryType::Link
        }
        (Kind::File(content), None) => {
            data = Some(content);
            EntryType::Regular
        }
        (Kind::Directory, None) => {
            name.push('/');
            EntryType::Directory
        }
        (Kind::Symlink(to), None) => {
            target.clone_from(to);
            EntryType::Symlink
        }
        (Kind::HardLink(to), None) => {
            return Err(Error::HardLink { path: path.clone(), target: to.clone() });
        }
        (Kind::CharDevice { major, minor }, None) => {
            device = (*major, *minor);
            EntryType::Char
        }
        (Kind::BlockDevice { major, minor }, None) => {
            device = (*major, *minor);
            EntryType::Block
        }
        (Kind::Fifo, None) => EntryType::Fifo,
        (Kind::Socket, None) => return Err(Error::Socket { path: path.clone() }),
    };
    if let Some(number) = [device.0, device.1].into_iter().find(|number| *number > SHORT_FIELD_MAX) {
        return Err(Error::Device { path: path.clone(), number, max: SHORT_FIELD_MAX });
    }

    let mut records = BTreeMap::new();
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(u32::from(node.mode & 0o7777));
    header.set_mtime(mtime.into());
    let ustar = header.as_ustar_mut().expect("made as ustar");
    (ustar.dev_major, ustar.dev_minor) = (octal(device.0), octal(device.1));
    if let Some((prefix, rest)) = split(&name) {
        ustar.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
        ustar.name[..rest.len()].copy_from_slice(rest.as_bytes());
    } else {
        // For readers that know no PAX: no wrong file, only one with a wrong name.
        ustar.name[..10].copy_from_slice(b"PaxHeaders");
        records.insert("path".to_owned(), name.into_bytes());
    }
    if target.len() <= NAME_LEN_MAX && target.is_ascii() {
        ustar.linkname[..target.len()].copy_from_slice(target.as_bytes());
    } else {
        records.insert("linkpath".to_owned(), target.into_bytes());
    }
    let fits = |number: u32| number <= SHORT_FIELD_MAX;
    header.set_uid(if fits(node.uid) { node.uid.into() } else { 0 });
    header.set_gid(if fits(node.gid) { node.gid.into() } else { 0 });
    for (key, number) in [("uid", node.uid), ("gid", node.gid)].into_iter().filter(|(_, n)| !fits(*n)) {
        records.insert(key.to_owned(), number.to_string().into_bytes());
    }
    let len = data.map_or(0, ExtentMap::len);
    header.set_size(if len > LONG_FIELD_MAX { 0 } else { len });
    if len > LONG_FIELD_MAX {
        records.insert("size".to_owned(), len.to_string().into_bytes());
    }
    // A link has the attributes of its file already.
    for (name, value) in node.xattrs.iter().filter(|_| link.is_none()) {
        if name.contains('=') || name.is_empty() {
            return Err(Error::Xattr { path: path.clone(), name: name.clone() });
        }
        records.insert(format!("{XATTR_PREFIX}{name}"), value.clone());
    }

    if !records.is_empty() {
        let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let mut pax = Header::new_ustar();
        pax.set_entry_type(EntryType::XHeader);
        pax.as_ustar_mut().expect("made as ustar").name[..10].copy_from_slice(b"PaxHeaders");
        pax.set_mode(0o644);
        pax.set_uid(0);
        pax.set_gid(0);
        pax.set_mtime(mtime.into());
        pax.set_size(records.len() as u64);
        push_header(archive, pax);
        archive.push_inline(records);
        archive.align_to(BLOCK_LEN);
    }
    push_header(archive, header);
    if let Some(content) = data {
        archive.append(content.clone());
        archive.align_to(BLOCK_LEN);
    }
    Ok(())
}

fn push_header(archive: &mut ExtentMap, mut header: Header) {
    header.set_cksum();
    archive.push_inline(header.as_bytes().to_vec());
}

fn octal(number: u32) -> [u8; 8] {
    let mut field = [0; 8];
    field[..7].copy_from_slice(format!("{number:07o}").as_bytes());
    field
}

/// The prefix and the name of a header, where `name` fits the two.
fn split(name: &str) -> Option<(&str, &str)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= NAME_LEN_MAX {
        return Some(("", name));
    }
    let mut splits = name.rmatch_indices('/').map(|(at, _)| (&name[..at], &name[at + 1..]));
    splits
        .find(|(prefix, rest)| (1..=155).contains(&prefix.len()) && (1..=NAME_LEN_MAX).contains(&rest.len()))
}

/// One PAX record. Its length counts its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    let mut record = format!("{len} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}
