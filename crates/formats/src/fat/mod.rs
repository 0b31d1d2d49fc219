//! FAT32 volumes.
//!
//! Lays out a volume from a tree whose sizes are known. Every file and every directory is one run of clusters.
//! Does not read, fragment or grow volumes, and writes no boot code.
//!
//!   0      1        6         32      32+f    32+2f
//!   │ boot │ FSInfo │ backups │ FAT 1 │ FAT 2 │ root │ directories … │ files …       (sectors)
//!
//! The division is that of `mkfs.vfat -F 32 --invariant` (dosfstools 4.2), field for field. Meant to differ:
//! the boot code (ours hands over to the next device; theirs prints a text), the label's date (ours is the
//! volume's time), FSInfo's hint (ours is the first free cluster; theirs is the root's).
//!
//! Source: Microsoft FAT specification 1.03.

mod directory;
mod error;
mod geometry;
mod name;
mod reserved;

use bytes::Bytes;
use extent::{ExtentMap, Kind, Node, Tree, TreePath};

use directory::{ENTRY_LEN, Target, Time};
use geometry::{CLUSTERS_MIN, Geometry};
use name::Name;
use reserved::reserved;

pub use error::Error;

/// A volume to lay out.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Length in bytes. What is left of a last, partial track stays unused.
    pub len: u64,
    /// Length of a sector in bytes: 512 or 4096.
    pub sector_size: u32,
    /// A power of two; by default what mkfs.vfat takes for the length.
    pub sectors_per_cluster: Option<u8>,
    /// Up to 11 ASCII characters; empty for none.
    pub label: String,
    /// Volume id (serial number).
    pub id: u32,
    /// The time of everything on the volume, in seconds since 1970.
    pub time: u32,
}

impl Default for Volume {
    /// An empty volume of 512-byte sectors without a label, with the id of `mkfs.vfat --invariant`.
    fn default() -> Self {
        let label = String::new();
        Self { len: 0, sector_size: 512, sectors_per_cluster: None, label, id: 0x1234_abcd, time: 0 }
    }
}

/// Greatest length of a file: 32 bits.
const FILE_LEN_MAX: u64 = u32::MAX as u64;
/// Greatest length of a directory: 2 MiB, FAT specification 1.03, §6.7.
const ENTRIES_MAX: u64 = 65_536;
/// Marks the last cluster of a run.
const END_OF_CHAIN: u32 = 0x0fff_fff8;
const ROOT_CLUSTER: u32 = 2;

/// A file or a directory of the volume.
struct Entry<'a> {
    path: &'a TreePath,
    content: Content<'a>,
    first_cluster: u32,
}

enum Content<'a> {
    File { content: &'a ExtentMap, read_only: bool },
    Directory { parent: usize, children: Vec<(usize, Name)>, entries: u64 },
}

/// The volume that holds `tree`.
///
/// Sizes alone decide the layout; no file is read. Owners, attributes and modes are not kept, but for one thing:
/// a file that nobody may write is read-only. A hard link becomes a file of its own.
///
/// # Errors
/// `TooSmall` when the tree does not fit or FAT32 would have too few clusters; `FileTooLarge` at 4 GiB; for
/// symbolic links, devices, and names that FAT cannot hold or tell apart, the variant that names the path.
pub fn fat32(tree: &Tree, volume: &Volume) -> Result<ExtentMap, Error> {
    let label = label(&volume.label)?;
    let geometry = Geometry::of(volume)?;
    let mut entries = listed(tree, label.is_some())?;
    let demand = demand(&entries, geometry.cluster_len());
    if geometry.clusters < CLUSTERS_MIN || demand > u64::from(geometry.clusters) {
        return Err(Error::TooSmall { len: volume.len, needed: needed(volume, &entries) });
    }
    let order = place(&mut entries, &geometry);
    let used = u32::try_from(demand).expect("the demand is at most the number of clusters");

    let mut map = ExtentMap::new();
    reserved(&mut map, &geometry, volume, label.as_ref(), used);
    let table = table(&entries, &order, &geometry);
    for number in 0..2 {
        map.zero_to(geometry.fat_offset(number));
        map.push_inline(table.clone());
    }
    map.zero_to(geometry.data_offset());
    let time = Time::from_unix(volume.time);
    for &index in &order {
        match &entries[index].content {
            Content::File { content, .. } => map.append((*content).clone()),
            Content::Directory { .. } => map.push_inline(listing(&entries, index, label.as_ref(), time)),
        }
        let data = map.len() - geometry.data_offset();
        map.zero_to(geometry.data_offset() + data.next_multiple_of(geometry.cluster_len()));
    }
    map.zero_to(volume.len);
    Ok(map)
}

