//! Zstandard frames around maps, without a compressor.
//!
//! Makes one frame of any map: what it carries is carried as it is, runs of zeros become four bytes per 128 KiB,
//! and a blob that has a compressed form is replaced by the blocks of it. One frame, because many decoders stop
//! after the first. Reads no payload; [`form`] looks into frames that were compressed before.
//!
//!   0       4         5      6              14
//!   │ magic │ 0xC0    │ 0x68 │ content len  │ block │ block │ … │ last block │
//!             8-byte    window of 8 MiB         3-byte header each: last, type, len
//!             length    (what every decoder grants)
//!
//! A form's blocks come from a frame of their own, and three things of a decoder's state cross from block to block:
//!
//! * the *window*: distances reach back within the form, and its window is no larger than ours;
//! * *tables* of Huffman and FSE codes, used again by "treeless" and "repeat" blocks: a frame's first such block is
//!   preceded by one that defines them, so a form brings its own ([`form`] makes sure);
//! * the *repeat offsets*, which are 1, 4, 8 where a frame begins and which only compressed blocks change. Before
//!   a second form they are brought back by two hand-made blocks within a run of zeros. Where no such run lies
//!   between two forms, only one of the two is used.
//!
//! Source: RFC 8878, §3.1.1.

mod block;
mod form;
mod reader;
mod tables;

use std::ops::Range;

use extent::{Digest, ExtentMap, Source};

pub use form::{Error, Form, compress_blob, form};

/// What a frame begins with, as a little-endian number.
const MAGIC: u32 = 0xfd2f_b528;
/// How far back a block may refer. RFC 8878, §3.1.1.1.2, asks every decoder for 8 MiB.
const WINDOW_LEN: u64 = 1 << 23;
/// The most a block stands for, and its greatest length. RFC 8878, §3.1.1.2.4.
const BLOCK_LEN_MAX: u64 = 128 << 10;
/// A run of zeros at least this long gets blocks of its own; they cost 7 bytes. Also long enough for a reset.
const ZERO_RUN_MIN: u64 = 32;
const _: () = assert!(ZERO_RUN_MIN >= block::RESET_ROOM);

/// A part of a map to be put into blocks.
enum Part {
    Zeros(u64),
    /// What lies between two long runs of zeros, and where in it a form is to be used.
    Data {
        range: Range<u64>,
        form: Option<Spliced>,
    },
}

/// A form to use in place of a range of the map.
struct Spliced {
    range: Range<u64>,
    form: Form,
    saving: u64,
}

/// One frame that decompresses to the bytes of `map`.
///
/// `forms` says which blobs have a compressed form; it is used where an extent is the whole blob and the form is
/// shorter. The frame says the content's length, which is the map's, and has no checksum.
pub fn frame(map: &ExtentMap, forms: &dyn Fn(&Digest) -> Option<Form>) -> ExtentMap {
    let mut blocks = block::Blocks::new(header(map.len()), map.len());
    let parts = parts(map, forms);
    let mut after_form = false;
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Zeros(len) => {
                let before_form = matches!(parts.get(i + 1), Some(Part::Data { form: Some(_), .. }));
                let reset = after_form && before_form;
                blocks.zeros(*len, reset);
                after_form &= !reset;
            }
            Part::Data { range, form: None } => blocks.raw(&map.slice(range.clone())),
            Part::Data { range, form: Some(Spliced { range: spliced, form, .. }) } => {
                blocks.raw(&map.slice(range.start..spliced.start));
                blocks.splice(form);
                blocks.raw(&map.slice(spliced.end..range.end));
                after_form = true;
            }
        }
    }
    blocks.finish()
}

/// Divides `map` at its long runs of zeros and chooses one form, the most saving, for each part between them.
fn parts(map: &ExtentMap, forms: &dyn Fn(&Digest) -> Option<Form>) -> Vec<Part> {
    let mut parts = Vec::new();
    for (start, extent) in map.iter() {
        let end = start + extent.len;
        if extent.source == Source::Zero && extent.len >= ZERO_RUN_MIN {
            parts.push(Part::Zeros(extent.len));
            continue;
        }
        let spliced = match &extent.source {
            Source::Blob { digest, offset: 0 } => forms(digest).and_then(|form| spliced(start..end, form)),
            _ => None,
        };
        if let Some(Part::Data { range, form }) = parts.last_mut() {
            range.end = end;
            let saving = |form: &Option<Spliced>| form.as_ref().map_or(0, |form| form.saving);
            if saving(&spliced) > saving(form) {
                *form = spliced;
            }
        } else {
            parts.push(Part::Data { range: start..end, form: spliced });
        }
    }
    parts
}

/// What using `form` for `range` of the map saves; none if it is of other content or saves nothing.
fn spliced(range: Range<u64>, form: Form) -> Option<Spliced> {
    let len = range.end - range.start;
    if form.content_len != len {
        return None;
    }
    // Three bytes more for the block that it may divide in two.
    let spliced = form.spliced_len()?.checked_add(block::RESET_LEN + 3)?;
    let saving = len.checked_sub(spliced).filter(|saving| *saving > 0)?;
    Some(Spliced { range, form, saving })
}

/// The frame header of `content_len` bytes of content.
fn header(content_len: u64) -> Vec<u8> {
    let window = u8::try_from((WINDOW_LEN.ilog2() - 10) << 3).expect("five bits");
    let mut header = MAGIC.to_le_bytes().to_vec();
    header.extend([0xc0, window]); // 8-byte length, several segments, no checksum, no dictionary
    header.extend(content_len.to_le_bytes());
    header
}
