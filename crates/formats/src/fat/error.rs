//! What FAT cannot hold.

use extent::TreePath;

/// Why a tree cannot be a volume.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Sectors have 512 or 4096 bytes.
    #[error("a sector of {sector_size} bytes is neither of 512 nor of 4096")]
    SectorSize {
        /// The length asked for.
        sector_size: u32,
    },
    /// Clusters have 1, 2, 4 … 128 sectors.
    #[error("{sectors_per_cluster} sectors per cluster are not a power of two")]
    ClusterSize {
        /// The number asked for.
        sectors_per_cluster: u8,
    },
    /// The label is too long or has characters that a label cannot have.
    #[error("`{label}` is not a volume label")]
    Label {
        /// The label.
        label: String,
    },
    /// The tree does not fit, or the clusters are too few for FAT32.
    #[error("a volume of {len} bytes is too small, {needed} bytes are enough")]
    TooSmall {
        /// The volume's length in bytes.
        len: u64,
        /// A length in bytes, in whole MiB, that does.
        needed: u64,
    },
    /// Sector numbers have 32 bits.
    #[error("a volume of {len} bytes is too large, {max} is the most")]
    TooLarge {
        /// The volume's length in bytes.
        len: u64,
        /// The greatest length in bytes.
        max: u64,
    },
    /// Cluster numbers have 28 bits.
    #[error("{clusters} clusters are more than {max}: they must be larger")]
    TooManyClusters {
        /// How many there would be.
        clusters: u32,
        /// How many there can be.
        max: u32,
    },
    /// The length of a file has 32 bits.
    #[error("`{path}` has {len} bytes, more than {max}")]
    FileTooLarge {
        /// The file.
        path: TreePath,
        /// Its length in bytes.
        len: u64,
        /// The greatest length in bytes.
        max: u64,
    },
    /// Drivers number the entries of a directory with 16 bits.
    #[error("directory `{path}` takes {entries} entries, more than {max}")]
    DirectoryTooLarge {
        /// The directory.
        path: TreePath,
        /// How many entries its names take.
        entries: u64,
        /// How many there can be.
        max: u64,
    },
    /// A name has characters that FAT cannot hold, or ends with a dot or a space.
    #[error("`{path}` has a name that FAT cannot hold")]
    Name {
        /// The entry.
        path: TreePath,
    },
    /// Two names differ in case only.
    #[error("`{path}` and `{other}` are the same name to FAT")]
    NameClash {
        /// The later of the two.
        path: TreePath,
        /// The earlier.
        other: TreePath,
    },
    /// FAT has regular files and directories.
    #[error("`{path}` is a {kind}, which FAT cannot hold")]
    Unsupported {
        /// The entry.
        path: TreePath,
        /// What it is.
        kind: &'static str,
    },
    /// A hard link leads to nothing.
    #[error("`{path}` is a link to `{target}`, which is not a file")]
    Dangling {
        /// The link.
        path: TreePath,
        /// Where it leads.
        target: TreePath,
    },
}