/// The label as it stands on the volume.
fn label(label: &str) -> Result<Option<[u8; 11]>, Error> {
    let wrong = |c: char| !matches!(c, ' '..='~') || "\"*+,./:;<=>?[\\]|".contains(c);
    if label.len() > 11 || label.contains(wrong) || label.starts_with(' ') {
        return Err(Error::Label { label: label.chars().take(80).collect() });
    }
    let mut padded = [b' '; 11];
    padded[..label.len()].copy_from_slice(label.as_bytes());
    Ok((!label.is_empty()).then_some(padded))
}

/// All entries of the tree in pre-order, the root first, with the names of each directory's children.
fn listed(tree: &Tree, has_label: bool) -> Result<Vec<Entry<'_>>, Error> {
    let mut entries: Vec<Entry> = Vec::with_capacity(tree.len());
    let mut children: Vec<Vec<usize>> = Vec::with_capacity(tree.len());
    // The directories that lead to the entry at hand.
    let mut above: Vec<usize> = Vec::new();
    for (index, (path, node)) in tree.iter().enumerate() {
        while above.last().is_some_and(|&parent| !path.is_within(entries[parent].path)) {
            above.pop();
        }
        let parent = above.last().copied();
        if let Some(parent) = parent {
            children[parent].push(index);
        }
        let content = if let Some((content, read_only)) = content(tree, path, node)? {
            Content::File { content, read_only }
        } else {
            above.push(index);
            Content::Directory { parent: parent.unwrap_or(0), children: Vec::new(), entries: 0 }
        };
        entries.push(Entry { path, content, first_cluster: 0 });
        children.push(Vec::new());
    }
    for (index, own) in children.into_iter().enumerate() {
        let paths: Vec<&TreePath> = own.iter().map(|&child| entries[child].path).collect();
        let names = name::names(&paths)?;
        let entry = &mut entries[index];
        if let Content::Directory { children, entries: count, .. } = &mut entry.content {
            let extra = if index > 0 { 2 } else { u64::from(has_label) };
            *count = extra + names.iter().map(directory::entries).sum::<u64>();
            if *count > ENTRIES_MAX {
                let path = entry.path.clone();
                return Err(Error::DirectoryTooLarge { path, entries: *count, max: ENTRIES_MAX });
            }
            *children = own.into_iter().zip(names).collect();
        }
    }
    Ok(entries)
}

/// The content of a file and whether it is read-only; none of a directory.
fn content<'a>(
    tree: &'a Tree,
    path: &TreePath,
    node: &'a Node,
) -> Result<Option<(&'a ExtentMap, bool)>, Error> {
    let unsupported = |kind| Err(Error::Unsupported { path: path.clone(), kind });
    let (content, mode) = match &node.kind {
        Kind::Directory => return Ok(None),
        Kind::File(content) => (content, node.mode),
        Kind::HardLink(target) => match tree.get(target) {
            Some(Node { kind: Kind::File(content), mode, .. }) => (content, *mode),
            _ => return Err(Error::Dangling { path: path.clone(), target: target.clone() }),
        },
        Kind::Symlink(_) => return unsupported("symbolic link"),
        Kind::CharDevice { .. } => return unsupported("character device"),
        Kind::BlockDevice { .. } => return unsupported("block device"),
        Kind::Fifo => return unsupported("named pipe"),
        Kind::Socket => return unsupported("socket"),
    };
    if content.len() > FILE_LEN_MAX {
        return Err(Error::FileTooLarge { path: path.clone(), len: content.len(), max: FILE_LEN_MAX });
    }
    Ok(Some((content, mode & 0o222 == 0)))
}

