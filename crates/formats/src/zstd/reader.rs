//! Bytes of a frame, read from its front on.

use super::Error;

/// Bytes from the front on.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], Error> {
        let taken = usize::try_from(len).ok().and_then(|len| self.rest().get(..len));
        let taken = taken.ok_or(Error::Truncated { offset: self.offset(), len: self.bytes.len() as u64 })?;
        self.at += taken.len();
        Ok(taken)
    }

    /// A little-endian number of at most eight bytes.
    pub(super) fn number(&mut self, len: u64) -> Result<u64, Error> {
        Ok(self.take(len)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}
