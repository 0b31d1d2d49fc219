//! Reading: an archive becomes a tree whose files are ranges of it.
//!
//! Headers are decoded by the `tar` crate. The walk is ours: it needs the offset of every file's data, bounds
//! on what is kept in memory, and PAX records with newlines in them, which extended attributes have.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read};

use ::tar::{EntryType, Header};
use extent::{Digest, ExtentMap, Kind, Node, Tree, TreePath};

use super::extended::{Extension, long};
use super::{BLOCK_LEN, Error};

/// The most entries of an archive: several times those of the largest distribution images.
const ENTRIES_MAX: usize = 1_000_000;
/// The most directories in one another. Trees of packages within packages have sixty; a reader that walks a tree
/// by calling itself still can.
const DEPTH_MAX: usize = 256;
/// The most bytes of names, targets and attributes of an archive, which are kept in memory.
const TEXT_LEN_MAX: u64 = 256 << 20;
/// What an entry takes in memory beside its texts, about.
pub(super) const NODE_LEN: u64 = 256;
/// The longest PAX header or GNU long name: an extended attribute has at most 64 KiB (`XATTR_SIZE_MAX`).
const EXTENSION_LEN_MAX: u64 = 1 << 20;
/// The longest target of a symbolic link: `PATH_MAX` without its NUL.
const TARGET_LEN_MAX: usize = 4095;

/// What the archive of a layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The entries, whiteouts among them. A hard link to a path that is not here is one to a file of a layer below.
    pub tree: Tree,
    /// Directories of `tree` that only hold others: the archive does not state them, and a layer below may.
    pub implied: BTreeSet<TreePath>,
}

/// The tree that the archive `input` describes, its files being ranges of `blob`, whose bytes `input` gives.
///
/// The archive may end without its blocks of zeros, as some tools write it and all read it. A hard link leads
/// to the entry that holds the file. Owners' names and all times are passed over.
///
/// # Errors
/// All of [`Error`] but those of writing.
pub fn read(input: impl Read, blob: Digest) -> Result<Tree, Error> {
    let Layer { tree, .. } = layer(input, blob)?;
    for (path, node) in tree.iter() {
        if let Kind::HardLink(target) = &node.kind
            && tree.get(target).is_none()
        {
            return Err(Error::HardLink { path: path.clone(), target: target.clone() });
        }
    }
    Ok(tree)
}

/// The layer that the archive `input` describes: as [`read`] has it, but that hard links may lead out of it.
///
/// # Errors
/// As [`read`]. A hard link to a file behind it is refused here too: it could mean the file of a lower layer.
pub fn layer(input: impl Read, blob: Digest) -> Result<Layer, Error> {
    let mut archive = Archive { input: io::BufReader::with_capacity(256 << 10, input), offset: 0 };
    let mut tree = Growing {
        layer: Layer { tree: Tree::new(), implied: BTreeSet::from([TreePath::root()]) },
        outer: HashSet::new(),
        text_len: 0,
    };
    let mut headers = 0;
    let mut extension = Extension::default();
    while let Some((header, offset)) = archive.header()? {
        headers += 1;
        // An entry may have three headers of extensions.
        if headers > 4 * ENTRIES_MAX {
            return Err(Error::TooManyEntries { max: ENTRIES_MAX });
        }
        let size = header.entry_size().map_err(|_| Error::Field { offset, field: "length" })?;
        match header.entry_type() {
            EntryType::XHeader => extension.records(&archive.extension(size, offset)?, offset)?,
            EntryType::XGlobalHeader => {
                // Git writes one with a comment. Anything that would hold for all entries is refused.
                let mut global = Extension::default();
                global.records(&archive.extension(size, offset)?, offset)?;
                if global != Extension::default() {
                    return Err(Error::Pax { offset });
                }
            }
            EntryType::GNULongName => extension.path = Some(long(archive.extension(size, offset)?)),
            EntryType::GNULongLink => extension.target = Some(long(archive.extension(size, offset)?)),
            _ => {
                let extension = std::mem::take(&mut extension);
                tree.kept(extension.text_len())?;
                let entry = Entry { header: &header, offset, extension };
                entry.insert(&mut tree, &mut archive, blob)?;
            }
        }
        // Headers without an entry are kept as well.
        if extension.text_len() > TEXT_LEN_MAX {
            return Err(Error::TooMuchText { max: TEXT_LEN_MAX });
        }
    }
    Ok(tree.layer)
}

