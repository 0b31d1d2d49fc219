//! Reading what a map describes as a stream.

use std::io::{self, Read};

use extent::{Blobs, ExtentMap, read_at};

/// A map as a stream, from an offset on.
pub(super) struct MapReader<'a> {
    map: &'a ExtentMap,
    blobs: &'a dyn Blobs,
    offset: u64,
}

impl<'a> MapReader<'a> {
    pub fn new(map: &'a ExtentMap, blobs: &'a dyn Blobs, offset: u64) -> Self {
        Self { map, blobs, offset }
    }

    /// Where the next byte is that nobody has read.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl Read for MapReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.map.len().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(rest);
        read_at(self.map, self.offset, &mut buf[..len], self.blobs)?;
        self.offset += len as u64;
        Ok(len)
    }
}
