//! Files of equal content.
//!
//! Only files of one length can be equal, only those that begin alike are read whole, and only an equal SHA-256
//! of all blocks makes them equal. So most files are not read for this at all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use extent::{Blobs, Digest, ExtentMap, read_at};

use super::Error;
use super::nodes::File;
use super::sparse::{is_zero, zero_blocks};

/// Bytes at the beginning that are compared first. A build identifier or a size table tells most binaries of
/// equal length apart there.
const HEAD_LEN: u64 = 4096;

/// The files met so far.
pub(super) struct Duplicates<'a> {
    files: &'a [File<'a>],
    blobs: &'a dyn Blobs,
    /// How many files have each length.
    lengths: HashMap<u64, u32>,
    met: HashMap<(u64, Digest), Met>,
    buffer: Vec<u8>,
}

/// Files of one length and beginning.
enum Met {
    /// One, not read yet.
    One(usize),
    /// Several, each of other content.
    Many(HashMap<Digest, usize>),
}

impl<'a> Duplicates<'a> {
    pub(super) fn new(files: &'a [File<'a>], block_size: u32, blobs: &'a dyn Blobs) -> Self {
        let mut lengths = HashMap::new();
        for file in files {
            *lengths.entry(file.content.len()).or_insert(0) += 1;
        }
        let buffer = vec![0; usize::try_from(block_size).expect("a block is in memory")];
        Self { files, blobs, lengths, met: HashMap::new(), buffer }
    }

    /// The first of the files met so far with the content of `file`; if there is none, `file` is met now.
    pub(super) fn earlier(&mut self, file: usize) -> Result<Option<usize>, Error> {
        let content = self.files[file].content;
        let len = content.len();
        if len == 0 || self.lengths.get(&len).is_none_or(|count| *count < 2) {
            return Ok(None);
        }
        let head = self.digest(file, 0, len.min(HEAD_LEN))?;
        let first = match self.met.entry((len, head)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Met::One(file));
                return Ok(None);
            }
            Entry::Occupied(occupied) => match occupied.get() {
                Met::One(first) => Some(*first),
                Met::Many(_) => None,
            },
        };
        if let Some(first) = first {
            if len <= HEAD_LEN || self.files[first].content == content {
                return Ok(Some(first));
            }
            let whole = self.whole(first)?;
            self.met.insert((len, head), Met::Many(HashMap::from([(whole, first)])));
        }
        let whole = self.whole(file)?;
        let Some(Met::Many(met)) = self.met.get_mut(&(len, head)) else { unreachable!("put there above") };
        match met.entry(whole) {
            Entry::Occupied(occupied) => Ok(Some(*occupied.get())),
            Entry::Vacant(vacant) => {
                vacant.insert(file);
                Ok(None)
            }
        }
    }

    /// The digest of a file's blocks: number and digest of each that is not zeros, so that neither a hole nor
    /// the way it is described counts.
    fn whole(&mut self, file: usize) -> Result<Digest, Error> {
        let content: &ExtentMap = self.files[file].content;
        let block_len = self.buffer.len() as u64;
        let mut holes = zero_blocks(content, block_len).peekable();
        let mut blocks = Vec::new();
        let mut block = 0;
        while block * block_len < content.len() {
            if let Some(hole) = holes.next_if(|hole| hole.contains(&block)) {
                block = hole.end;
                continue;
            }
            let len = block_len.min(content.len() - block * block_len);
            let digest = self.digest(file, block * block_len, len)?;
            if !is_zero(&self.buffer[..usize::try_from(len).expect("a block is in memory")]) {
                blocks.extend_from_slice(&block.to_le_bytes());
                blocks.extend_from_slice(digest.as_bytes());
            }
            block += 1;
        }
        Ok(Digest::of(&blocks))
    }

    /// Reads a part of `file` into the buffer and digests it.
    fn digest(&mut self, file: usize, offset: u64, len: u64) -> Result<Digest, Error> {
        let File { path, content } = self.files[file];
        let buffer = &mut self.buffer[..usize::try_from(len).expect("a block is in memory")];
        read_at(content, offset, buffer, self.blobs)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        Ok(Digest::of(buffer))
    }
}
