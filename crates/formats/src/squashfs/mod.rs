//! Squashfs 4.0 file systems.
//!
//! Writes a file system from a tree, compressing on several threads in memory bounded by their number. The same
//! tree and options give the same bytes, however many threads there are. Does not read, append to or mount file
//! systems, and knows two compressors: zstd and xz.
//!
//!   0            96        96+o                                                                        len
//!   │ superblock │ options │ blocks and fragments │ inodes │ directories │ fragment  export  id  xattr │ 0… │
//!                                                                          └───────── tables ─────────┘
//!
//! * *Blocks*: a file is cut at multiples of the block size. A block of zeros is not stored; one that does not
//!   shrink is stored as it is. The blocks of a file lie together, the files of a directory behind one another.
//! * *Fragments*: tails shorter than a block share blocks, in the same order.
//! * *Duplicates*: files of equal content share their blocks and fragments.
//! * *Metadata*: inodes, directories and tables are cut into blocks of 8 KiB, each compressed by itself.
//!
//! Positions and lengths are bytes; a *reference* is the position of a compressed metadata block and an offset
//! inside it once decompressed.
//!
//! Source: Linux `Documentation/filesystems/squashfs.rst` and `fs/squashfs/squashfs_fs.h`; where they are silent
//! (order of the tables, the sizes in the xattr table, holes), what squashfs-tools 4.5.1 writes.

mod compress;
mod data;
mod directory;
mod duplicates;
mod error;
mod inode;
mod metadata;
mod nodes;
mod queue;
mod sparse;
mod superblock;
mod xattr;

use std::io::{Cursor, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;

use extent::{Blobs, Tree};

pub use compress::Compression;
pub use error::Error;

use data::Data;
use metadata::{Codec, Metadata};
use nodes::Nodes;
use superblock::{ABSENT, Superblock};

/// How a file system is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The compressor and its effort.
    pub compression: Compression,
    /// Whether every block is stored as it is. What is small takes as many pages, is written in a third of the time, and does
    /// not depend on the compressor's release. A file system names a compressor all the same.
    pub stored: bool,
    /// Bytes in a block: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// The time of the file system and of every inode, seconds since 1970.
    pub mtime: u32,
    /// How many threads compress, beside the calling one, which does while it would wait. Has no influence on the
    /// bytes.
    pub threads: NonZeroUsize,
}

/// The block size where nothing else is asked for: that of squashfs-tools.
pub const BLOCK_SIZE: u32 = 128 << 10;

/// A block device is read in pages; squashfs-tools pads to this as well.
const ALIGNMENT: u64 = 4096;

impl Options {
    /// Blocks of 128 KiB, compressed, time 0 and one thread.
    pub const fn new(compression: Compression) -> Self {
        Self { compression, stored: false, block_size: BLOCK_SIZE, mtime: 0, threads: NonZeroUsize::MIN }
    }
}

/// Writes the file system of `tree` to `out`, from its current position on, and returns its length, a multiple
/// of 4096. `out` is left at the end.
///
/// Each file is read once; a second time where another of the same length begins with the same bytes. Zeros that
/// the maps describe cost nothing.
///
/// # Errors
/// `Read` and `Write` when the bytes cannot be had or put; all others say what of `tree` or `options` squashfs
/// cannot express.
pub fn write(
    tree: &Tree,
    options: &Options,
    blobs: &dyn Blobs,
    out: &mut (impl Write + Seek),
) -> Result<u64, Error> {
    options.check()?;
    let nodes = Nodes::of(tree, options.block_size)?;
    let start = out.stream_position().map_err(Error::Write)?;

    let mut head = vec![0; superblock::LEN];
    let option_block = if options.stored { Vec::new() } else { options.compression.option_block() };
    head.extend_from_slice(&option_block);
    out.write_all(&head).map_err(Error::Write)?;
    let data_start = head.len() as u64;

    let data = data::write(&nodes.files, options, blobs, out, data_start)?;
    let tables = tables(&nodes, &data, options)?;
    out.write_all(&tables.bytes).map_err(Error::Write)?;
    let bytes_used = tables.superblock.bytes_used;
    let len = bytes_used.next_multiple_of(ALIGNMENT);
    let padding = usize::try_from(len - bytes_used).expect("the padding is shorter than 4096 bytes");
    out.write_all(&vec![0; padding]).map_err(Error::Write)?;

    let superblock = Superblock { option_block: !option_block.is_empty(), ..tables.superblock };
    out.seek(SeekFrom::Start(start)).map_err(Error::Write)?;
    out.write_all(&superblock.bytes()).map_err(Error::Write)?;
    out.seek(SeekFrom::Start(start + len)).map_err(Error::Write)?;
    Ok(len)
}

