//! Directory listings.
//!
//! Entries in byte order of their names, in runs. A run has at most 256 entries whose inodes lie in one metadata
//! block and have numbers near the first one's.
//!
//!   │ u32 count-1  u32 inode block  u32 inode number │ u16 offset  i16 Δnumber  u16 type  u16 len-1  name │ …
//!
//! Listings longer than a metadata block have an *index* in their inode: a run about every 8 KiB, so that a
//! name is found without reading all that precedes it.
//!
//! Source: Linux `Documentation/filesystems/squashfs.rst`, §3.4 and §3.5, and `fs/squashfs/namei.c`.

use bytes::BufMut;
use extent::Kind;

use super::Error;
use super::metadata::{METADATA_LEN, Metadata, Reference};
use super::nodes::{Entry, Nodes};

/// Entries in a run at most.
const RUN_MAX: usize = 256;
/// Bytes that readers add for the entries `.` and `..`, which are not stored.
const DOTS_LEN: u64 = 3;

/// Where a listing is.
pub(super) struct Listed<'a> {
    pub(super) reference: Reference,
    /// Length as readers see it: three more than are stored.
    pub(super) len: u32,
    pub(super) index: Vec<Indexed<'a>>,
}

/// A run that can be found without reading those before it.
pub(super) struct Indexed<'a> {
    /// Bytes of the listing before it.
    pub(super) offset: u32,
    /// The metadata block that it begins in.
    pub(super) block: u32,
    /// Its first name.
    pub(super) name: &'a str,
}

/// Adds the listing of `entries`, whose inodes have the `references`, to the directory table.
pub(super) fn write<'a>(
    nodes: &Nodes,
    entries: &[Entry<'a>],
    references: &[Reference],
    table: &mut Metadata,
) -> Result<Listed<'a>, Error> {
    let start = table.reference()?;
    let (mut len, mut indexed_len) = (0u64, 0u64);
    let mut index = Vec::new();
    let mut run = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(run_len(rest, references));
        run.clear();
        encode_run(nodes, now, references, &mut run);
        if len + run.len() as u64 - indexed_len > u64::from(METADATA_LEN) && len > 0 {
            let offset = listing_len(len)?;
            index.push(Indexed { offset, block: table.reference()?.block, name: now[0].name });
            indexed_len = len;
        }
        table.write(&run)?;
        len += run.len() as u64;
        rest = later;
    }
    // The count in the inode has 16 bits; what the index leaves out is found by reading on.
    index.truncate(usize::from(u16::MAX));
    // An empty listing has no place; readers do not look.
    let reference = if entries.is_empty() { Reference { block: 0, offset: 0 } } else { start };
    Ok(Listed { reference, len: listing_len(len + DOTS_LEN)?, index })
}

fn listing_len(len: u64) -> Result<u32, Error> {
    let max = u64::from(u32::MAX);
    u32::try_from(len).map_err(|_| Error::TableTooLarge { table: "directory", len, max })
}

/// How many of the first `entries` fit in one run.
fn run_len(entries: &[Entry], references: &[Reference]) -> usize {
    let first = entries[0].inode;
    let near = |entry: &&Entry| {
        references[entry.inode].block == references[first].block && delta(first, entry.inode).is_some()
    };
    entries.iter().take(RUN_MAX).take_while(near).count()
}

fn delta(first: usize, inode: usize) -> Option<i16> {
    let delta = i64::try_from(inode).ok()?.checked_sub(i64::try_from(first).ok()?)?;
    i16::try_from(delta).ok()
}

fn encode_run(nodes: &Nodes, entries: &[Entry], references: &[Reference], run: &mut Vec<u8>) {
    let first = entries[0].inode;
    run.put_u32_le(u32::try_from(entries.len() - 1).expect("a run has at most 256 entries"));
    run.put_u32_le(references[first].block);
    run.put_u32_le(number(first));
    for entry in entries {
        run.put_u16_le(references[entry.inode].offset);
        run.put_i16_le(delta(first, entry.inode).expect("the run ends before numbers are too far apart"));
        run.put_u16_le(type_number(&nodes.inodes[entry.inode].node.kind));
        // A path's names have 1 to 255 bytes; squashfs has room for 256.
        run.put_u16_le(u16::try_from(entry.name.len() - 1).expect("a name has at most 255 bytes"));
        run.extend_from_slice(entry.name.as_bytes());
    }
}

/// The number of the inode at `index`.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index + 1).expect("the inodes were counted")
}

/// The number of the basic inode type, which listings use for the extended one as well.
pub(super) fn type_number(kind: &Kind) -> u16 {
    match kind {
        Kind::Directory => 1,
        Kind::File(_) | Kind::HardLink(_) => 2,
        Kind::Symlink(_) => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::CharDevice { .. } => 5,
        Kind::Fifo => 6,
        Kind::Socket => 7,
    }
}
