//! Looking bytes up.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::io;

use bytes::Bytes;

use crate::{Digest, ExtentMap, Source};

/// Something that has blobs: a directory, memory.
pub trait Blobs: Sync {
    /// Fills `buf` with the bytes of `digest` from `offset` on.
    ///
    /// # Errors
    /// `NotFound` when the blob is not there, `UnexpectedEof` when it is too short.
    fn read_at(&self, digest: &Digest, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl<S: BuildHasher + Sync> Blobs for HashMap<Digest, Bytes, S> {
    fn read_at(&self, digest: &Digest, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let blob =
            self.get(digest).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, digest.to_string()))?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(blob.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Fills `buf` with the bytes that `map` describes, from `offset` on.
///
/// # Errors
/// `UnexpectedEof` when the map is too short, else what `blobs` says.
pub fn read_at(map: &ExtentMap, offset: u64, buf: &mut [u8], blobs: &dyn Blobs) -> io::Result<()> {
    let end = offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
    if end > map.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut rest = buf;
    for extent in map.slice(offset..end).extents() {
        let len = usize::try_from(extent.len).expect("a slice is no longer than its buffer");
        let (part, after) = rest.split_at_mut(len);
        match &extent.source {
            Source::Inline(bytes) => part.copy_from_slice(bytes),
            Source::Blob { digest, offset } => blobs.read_at(digest, *offset, part)?,
            Source::Zero => part.fill(0),
        }
        rest = after;
    }
    Ok(())
}

/// All the bytes that `map` describes, if they are at most `max`.
///
/// # Errors
/// `FileTooLarge` above `max`, else what `blobs` says.
pub fn read_all(map: &ExtentMap, blobs: &dyn Blobs, max: u64) -> io::Result<Vec<u8>> {
    if map.len() > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} bytes are more than the {max} allowed here", map.len()),
        ));
    }
    let len = usize::try_from(map.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    read_at(map, 0, &mut bytes, blobs)?;
    Ok(bytes)
}
