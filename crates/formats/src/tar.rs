//! tar archives: the layers of OCI images.
//!
//! Reads old, ustar, GNU and PAX archives as they come and writes ustar with PAX headers where they are
//! needed. Does not know compression, sparse files, multiple volumes or the times of single entries, and
//! gives whiteouts no meaning: the `extensions` room does.
//!
//!   0        512                                      every part padded with zeros to 512
//!   │ header │ data … │ PAX header │ records │ header │ data … │ … │ 1024 zeros
//!
//! Source: IEEE Std 1003.1-2017, `pax`, "pax Interchange Format" and "ustar Interchange Format"; GNU tar
//! manual, "Basic Tar Format"; OCI image specification 1.1, layer, "Change Types".

use extent::{TreeError, TreePath};

mod extended;
mod read;
mod write;

pub use read::{Layer, layer, read};
pub use write::archive;

/// What every part begins at a multiple of.
const BLOCK_LEN: u64 = 512;
/// What precedes the name of an extended attribute in the key of a PAX record.
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// Why bytes are no archive, or a tree cannot be one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive cannot be read.
    #[error("reading the archive")]
    Read(#[source] std::io::Error),
    /// The archive ends within an entry.
    #[error("the archive ends within the entry at byte {offset}")]
    Truncated {
        /// Where the header of the entry is.
        offset: u64,
    },
    /// A header does not have the checksum that it states.
    #[error("no tar header at byte {offset}")]
    Checksum {
        /// Where the header should be.
        offset: u64,
    },
    /// A field is not a number, too large, or not text.
    #[error("the {field} in the header at byte {offset} is not valid")]
    Field {
        /// Where the header is.
        offset: u64,
        /// The field.
        field: &'static str,
    },
    /// A PAX header is not a list of records, or a global one would change entries.
    #[error("the PAX header at byte {offset} is not valid")]
    Pax {
        /// Where the header is.
        offset: u64,
    },
    /// An entry is of a kind that no file system tree has.
    #[error("`{path}` is of type `{kind}`, which is not supported")]
    Kind {
        /// The entry.
        path: String,
        /// Its type, escaped.
        kind: String,
    },
    /// A file is stored sparse.
    #[error("`{path}` is stored as a sparse file, which is not supported")]
    Sparse {
        /// The file.
        path: String,
    },
    /// A path is absolute, or names the root where only a directory can be.
    #[error("`{path}` is not a path below the root")]
    Path {
        /// The path.
        path: String,
    },
    /// An entry cannot be in a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A path is there twice, and not both times as a directory.
    #[error("`{path}` is in the archive twice")]
    Duplicate {
        /// The path.
        path: TreePath,
    },
    /// A hard link leads to no regular file in front of it.
    #[error("`{path}` is a hard link to `{target}`, which is not a regular file in front of it")]
    HardLink {
        /// The link.
        path: TreePath,
        /// Where it leads.
        target: TreePath,
    },
    /// A hard link leads to a file behind it, or in a lower layer: nobody can say which.
    #[error("`{path}` is behind a hard link to it")]
    LinkedBefore {
        /// The entry.
        path: TreePath,
    },
    /// Directories lie deeper in one another than those of any image.
    #[error("`{path}` lies more than {max} directories deep")]
    TooDeep {
        /// The beginning of the path.
        path: String,
        /// The limit.
        max: usize,
    },
    /// The archive has more entries than any image.
    #[error("the archive has more than {max} entries")]
    TooManyEntries {
        /// The limit.
        max: usize,
    },
    /// The names and attributes of the archive are longer than those of any image.
    #[error("the archive has more than {max} bytes of names and attributes")]
    TooMuchText {
        /// The limit.
        max: u64,
    },
    /// An extended attribute has a name that a PAX record cannot carry.
    #[error("`{path}` has an extended attribute `{name}`, which tar cannot carry")]
    Xattr {
        /// The entry.
        path: TreePath,
        /// The attribute.
        name: String,
    },
    /// A device number has more than 21 bits.
    #[error("`{path}` has device number {number}; tar takes at most {max}")]
    Device {
        /// The device.
        path: TreePath,
        /// Its major or minor number.
        number: u32,
        /// The limit.
        max: u32,
    },
    /// A socket has no form in an archive.
    #[error("`{path}` is a socket, which tar cannot carry")]
    Socket {
        /// The socket.
        path: TreePath,
    },
}

#[cfg(test)]
mod tests;
