//! The compressed form of a blob: a frame whose blocks can be put into another frame.

use std::ops::Range;

use extent::Digest;
use serde::{Deserialize, Serialize};

use super::reader::Reader;
use super::tables::{Fault, Tables};
use super::{BLOCK_LEN_MAX, MAGIC, WINDOW_LEN, block};

/// A compressed frame, kept as a blob, whose blocks stand for another blob's content.
///
/// A description: whoever has it finds the blocks in the blob without looking into it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// The blob that is the compressed frame.
    pub digest: Digest,
    /// Length in bytes of what the frame decompresses to.
    pub content_len: u64,
    /// Where in the blob the blocks lie that are not marked as the last, headers included.
    pub(super) blocks: Range<u64>,
    /// The block that is, unless it is empty: its header without the mark, and where its body lies.
    pub(super) last: Option<(u32, Range<u64>)>,
}

/// Why bytes are not a frame whose blocks can be put into another.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The frame ends before its last block does.
    #[error("the frame ends at {len}, within its part at {offset}")]
    Truncated {
        /// Where the part begins that is not whole.
        offset: u64,
        /// Length of the bytes.
        len: u64,
    },
    /// The bytes are not a frame of Zstandard: they may be a skippable one.
    #[error("a frame begins with {MAGIC:08x}, not with {magic:08x}")]
    Magic {
        /// What they begin with.
        magic: u32,
    },
    /// The header has a bit that no version of the format defines.
    #[error("the frame header {descriptor:02x} has its reserved bit set")]
    Reserved {
        /// The frame header's descriptor.
        descriptor: u8,
    },
    /// The frame needs a dictionary, which our frame does not have.
    #[error("the frame needs a dictionary")]
    Dictionary,
    /// The frame does not say how much it decompresses to.
    #[error("the frame does not say the length of its content")]
    NoContentLength,
    /// The frame looks further back than ours allows.
    #[error("the frame has a window of {len} bytes, more than {max}")]
    WindowTooLarge {
        /// The window's length in bytes.
        len: u64,
        /// The most that fits ours.
        max: u64,
    },
    /// A block is longer than the frame allows.
    #[error("the block at {offset} has {len} bytes, more than {max}")]
    BlockTooLarge {
        /// Where its header begins.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The frame's limit.
        max: u64,
    },
    /// A block is of no type, or its sections do not fit it.
    #[error("the block at {offset} is malformed")]
    Block {
        /// Where its header begins.
        offset: u64,
    },
    /// A block uses tables that no block before it defines: a dictionary's, or those of another frame.
    #[error("the block at {offset} uses tables that no block before it has")]
    Tables {
        /// Where its header begins.
        offset: u64,
    },
    /// The blocks cannot decompress to as much or as little as the header says.
    #[error("the blocks decompress to {least} to {most} bytes, not to {len}")]
    ContentLength {
        /// What the header says.
        len: u64,
        /// The least that the blocks give.
        least: u64,
        /// The most that they give.
        most: u64,
    },
    /// Something follows the frame, another one perhaps.
    #[error("{len} bytes follow the frame")]
    Trailing {
        /// How many bytes.
        len: u64,
    },
}

/// A frame of `bytes` from which a form can be made: level 18, no checksum, a window that fits ours.
///
/// The same bytes for the same input on any machine: one thread, one version of the library.
pub fn compress_blob(bytes: &[u8]) -> Vec<u8> {
    use ::zstd::zstd_safe::CParameter;
    let compressed = ::zstd::bulk::Compressor::new(18).and_then(|mut compressor| {
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LEN.ilog2()))?;
        compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
        compressor.set_parameter(CParameter::ChecksumFlag(false))?;
        compressor.compress(bytes)
    });
    compressed.expect("compressing memory into memory fails only for want of memory")
}