impl Entry<'_> {
    /// How many clusters the entry takes.
    fn clusters(&self, cluster_len: u64) -> u64 {
        match &self.content {
            Content::File { content, .. } => content.len().div_ceil(cluster_len),
            Content::Directory { entries, .. } => (entries * ENTRY_LEN).div_ceil(cluster_len).max(1),
        }
    }

    /// What an entry of the directory above says of this one.
    fn target(&self) -> Target {
        let (attributes, len) = match self.content {
            Content::File { content, read_only } => {
                let read_only = if read_only { directory::READ_ONLY } else { 0 };
                let len = u32::try_from(content.len()).expect("the length of a file was checked");
                (directory::ARCHIVE | read_only, len)
            }
            Content::Directory { .. } => (directory::DIRECTORY, 0),
        };
        Target { attributes, first_cluster: self.first_cluster, len }
    }
}

/// How many clusters of `cluster_len` bytes all entries take.
fn demand(entries: &[Entry], cluster_len: u64) -> u64 {
    // No overflow: a tree in memory has fewer than 2^32 entries of fewer than 2^32 bytes each.
    entries.iter().map(|entry| entry.clusters(cluster_len)).sum()
}

/// A length in whole MiB at which the entries fit.
fn needed(volume: &Volume, entries: &[Entry]) -> u64 {
    const MIB: u64 = 1 << 20;
    let mut volume = volume.clone();
    loop {
        let Ok(geometry) = Geometry::of(&volume) else { return volume.len };
        let demand = demand(entries, geometry.cluster_len()).max(u64::from(CLUSTERS_MIN));
        let missing = demand.saturating_sub(u64::from(geometry.clusters)) * geometry.cluster_len();
        if missing == 0 && volume.len.is_multiple_of(MIB) {
            return volume.len;
        }
        // A larger volume may have larger clusters and more slack, so this asks again.
        volume.len = volume.len.saturating_add(missing.max(1)).div_ceil(MIB).saturating_mul(MIB);
    }
}

/// Gives every entry its clusters, directories before files; the entries that have some, in that order.
fn place(entries: &mut [Entry], geometry: &Geometry) -> Vec<usize> {
    let is_file = |entry: &Entry| matches!(entry.content, Content::File { .. });
    let (files, mut order): (Vec<_>, Vec<_>) = (0..entries.len()).partition(|&i| is_file(&entries[i]));
    order.extend(files);
    order.retain(|&index| entries[index].clusters(geometry.cluster_len()) > 0);
    let mut next = ROOT_CLUSTER;
    for &index in &order {
        let clusters = entries[index].clusters(geometry.cluster_len());
        entries[index].first_cluster = next;
        next += u32::try_from(clusters).expect("the demand is at most the number of clusters");
    }
    order
}

/// The used part of a table: the number of the next cluster for each.
fn table(entries: &[Entry], order: &[usize], geometry: &Geometry) -> Bytes {
    let mut table = Vec::new();
    table.extend(END_OF_CHAIN.to_le_bytes()); // the media descriptor F8 and ones
    table.extend(0x0fff_ffff_u32.to_le_bytes()); // neither dirty nor failing
    for &index in order {
        let first = entries[index].first_cluster;
        let clusters = entries[index].clusters(geometry.cluster_len());
        let last = first + u32::try_from(clusters).expect("clusters were counted") - 1;
        for cluster in first..last {
            table.extend_from_slice(&(cluster + 1).to_le_bytes());
        }
        table.extend(END_OF_CHAIN.to_le_bytes());
    }
    table.into()
}

/// The bytes of the directory `entries[index]`.
fn listing(entries: &[Entry], index: usize, label: Option<&[u8; 11]>, time: Time) -> Vec<u8> {
    let Content::Directory { parent, children, .. } = &entries[index].content else {
        unreachable!("only directories are listed")
    };
    let mut bytes = Vec::new();
    if index > 0 {
        let own = entries[index].target();
        directory::push(&mut bytes, b".          ", own, time);
        let above = if *parent == 0 { 0 } else { entries[*parent].first_cluster };
        directory::push(&mut bytes, b"..         ", Target { first_cluster: above, ..own }, time);
    } else if let Some(label) = label {
        let target = Target { attributes: directory::VOLUME_ID, first_cluster: 0, len: 0 };
        directory::push(&mut bytes, label, target, time);
    }
    for (child, name) in children {
        directory::push_named(&mut bytes, name, entries[*child].target(), time);
    }
    bytes
}
