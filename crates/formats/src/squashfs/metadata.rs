//! Metadata: streams of records in compressed blocks of 8 KiB.
//!
//!   │ u16 header │ ≤ 8 KiB, stored │ u16 header │ … │           header: stored length, bit 15 set if not compressed
//!
//! A *table* is such a stream of fixed-size records and, behind it, the position of each of its blocks.
//!
//!   │ blocks … │ u64 position of block 0 │ u64 position of block 1 │ …
//!              ↑ what the superblock points to
//!
//! Source: Linux `Documentation/filesystems/squashfs.rst`, §3.

use std::cell::RefCell;
use std::rc::Rc;

use super::compress::{Compressor, Form};
use super::{Error, Options};

/// Bytes of records in one metadata block.
pub(super) const METADATA_LEN: u32 = 8192;
const BLOCK_LEN: usize = METADATA_LEN as usize;
/// Set in the header of a block that is not compressed.
const RAW: u16 = 0x8000;

/// Where a record is: the position of its block in the table and its offset in the decompressed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) block: u32,
    pub(super) offset: u16,
}

impl Reference {
    /// Both parts in one number, as inodes are named.
    pub(super) fn packed(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// The compressor of all tables. To make one takes longer than to compress a small table.
#[derive(Clone)]
pub(super) struct Codec(Rc<RefCell<Compressor>>);

/// A stream of records being written.
pub(super) struct Metadata {
    name: &'static str,
    codec: Codec,
    /// Records of the block that is not full yet.
    open: Vec<u8>,
    blocks: Vec<u8>,
    stored: Vec<u8>,
    positions: Vec<u64>,
}

impl Codec {
    /// A compressor for blocks of metadata.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self(Rc::new(RefCell::new(Compressor::of(options, METADATA_LEN)?))))
    }
}

impl Metadata {
    /// An empty stream; `name` is what errors call it.
    pub(super) fn new(name: &'static str, codec: &Codec) -> Self {
        let codec = codec.clone();
        let open = Vec::with_capacity(BLOCK_LEN);
        Self { name, codec, open, blocks: Vec::new(), stored: Vec::new(), positions: Vec::new() }
    }

    /// Where the next record will be.
    pub(super) fn reference(&self) -> Result<Reference, Error> {
        let block = u32::try_from(self.blocks.len()).map_err(|_| Error::TableTooLarge {
            table: self.name,
            len: self.blocks.len() as u64,
            max: u64::from(u32::MAX),
        })?;
        let offset = u16::try_from(self.open.len()).expect("a full block is closed at once");
        Ok(Reference { block, offset })
    }

    /// Adds records; they may cross from one block into the next.
    pub(super) fn write(&mut self, mut records: &[u8]) -> Result<(), Error> {
        while !records.is_empty() {
            let room = BLOCK_LEN - self.open.len();
            let (now, later) = records.split_at(room.min(records.len()));
            self.open.extend_from_slice(now);
            records = later;
            if self.open.len() == BLOCK_LEN {
                self.close()?;
            }
        }
        Ok(())
    }

    /// All blocks.
    pub(super) fn finish(self) -> Result<Vec<u8>, Error> {
        Ok(self.finish_with_positions()?.0)
    }

    /// All blocks and the position of each.
    pub(super) fn finish_with_positions(mut self) -> Result<(Vec<u8>, Vec<u64>), Error> {
        if !self.open.is_empty() {
            self.close()?;
        }
        Ok((self.blocks, self.positions))
    }

    fn close(&mut self) -> Result<(), Error> {
        let form = self.codec.0.borrow_mut().compress(&self.open, &mut self.stored)?;
        let len = u16::try_from(self.stored.len()).expect("a stored block has at most 8 KiB");
        let header = if form == Form::Raw { len | RAW } else { len };
        self.positions.push(self.blocks.len() as u64);
        self.blocks.extend_from_slice(&header.to_le_bytes());
        self.blocks.extend_from_slice(&self.stored);
        self.open.clear();
        Ok(())
    }
}

/// A table of `entries` that begins at position `at`, and the position of its index.
pub(super) fn table(
    name: &'static str,
    entries: &[u8],
    at: u64,
    codec: &Codec,
) -> Result<(Vec<u8>, u64), Error> {
    let mut metadata = Metadata::new(name, codec);
    metadata.write(entries)?;
    let (mut bytes, positions) = metadata.finish_with_positions()?;
    let index = at + bytes.len() as u64;
    bytes.extend(positions.iter().flat_map(|position| (at + position).to_le_bytes()));
    Ok((bytes, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::squashfs::Compression;

    fn codec() -> Codec {
        Codec::new(&Options::new(Compression::Zstd { level: 1 })).unwrap()
    }

    fn metadata() -> Metadata {
        Metadata::new("test", &codec())
    }

    #[test]
    fn a_record_that_fills_a_block_puts_the_next_into_a_new_one() {
        let mut metadata = metadata();
        assert_eq!(metadata.reference().unwrap(), Reference { block: 0, offset: 0 });
        metadata.write(&[1; 8191]).unwrap();
        assert_eq!(metadata.reference().unwrap(), Reference { block: 0, offset: 8191 });
        metadata.write(&[1]).unwrap();
        let second = metadata.reference().unwrap();
        assert!(second.block > 0 && second.offset == 0, "{second:?}");
        metadata.write(&[1; 3]).unwrap();
        let (blocks, positions) = metadata.finish_with_positions().unwrap();
        assert_eq!(positions, [0, u64::from(second.block)]);
        assert_eq!(&blocks[second.block as usize..], [3, 0x80, 1, 1, 1]);
    }

    #[test]
    fn a_table_ends_with_the_positions_of_its_blocks() {
        let codec = codec();
        let (bytes, index) = table("test", &[0; 8193], 1000, &codec).unwrap();
        let tail = &bytes[usize::try_from(index - 1000).unwrap()..];
        assert_eq!(tail.len(), 16);
        assert_eq!(tail[..8], 1000u64.to_le_bytes());
        assert_eq!(tail[8..], (index - 3).to_le_bytes());
    }
}