/// A layer being read.
struct Growing {
    layer: Layer,
    /// Where hard links lead that lead out of the archive.
    outer: HashSet<TreePath>,
    /// Bytes of names and attributes.
    text_len: u64,
}

impl Growing {
    /// Counts `len` bytes that stay.
    fn kept(&mut self, len: u64) -> Result<(), Error> {
        self.text_len += len;
        if self.text_len > TEXT_LEN_MAX {
            return Err(Error::TooMuchText { max: TEXT_LEN_MAX });
        }
        Ok(())
    }

    fn insert(&mut self, path: TreePath, node: Node) -> Result<(), Error> {
        if path.as_str().split('/').count() > DEPTH_MAX {
            return Err(Error::TooDeep { path: path.as_str().chars().take(200).collect(), max: DEPTH_MAX });
        }
        if let Some(there) = self.layer.tree.get(&path)
            && (there.kind != Kind::Directory || node.kind != Kind::Directory)
        {
            return Err(Error::Duplicate { path });
        }
        if self.outer.contains(&path) {
            return Err(Error::LinkedBefore { path });
        }
        self.layer.implied.remove(&path);
        let mut above = path.parent();
        while let Some(parent) = above.filter(|parent| self.layer.tree.get(parent).is_none()) {
            // A few bytes in an archive can imply many directories.
            self.kept(parent.as_str().len() as u64 + NODE_LEN)?;
            above = parent.parent();
            self.layer.implied.insert(parent);
        }
        self.layer.tree.insert(path, node)?;
        if self.layer.tree.len() > ENTRIES_MAX + 1 {
            return Err(Error::TooManyEntries { max: ENTRIES_MAX });
        }
        Ok(())
    }
}

/// An archive being read.
struct Archive<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Archive<R> {
    /// The next header and where it is; none at the end.
    fn header(&mut self) -> Result<Option<(Header, u64)>, Error> {
        let offset = self.offset;
        let Some(block) = self.block(offset)? else { return Ok(None) };
        if block == [0; 512] {
            return match self.block(offset)? {
                None => Ok(None),
                Some(second) if second == [0; 512] => Ok(None),
                Some(_) => Err(Error::Checksum { offset }),
            };
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum counts its own field as spaces.
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|&byte| u32::from(byte)).sum();
        match header.cksum() {
            Ok(stated) if stated == sum + 8 * 32 => Ok(Some((header, offset))),
            _ => Err(Error::Checksum { offset }),
        }
    }

    /// The next block; none at the end.
    fn block(&mut self, entry: u64) -> Result<Option<[u8; 512]>, Error> {
        let mut block = [0; 512];
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Error::Truncated { offset: entry }),
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        self.offset += BLOCK_LEN;
        Ok(Some(block))
    }

    /// The data of an entry that describes the next one.
    fn extension(&mut self, size: u64, entry: u64) -> Result<Vec<u8>, Error> {
        if size > EXTENSION_LEN_MAX {
            return Err(Error::Field { offset: entry, field: "length" });
        }
        let mut data = vec![];
        self.input.by_ref().take(size).read_to_end(&mut data).map_err(Error::Read)?;
        self.offset += data.len() as u64;
        if (data.len() as u64) < size {
            return Err(Error::Truncated { offset: entry });
        }
        self.skip(size.next_multiple_of(BLOCK_LEN) - size, entry)?;
        Ok(data)
    }

    /// Passes over `len` bytes.
    fn skip(&mut self, len: u64, entry: u64) -> Result<(), Error> {
        let skipped = io::copy(&mut self.input.by_ref().take(len), &mut io::sink()).map_err(Error::Read)?;
        self.offset += skipped;
        if skipped < len {
            return Err(Error::Truncated { offset: entry });
        }
        Ok(())
    }
}

/// A header with all that is said of its entry.
struct Entry<'a> {
    header: &'a Header,
    offset: u64,
    extension: Extension,
}

