//! Parts of files, for sockets: the kernel sends what it has in memory, and nothing is copied.

use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::files::{Blob, Stamp};
use crate::{Error, Store};

/// Bytes that are looked for in memory, read from a disk and sent at once.
const WINDOW_LEN: u64 = 256 << 10;
/// One byte in so many is looked for: what the kernel reads at once is at least as long, and it takes memory back from
/// the end that was used first.
const PROBE_LEN: u64 = 64 << 10;

/// A range of a blob that was intact in the state that it was in. Made by [`crate::Chunks::poll_part`].
///
/// ```text
/// offset                        offset + len
///   │ window, in memory │ …              │
/// ```
pub struct FilePart {
    store: Store,
    blob: Arc<Blob>,
    stamp: Stamp,
    offset: u64,
    len: u64,
    /// Where in the blob the window ends.
    window_end: u64,
    /// What [`crate::Chunks::has_failed`] says.
    failed: Arc<AtomicBool>,
}

impl FilePart {
    pub(crate) fn new(
        store: Store,
        blob: Arc<Blob>,
        stamp: Stamp,
        range: Range<u64>,
        failed: Arc<AtomicBool>,
    ) -> Self {
        let Range { start: offset, end } = range;
        Self { store, blob, stamp, offset, len: end - offset, window_end: offset, failed }
    }

    /// Bytes that are still to be sent.
    #[expect(clippy::len_without_is_empty, reason = "who has sent all has no use for it")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the next bytes can be sent without waiting: they are in memory, and the blob is as it was.
    pub fn is_ready(&mut self) -> bool {
        if !self.is_unchanged() {
            return false;
        }
        let (from, end) = (self.window_end.max(self.offset), self.offset + self.len.min(WINDOW_LEN));
        if from < end {
            let probes = (from..end).step_by(usize::try_from(PROBE_LEN).expect("some KiB"));
            if probes.chain([end - 1]).all(|offset| self.has_byte(offset)) {
                self.window_end = end;
            }
        }
        self.offset < self.window_end
    }

    /// The same part, ready: the next bytes are read into memory, and a blob that is in another state is verified. May wait
    /// for a disk, and hash.
    ///
    /// # Errors
    /// `Corrupt`, `OutOfRange`, `Io`.
    pub fn made_ready(mut self) -> Result<Self, Error> {
        match self.make_ready() {
            Ok(()) => Ok(self),
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn make_ready(&mut self) -> Result<(), Error> {
        let len = self.len.min(WINDOW_LEN);
        self.blob.read_at(self.offset, &mut vec![0; usize::try_from(len).expect("some KiB")])?;
        let stamp = self.blob.stamp()?;
        // What the stamp says of the state before it was hashed holds after it, or the next look finds another.
        self.store.check(&self.blob)?;
        self.stamp = stamp;
        self.window_end = self.offset + len;
        Ok(())
    }

    /// Gives the next bytes to `socket`, as many as are [ready](Self::is_ready) and it takes, and says how many. Until the
    /// client has acknowledged them they are those in the kernel's memory of the file.
    ///
    /// # Errors
    /// What the socket has, `WouldBlock` among it, and what the disk has.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let ready = self.len.min(self.window_end.saturating_sub(self.offset));
        let count = usize::try_from(ready).expect("some KiB");
        let sent = sendfile(socket, &self.blob.file, Some(&mut self.offset.clone()), count);
        // The file was cut, or its disk fails.
        if matches!(sent, Ok(0) | Err(Errno::IO)) {
            self.failed.store(true, Ordering::Relaxed);
            let error = sent.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::from);
            return Err(Error::io("sending a blob")(error).into());
        }
        let sent = sent?;
        self.offset += sent as u64;
        self.len -= sent as u64;
        Ok(sent)
    }

    /// Whether the blob is in the state in which it was intact. Asked after the last byte, too: what was changed before it was
    /// sent must not end as if it were whole.
    pub fn is_unchanged(&self) -> bool {
        self.blob.stamp().is_ok_and(|stamp| stamp == self.stamp)
    }

    fn has_byte(&self, offset: u64) -> bool {
        let mut byte = [0];
        preadv2(&self.blob.file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT) == Ok(1)
    }
}

impl std::fmt::Debug for FilePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilePart")
            .field("digest", &self.blob.digest)
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
