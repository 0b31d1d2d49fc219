//! The superblock.
//!
//!   0     4      8     12         16        20         22        24    26  28    30    32
//!   │hsqs │inodes│mtime│block size│fragments│compressor│block log│flags│ids│major│minor│root …
//!   32   40         48 56    64     72          80        88     96
//!   │root│bytes used│id│xattr│inodes│directories│fragments│export│
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h`, `struct squashfs_super_block`.

use bytes::BufMut;

/// Bytes in a superblock.
pub(super) const LEN: usize = 96;
/// The position of a table that is not there.
pub(super) const ABSENT: u64 = u64::MAX;

const MAGIC: u32 = 0x7371_7368;
const MAJOR: u16 = 4;
const MINOR: u16 = 0;
/// Tails are packed into fragments even of files longer than a block.
const TAILS_PACKED: u16 = 0x0020;
const DUPLICATES_REMOVED: u16 = 0x0040;
const EXPORTABLE: u16 = 0x0080;
const OPTION_BLOCK: u16 = 0x0400;

/// What the superblock says.
pub(super) struct Superblock {
    pub(super) inode_count: u32,
    pub(super) mtime: u32,
    pub(super) block_size: u32,
    pub(super) fragment_count: u32,
    pub(super) compressor: u16,
    /// Whether a block of compressor options follows.
    pub(super) option_block: bool,
    pub(super) id_count: u16,
    /// Reference of the root directory's inode.
    pub(super) root: u64,
    pub(super) bytes_used: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
    pub(super) export_table: u64,
}

impl Superblock {
    /// The superblock as it is on disk.
    pub(super) fn bytes(&self) -> [u8; LEN] {
        let block_log = u16::try_from(self.block_size.ilog2()).expect("a logarithm of a u32 is below 32");
        let mut flags = TAILS_PACKED | DUPLICATES_REMOVED | EXPORTABLE;
        if self.option_block {
            flags |= OPTION_BLOCK;
        }
        let mut bytes = [0; LEN];
        let mut rest = &mut bytes[..];
        rest.put_u32_le(MAGIC);
        rest.put_u32_le(self.inode_count);
        rest.put_u32_le(self.mtime);
        rest.put_u32_le(self.block_size);
        rest.put_u32_le(self.fragment_count);
        for field in [self.compressor, block_log, flags, self.id_count, MAJOR, MINOR] {
            rest.put_u16_le(field);
        }
        for field in [
            self.root,
            self.bytes_used,
            self.id_table,
            self.xattr_table,
            self.inode_table,
            self.directory_table,
            self.fragment_table,
            self.export_table,
        ] {
            rest.put_u64_le(field);
        }
        assert!(rest.is_empty(), "the superblock has 96 bytes");
        bytes
    }
}
