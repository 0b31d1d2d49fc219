//! Why a tree cannot be a squashfs file system.

use std::io;

use extent::TreePath;

/// Why a file system cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The block size is not one that squashfs knows.
    #[error("a block of {len} bytes is not a power of two from 4096 to 1048576")]
    BlockSize {
        /// The block size asked for.
        len: u32,
    },
    /// The compressor does not know the level.
    #[error("compression level {level} is not from {min} to {max}")]
    Level {
        /// The level asked for.
        level: i64,
        /// The least level.
        min: i64,
        /// The highest level.
        max: i64,
    },
    /// What should hold other entries, or is the root, is not a directory.
    #[error("`/{path}` is not a directory")]
    NotADirectory {
        /// The entry.
        path: TreePath,
    },
    /// A hard link names nothing, a directory or a link in a circle.
    #[error("`{path}` is a hard link to `{target}`, which is not a regular file")]
    HardLink {
        /// The link.
        path: TreePath,
        /// What it names.
        target: TreePath,
    },
    /// A file takes the tree over the number of blocks written at most.
    #[error("`{path}` of {len} bytes takes the tree over {max} blocks")]
    FileTooLarge {
        /// The file.
        path: TreePath,
        /// Its length in bytes.
        len: u64,
        /// The most blocks of all files together.
        max: u64,
    },
    /// The target of a symbolic link is empty, holds a NUL or is longer than Linux follows.
    #[error("the target of `{path}`, {len} bytes, is empty, has a NUL or is longer than {max} bytes")]
    Symlink {
        /// The link.
        path: TreePath,
        /// The length of its target in bytes.
        len: usize,
        /// The longest target.
        max: usize,
    },
    /// A device number does not fit in the 12 and 20 bits of Linux.
    #[error("device {major}:{minor} at `{path}` is beyond 4095:1048575")]
    Device {
        /// The device node.
        path: TreePath,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// More owners and groups than the table of ids holds.
    #[error("{count} different owners and groups are more than {max}")]
    TooManyIds {
        /// How many there are.
        count: usize,
        /// How many there can be.
        max: usize,
    },
    /// An extended attribute outside the three name spaces that squashfs numbers.
    #[error("the extended attribute `{name}` of `{path}` is not below `user.`, `trusted.` or `security.`")]
    XattrName {
        /// The entry.
        path: TreePath,
        /// The attribute.
        name: String,
    },
    /// An extended attribute whose name or value is longer than Linux allows.
    #[error("the extended attribute `{name}` of `{path}` has {len} bytes, more than {max}")]
    XattrTooLong {
        /// The entry.
        path: TreePath,
        /// The attribute.
        name: String,
        /// The length of its name or value in bytes.
        len: usize,
        /// The limit that it exceeds.
        max: usize,
    },
    /// A table outgrows the field that points into it or counts it.
    #[error("the {table} table has {len} bytes or entries, more than {max}")]
    TableTooLarge {
        /// The table.
        table: &'static str,
        /// What it would have.
        len: u64,
        /// What it can have.
        max: u64,
    },
    /// The content of a file cannot be had.
    #[error("reading `{path}`")]
    Read {
        /// The file.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The compressor gave up: it has no memory.
    #[error("compressing")]
    Compress(#[source] io::Error),
    /// The file system cannot be put where it belongs.
    #[error("writing the file system")]
    Write(#[source] io::Error),
}