/// The form that the frame `compressed` is, which is the blob `digest`.
///
/// Reads headers only: a frame that is damaged within a block is taken, and so is one of other content. A form is
/// as trustworthy as who made the frame; [`compress_blob`] is.
///
/// A checksum at the end is left out of the form.
pub fn form(compressed: &[u8], digest: Digest) -> Result<Form, Error> {
    let mut reader = Reader::new(compressed);
    let header = header(&mut reader)?;
    let block_max = header.window_len.min(BLOCK_LEN_MAX);
    let first_block = reader.offset();
    let mut tables = Tables::default();
    let (mut least, mut most) = (0, 0);
    let (blocks_end, last) = loop {
        let offset = reader.offset();
        let value = u32::try_from(reader.number(3)?).expect("three bytes");
        let (is_last, kind, len) = (value & 1 == 1, value >> 1 & 3, u64::from(value >> 3));
        if len > block_max {
            return Err(Error::BlockTooLarge { offset, len, max: block_max });
        }
        let body_offset = reader.offset();
        match kind {
            block::RAW | block::RLE => {
                reader.take(if kind == block::RAW { len } else { 1 })?;
                least += len;
                most += len;
            }
            block::COMPRESSED => {
                let body = reader.take(len)?;
                tables.follow(body).map_err(|fault| match fault {
                    Fault::Malformed => Error::Block { offset },
                    Fault::Undefined => Error::Tables { offset },
                })?;
                most += block_max;
            }
            _ => return Err(Error::Block { offset }),
        }
        if is_last {
            let last = (len > 0).then(|| (value & !1, body_offset..reader.offset()));
            break (offset, last);
        }
    };
    if header.has_checksum {
        reader.take(4)?;
    }
    let len = header.content_len;
    if !(least..=most).contains(&len) {
        return Err(Error::ContentLength { len, least, most });
    }
    match reader.rest().len() as u64 {
        0 => Ok(Form { digest, content_len: len, blocks: first_block..blocks_end, last }),
        len => Err(Error::Trailing { len }),
    }
}

impl Form {
    /// Length in bytes that the blocks take in another frame; none if the description contradicts itself, as one
    /// read from a damaged file may.
    pub(super) fn spliced_len(&self) -> Option<u64> {
        let blocks = self.blocks.end.checked_sub(self.blocks.start)?;
        let Some((header, body)) = &self.last else { return Some(blocks) };
        let body_len = body.end.checked_sub(body.start)?;
        if header & 1 == 1 || *header >= 1 << 24 {
            return None;
        }
        blocks.checked_add(body_len)?.checked_add(3)
    }
}

struct Header {
    window_len: u64,
    content_len: u64,
    has_checksum: bool,
}

