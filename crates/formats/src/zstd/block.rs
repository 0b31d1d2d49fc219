//! Blocks of a frame being written.

use std::ops::Range;

use bytes::Bytes;
use extent::{Digest, Extent, ExtentMap, Source};

use super::{BLOCK_LEN_MAX, Form};

/// Block type: the bytes themselves.
pub(super) const RAW: u32 = 0;
/// Block type: one byte, many times.
pub(super) const RLE: u32 = 1;
/// Block type: compressed.
pub(super) const COMPRESSED: u32 = 2;

/// The header of a raw block of full length that is not the last.
const FULL_RAW: [u8; 3] = header(RAW, BLOCK_LEN_MAX, false);
/// As many zeros as a block stands for, before the last block.
const FULL_ZEROS: [u8; 4] = {
    let [a, b, c] = header(RLE, BLOCK_LEN_MAX, false);
    [a, b, c, 0]
};

/// Inline bytes longer than this are shared, not copied.
const COPY_LEN_MAX: u64 = 16 << 10;

/// Two compressed blocks that bring the decoder's three repeat offsets back to 1, 4, 8: where a frame begins.
///
/// Each sequence copies three bytes from an offset that is given in full, and so becomes the first of the three;
/// 8, then 4, then 1 leave them as they were at the beginning. They copy zeros from zeros.
///
///   literals  sequences  modes     LL  offset  ML  bits, last first
///   00        01         54 (RLE)  00  03      00  0b1_011        8 + 3 = 2³ + 0b011
///   00        02         54 (RLE)  00  02      00  0b1_11_00      4 + 3 = 2² + 0b11, 1 + 3 = 2² + 0b00
///
/// Source: RFC 8878, §3.1.1.3.2 (sequences), §3.1.1.5 (repeat offsets).
const RESET: [(&[u8], u64); 2] =
    [(&[0x00, 0x01, 0x54, 0x00, 0x03, 0x00, 0x0b], 3), (&[0x00, 0x02, 0x54, 0x00, 0x02, 0x00, 0x1c], 6)];
/// How many zeros the two blocks stand for.
const RESET_CONTENT_LEN: u64 = 9;
/// How many zeros must be there to copy from.
const RESET_REACH: u64 = 8;
/// How many zeros a run must have for a reset in it.
pub(super) const RESET_ROOM: u64 = RESET_CONTENT_LEN + RESET_REACH;
/// How many bytes a reset takes, headers included.
pub(super) const RESET_LEN: u64 = 2 * (3 + 7);

/// The header of a block. Source: RFC 8878, §3.1.1.2.
const fn header(kind: u32, len: u64, is_last: bool) -> [u8; 3] {
    assert!(len <= BLOCK_LEN_MAX, "a block is at most 128 KiB");
    #[expect(clippy::cast_possible_truncation, reason = "the length was checked")]
    let [a, b, c, _] = ((len as u32) << 3 | kind << 1 | is_last as u32).to_le_bytes();
    [a, b, c]
}

/// A frame being written, block after block, after its header.
pub(super) struct Blocks {
    done: ExtentMap,
    /// Bytes of ours at the end that are not in `done` yet: one extent for many blocks.
    ours: Vec<u8>,
    /// How much content is still to come.
    left: u64,
    /// Whether the block that is marked as the last is there.
    ended: bool,
}

impl Blocks {
    /// A frame of `content_len` bytes of content that begins with `header`.
    pub fn new(header: Vec<u8>, content_len: u64) -> Self {
        Self { done: ExtentMap::new(), ours: header, left: content_len, ended: false }
    }

    /// A run of zeros, with a reset of the repeat offsets at its end if wanted.
    ///
    /// # Panics
    /// When a reset is wanted in fewer than `RESET_ROOM` zeros.
    pub fn zeros(&mut self, len: u64, reset: bool) {
        assert!(!reset || len >= RESET_ROOM, "a reset has room");
        let mut plain = len - if reset { RESET_CONTENT_LEN } else { 0 };
        // A disk has thousands of them, all alike but for the last.
        let alike = (plain / BLOCK_LEN_MAX).saturating_sub(1);
        self.left -= alike * BLOCK_LEN_MAX;
        self.ours.extend(FULL_ZEROS.repeat(usize::try_from(alike).expect("headers are in memory")));
        plain -= alike * BLOCK_LEN_MAX;
        while plain > 0 {
            let len = plain.min(BLOCK_LEN_MAX);
            self.header(RLE, len, len);
            self.ours.push(0);
            plain -= len;
        }
        for (body, content_len) in RESET.into_iter().filter(|_| reset) {
            self.header(COMPRESSED, body.len() as u64, content_len);
            self.ours.extend(body);
        }
    }

    /// What `map` describes, as it is.
    pub fn raw(&mut self, map: &ExtentMap) {
        // A disk has hundreds of blocks and a handful of long extents: those are cut here, without a map for each block.
        let mut block_left = 0;
        for (offset, extent) in map.iter() {
            let mut from = 0;
            while from < extent.len {
                if block_left == 0 {
                    block_left = (map.len() - offset - from).min(BLOCK_LEN_MAX);
                    self.header(RAW, block_left, block_left);
                }
                let to = extent.len.min(from + block_left);
                self.carry(extent.part(from..to));
                block_left -= to - from;
                from = to;
            }
        }
    }

    /// The blocks of `form`, from its own blob.
    pub fn splice(&mut self, form: &Form) {
        self.carry_blob(form.digest, &form.blocks);
        if let Some((header, body)) = &form.last {
            self.header(header >> 1 & 3, u64::from(header >> 3), form.content_len);
            self.carry_blob(form.digest, body);
        } else {
            self.left -= form.content_len;
        }
    }

    /// The whole frame.
    ///
    /// # Panics
    /// When content is missing.
    pub fn finish(mut self) -> ExtentMap {
        assert_eq!(self.left, 0, "a frame has all its content");
        if !self.ended {
            self.header(RAW, 0, 0);
        }
        self.flush();
        self.done
    }

    /// The header of a block after which `content_len` bytes more are there; it is the last when that is all.
    fn header(&mut self, kind: u32, len: u64, content_len: u64) {
        self.left -= content_len;
        self.ended = self.left == 0;
        self.ours.extend_from_slice(&header(kind, len, self.ended));
    }

    fn carry(&mut self, extent: Extent) {
        match &extent.source {
            Source::Inline(bytes) if extent.len <= COPY_LEN_MAX => self.ours.extend_from_slice(bytes),
            Source::Zero if extent.len <= COPY_LEN_MAX => {
                let len = usize::try_from(extent.len).expect("a few KiB");
                self.ours.resize(self.ours.len() + len, 0);
            }
            _ => {
                self.flush();
                self.done.push(extent);
            }
        }
    }

    fn carry_blob(&mut self, digest: Digest, range: &Range<u64>) {
        self.flush();
        self.done.append(ExtentMap::blob(digest, range.start, range.end - range.start));
    }

    fn flush(&mut self) {
        if self.ours == FULL_RAW {
            // What most blocks begin with, and no memory of its own.
            self.done.push_inline(Bytes::from_static(&FULL_RAW));
            self.ours.clear();
        } else {
            self.done.push_inline(Bytes::from(std::mem::take(&mut self.ours)));
        }
    }
}