impl Entry<'_> {
    /// Puts the entry into `tree` and passes over its data.
    fn insert(
        mut self,
        tree: &mut Growing,
        archive: &mut Archive<impl Read>,
        blob: Digest,
    ) -> Result<(), Error> {
        let name = self.extension.path.take().unwrap_or_else(|| self.header.path_bytes().into_owned());
        let shown = || name.escape_ascii().to_string();
        let kind = self.header.entry_type();
        if self.extension.sparse || kind == EntryType::GNUSparse {
            return Err(Error::Sparse { path: shown() });
        }
        let path = self.path(&name)?;
        let number = |number: io::Result<u64>, field| {
            let number = number.ok().and_then(|number| u32::try_from(number).ok());
            number.ok_or(Error::Field { offset: self.offset, field })
        };
        let mode = number(self.header.mode().map(u64::from), "mode")?;
        let uid = number(self.extension.uid.map_or_else(|| self.header.uid(), Ok), "owner")?;
        let gid = number(self.extension.gid.map_or_else(|| self.header.gid(), Ok), "group")?;

        let kind = match kind {
            // Old archives have no type for directories.
            EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let size = self.extension.size.map_or_else(|| self.header.entry_size(), Ok);
                let size = size.map_err(|_| Error::Field { offset: self.offset, field: "length" })?;
                let padded = size
                    .checked_next_multiple_of(BLOCK_LEN)
                    .filter(|padded| archive.offset.checked_add(*padded).is_some())
                    .ok_or(Error::Truncated { offset: self.offset })?;
                let content = ExtentMap::blob(blob, archive.offset, size);
                archive.skip(padded, self.offset)?;
                Kind::File(content)
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(self.symlink_target()?),
            EntryType::Link => {
                let target = self.path(&self.target())?;
                match tree.layer.tree.get(&target) {
                    Some(Node { kind: Kind::File(_), .. }) => Kind::HardLink(target),
                    Some(Node { kind: Kind::HardLink(file), .. }) => Kind::HardLink(file.clone()),
                    Some(Node { kind: Kind::Directory, .. }) => {
                        return Err(Error::HardLink { path, target });
                    }
                    // Of what has no content a second name is as good as a copy.
                    Some(other) => {
                        let other = other.clone();
                        tree.kept(
                            other.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
                                as u64,
                        )?;
                        return tree.insert(path, other);
                    }
                    None if target == path => return Err(Error::HardLink { path, target }),
                    None => {
                        tree.kept(target.as_str().len() as u64)?;
                        tree.outer.insert(target.clone());
                        Kind::HardLink(target)
                    }
                }
            }
            EntryType::Char => {
                let (major, minor) = self.device()?;
                Kind::CharDevice { major, minor }
            }
            EntryType::Block => {
                let (major, minor) = self.device()?;
                Kind::BlockDevice { major, minor }
            }
            EntryType::Fifo => Kind::Fifo,
            other => {
                let kind = other.as_byte().escape_ascii().to_string();
                return Err(Error::Kind { path: shown(), kind });
            }
        };
        if path == TreePath::root() && kind != Kind::Directory {
            return Err(Error::Path { path: shown() });
        }
        let mode = u16::try_from(mode & 0o7777).expect("twelve bits");
        tree.insert(path, Node { kind, mode, uid, gid, xattrs: self.extension.xattrs })
    }

    fn path(&self, name: &[u8]) -> Result<TreePath, Error> {
        let text =
            std::str::from_utf8(name).map_err(|_| Error::Field { offset: self.offset, field: "name" })?;
        if text.starts_with('/') || text.is_empty() {
            return Err(Error::Path { path: text.chars().take(200).collect() });
        }
        Ok(TreePath::parse(text)?)
    }

    fn target(&self) -> Vec<u8> {
        let stated = self.extension.target.clone();
        stated.unwrap_or_else(|| self.header.link_name_bytes().unwrap_or_default().into_owned())
    }

    fn symlink_target(&self) -> Result<String, Error> {
        let target = self.target();
        let valid = !target.is_empty() && target.len() <= TARGET_LEN_MAX && !target.contains(&0);
        let target = String::from_utf8(target).ok().filter(|_| valid);
        target.ok_or(Error::Field { offset: self.offset, field: "target" })
    }

    fn device(&self) -> Result<(u32, u32), Error> {
        let number = |number: io::Result<Option<u32>>| {
            number.ok().flatten().ok_or(Error::Field { offset: self.offset, field: "device number" })
        };
        Ok((number(self.header.device_major())?, number(self.header.device_minor())?))
    }
}