/// The file system of `tree`, in memory.
///
/// # Errors
/// As [`write()`].
pub fn image(tree: &Tree, options: &Options, blobs: &dyn Blobs) -> Result<Vec<u8>, Error> {
    let mut out = Cursor::new(Vec::new());
    write(tree, options, blobs, &mut out)?;
    Ok(out.into_inner())
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        if !self.block_size.is_power_of_two() || !(4096..=1 << 20).contains(&self.block_size) {
            return Err(Error::BlockSize { len: self.block_size });
        }
        self.compression.check()
    }
}

/// All that follows the data.
struct Tables {
    bytes: Vec<u8>,
    superblock: Superblock,
}

fn tables(nodes: &Nodes, data: &Data, options: &Options) -> Result<Tables, Error> {
    let codec = Codec::new(options)?;
    let mut xattrs = xattr::Sets::default();
    let mut inodes = Metadata::new("inode", &codec);
    let mut listings = Metadata::new("directory", &codec);
    let mut references = Vec::with_capacity(nodes.inodes.len());
    let mut encoded = Vec::new();
    for (index, inode) in nodes.inodes.iter().enumerate() {
        let listed = match &inode.entries {
            Some(entries) => Some(directory::write(nodes, entries, &references, &mut listings)?),
            None => None,
        };
        let xattrs = xattrs.of(inode.path, &inode.node.xattrs)?;
        let place = inode::Place { index, listed, xattrs, mtime: options.mtime };
        encoded.clear();
        inode::encode(nodes, inode, &place, data, &mut encoded);
        references.push(inodes.reference()?);
        inodes.write(&encoded)?;
    }

    let mut bytes = inodes.finish()?;
    let inode_table = data.end;
    let directory_table = inode_table + bytes.len() as u64;
    bytes.append(&mut listings.finish()?);

    let mut table = |name, entries: &[u8]| -> Result<u64, Error> {
        let (table, index) = metadata::table(name, entries, inode_table + bytes.len() as u64, &codec)?;
        bytes.extend_from_slice(&table);
        Ok(index)
    };
    let fragment_table = table("fragment", &data.fragment_table())?;
    let raw: Vec<u8> = references.iter().flat_map(|r| r.packed().to_le_bytes()).collect();
    let export_table = table("export", &raw)?;
    let raw: Vec<u8> = nodes.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let id_table = table("id", &raw)?;
    let xattr_table = if xattrs.is_empty() {
        ABSENT
    } else {
        let at = inode_table + bytes.len() as u64;
        let (table, header) = xattrs.table(at, &codec)?;
        bytes.extend_from_slice(&table);
        header
    };

    let root = references.last().expect("the root is the last inode");
    let superblock = Superblock {
        inode_count: nodes.count()?,
        mtime: options.mtime,
        block_size: options.block_size,
        fragment_count: data.fragment_count()?,
        compressor: options.compression.id(),
        option_block: false,
        id_count: u16::try_from(nodes.ids.len()).expect("the ids were counted"),
        root: root.packed(),
        bytes_used: inode_table + bytes.len() as u64,
        id_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    };
    Ok(Tables { bytes, superblock })
}
