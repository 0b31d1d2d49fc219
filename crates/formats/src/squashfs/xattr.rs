//! Extended attributes: sets shared by the inodes that have the same.
//!
//!   │ attributes of set 0 … │ set 0  set 1 … │ u64 start  u32 count  u32 0 │ u64 position of block of sets … │
//!   └──── metadata ─────────┴── metadata ────┘↑ what the superblock points to
//!
//!   attribute: │ u16 name space │ u16 len │ name without prefix │ u32 len │ value │
//!   set:       │ u64 reference of its first attribute │ u32 count │ u32 length of full names, NULs and values │
//!
//! Source: Linux `fs/squashfs/squashfs_fs.h` and `xattr.c`; the length of a set as squashfs-tools 4.5.1 counts.

use std::collections::{BTreeMap, HashMap};

use bytes::BufMut;
use extent::TreePath;

use super::Error;
use super::metadata::{self, Codec, Metadata};

/// The attributes of one inode.
type Attributes = BTreeMap<String, Vec<u8>>;

/// The name spaces, by their number.
const PREFIXES: [&str; 3] = ["user.", "trusted.", "security."];
/// Linux' `XATTR_NAME_MAX`.
const MAX_NAME_LEN: usize = 255;
/// Linux' `XATTR_SIZE_MAX`.
const MAX_VALUE_LEN: usize = 65536;

/// The different sets of attributes in a file system.
#[derive(Default)]
pub(super) struct Sets<'a> {
    numbers: HashMap<&'a Attributes, u32>,
    sets: Vec<&'a Attributes>,
}

impl<'a> Sets<'a> {
    /// The number of the set `attributes`, which belongs to `path`; none if it is empty.
    pub(super) fn of(&mut self, path: &TreePath, attributes: &'a Attributes) -> Result<Option<u32>, Error> {
        if attributes.is_empty() {
            return Ok(None);
        }
        if let Some(number) = self.numbers.get(attributes) {
            return Ok(Some(*number));
        }
        for (name, value) in attributes {
            check(path, name, value)?;
        }
        let number = u32::try_from(self.sets.len()).expect("there are no more sets than inodes");
        self.numbers.insert(attributes, number);
        self.sets.push(attributes);
        Ok(Some(number))
    }

    /// Whether no inode has attributes.
    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The table, which begins at position `at`, and the position of its header.
    pub(super) fn table(&self, at: u64, codec: &Codec) -> Result<(Vec<u8>, u64), Error> {
        let mut attributes = Metadata::new("xattr", codec);
        let mut entries = Vec::with_capacity(self.sets.len() * 16);
        for set in &self.sets {
            let reference = attributes.reference()?;
            let mut len = 0;
            for (name, value) in *set {
                attributes.write(&encode(name, value))?;
                len += name.len() + 1 + value.len();
            }
            entries.put_u64_le(reference.packed());
            entries.put_u32_le(field(set.len())?);
            entries.put_u32_le(field(len)?);
        }
        let mut bytes = attributes.finish()?;
        let (table, header) = metadata::table("xattr", &entries, at + bytes.len() as u64, codec)?;
        let blocks_end = usize::try_from(header - at).expect("the table is in memory") - bytes.len();
        let (blocks, index) = table.split_at(blocks_end);
        bytes.extend_from_slice(blocks);
        bytes.put_u64_le(at);
        bytes.put_u32_le(field(self.sets.len())?);
        bytes.put_u32_le(0);
        bytes.extend_from_slice(index);
        Ok((bytes, header))
    }
}

fn field(len: usize) -> Result<u32, Error> {
    let max = u64::from(u32::MAX);
    u32::try_from(len).map_err(|_| Error::TableTooLarge { table: "xattr", len: len as u64, max })
}

fn space(name: &str) -> Option<(u16, &str)> {
    (0..).zip(PREFIXES).find_map(|(number, prefix)| Some((number, name.strip_prefix(prefix)?)))
}

fn check(path: &TreePath, name: &str, value: &[u8]) -> Result<(), Error> {
    if space(name).is_none_or(|(_, rest)| rest.is_empty() || rest.contains('\0')) {
        return Err(Error::XattrName { path: path.clone(), name: name.to_owned() });
    }
    for (len, max) in [(name.len(), MAX_NAME_LEN), (value.len(), MAX_VALUE_LEN)] {
        if len > max {
            return Err(Error::XattrTooLong { path: path.clone(), name: name.to_owned(), len, max });
        }
    }
    Ok(())
}

fn encode(name: &str, value: &[u8]) -> Vec<u8> {
    let (space, rest) = space(name).expect("names were checked");
    let mut entry = Vec::with_capacity(8 + rest.len() + value.len());
    entry.put_u16_le(space);
    entry.put_u16_le(u16::try_from(rest.len()).expect("names were checked"));
    entry.extend_from_slice(rest.as_bytes());
    entry.put_u32_le(u32::try_from(value.len()).expect("values were checked"));
    entry.extend_from_slice(value);
    entry
}