/// Reads the frame header.
///
/// Source: RFC 8878, §3.1.1.1.
fn header(reader: &mut Reader) -> Result<Header, Error> {
    let magic = u32::try_from(reader.number(4)?).expect("four bytes");
    if magic != MAGIC {
        return Err(Error::Magic { magic });
    }
    let descriptor = u8::try_from(reader.number(1)?).expect("one byte");
    if descriptor & 0x08 != 0 {
        return Err(Error::Reserved { descriptor });
    }
    if descriptor & 0x03 != 0 {
        return Err(Error::Dictionary);
    }
    let single_segment = descriptor & 0x20 != 0;
    let window = if single_segment { None } else { Some(reader.number(1)?) };
    let content_len = match (descriptor >> 6, single_segment) {
        (0, false) => return Err(Error::NoContentLength),
        (0, true) => reader.number(1)?,
        (1, _) => reader.number(2)? + 256,
        (2, _) => reader.number(4)?,
        _ => reader.number(8)?,
    };
    let window_len = window.map_or(content_len, |window| {
        let base = 1_u64 << (10 + (window >> 3));
        base + base / 8 * (window & 7)
    });
    if window_len > WINDOW_LEN {
        return Err(Error::WindowTooLarge { len: window_len, max: WINDOW_LEN });
    }
    Ok(Header { window_len, content_len, has_checksum: descriptor & 0x04 != 0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text-like bytes that compress into several blocks.
    fn prose(len: usize) -> Vec<u8> {
        let words = ["stub ", "section ", "cluster ", "extent ", "blob ", "overlay ", "schematic "];
        let mut state = 1_u32;
        let mut text = Vec::new();
        while text.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend(words[(state >> 24) as usize % words.len()].as_bytes());
            text.extend((state >> 16).to_string().as_bytes());
        }
        text.truncate(len);
        text
    }

    fn form_of(frame: &[u8]) -> Result<Form, Error> {
        form(frame, Digest::of(frame))
    }

    #[test]
    fn what_we_compress_has_a_form() {
        for len in [0, 1, 100, 70_000, 400_000] {
            let bytes = prose(len);
            let compressed = compress_blob(&bytes);
            let form = form_of(&compressed).unwrap();
            assert_eq!(form.content_len, len as u64);
            assert!(form.spliced_len().unwrap() < compressed.len() as u64);
            assert_eq!(::zstd::decode_all(&compressed[..]).unwrap(), bytes);
        }
    }

    #[test]
    fn a_checksum_and_an_empty_last_block_are_left_out() {
        use std::io::Write;
        let bytes = prose(300_000);
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.set_pledged_src_size(Some(300_000)).unwrap();
        encoder.write_all(&bytes).unwrap();
        encoder.flush().unwrap(); // so that nothing is left for the last block
        let compressed = encoder.finish().unwrap();
        assert_eq!(&compressed[compressed.len() - 7..compressed.len() - 4], &[1, 0, 0]);
        let form = form_of(&compressed).unwrap();
        assert_eq!(form.last, None);
        assert_eq!(form.blocks.end, compressed.len() as u64 - 7);
    }

    #[test]
    fn a_form_survives_its_text() {
        let form = form_of(&compress_blob(&prose(1000))).unwrap();
        let text = serde_json::to_string(&form).unwrap();
        assert_eq!(serde_json::from_str::<Form>(&text).unwrap(), form);
    }

    #[test]
    fn frames_that_do_not_fit_ours_are_refused() {
        let good = compress_blob(&prose(1000));
        let change = |at: usize, value: u8| {
            let mut frame = good.clone();
            frame[at] = value;
            frame
        };
        let header = |header: &[u8]| [&MAGIC.to_le_bytes(), header].concat();
        for (frame, error) in [
            (vec![], Error::Truncated { offset: 0, len: 0 }),
            (b"\x50\x2a\x4d\x18\0\0\0\0".to_vec(), Error::Magic { magic: 0x184d_2a50 }),
            (change(4, 0x68), Error::Reserved { descriptor: 0x68 }),
            (change(4, 0x61), Error::Dictionary),
            (header(&[0x00, 0x68]), Error::NoContentLength),
            (header(&[0x40, 0x69, 0, 0]), Error::WindowTooLarge { len: 9 << 20, max: 8 << 20 }),
            (header(&[0xe0, 0, 0, 0, 0, 0, 0, 0, 1]), Error::WindowTooLarge { len: 1 << 56, max: 8 << 20 }),
            (good[..good.len() - 1].to_vec(), Error::Truncated { offset: 10, len: good.len() as u64 - 1 }),
            ([&good[..], &[0]].concat(), Error::Trailing { len: 1 }),
            ([&good[..], &good[..]].concat(), Error::Trailing { len: good.len() as u64 }),
            // One block each: of the reserved type; too long; a claim that the blocks cannot meet.
            (header(&[0x20, 5, 0x07, 0, 0]), Error::Block { offset: 6 }),
            (header(&[0x20, 5, 0x31, 0, 0]), Error::BlockTooLarge { offset: 6, len: 6, max: 5 }),
            (header(&[0x20, 5, 0x21, 0, 0, 1, 2, 3, 4]), Error::ContentLength { len: 5, least: 4, most: 4 }),
            // Compressed: literals without a tree; sequences with the tables of the block before.
            (header(&[0x20, 9, 0x25, 0, 0, 0x03, 0, 0, 0]), Error::Tables { offset: 6 }),
            (header(&[0x20, 9, 0x1d, 0, 0, 0x00, 1, 0xfc]), Error::Tables { offset: 6 }),
            (header(&[0x20, 9, 0x05, 0, 0]), Error::Block { offset: 6 }),
        ] {
            assert_eq!(form_of(&frame), Err(error), "{frame:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = form_of(&[&MAGIC.to_le_bytes()[..], &bytes].concat());
        }

        #[test]
        fn a_damaged_frame_is_taken_or_refused(at in 0..3000usize, value: u8, cut in 0..3000usize) {
            let mut frame = ::zstd::bulk::compress(&prose(20_000), 1).unwrap();
            let len = frame.len();
            frame[at % len] = value;
            frame.truncate(len - cut % len);
            if let Ok(form) = form_of(&frame) {
                prop_assert!(form.spliced_len().unwrap() <= len as u64);
            }
        }
    }
}
