//! Open blobs, shared.
//!
//! A thousand streams of one image hold its few blobs open once: an open file is found again while anybody
//! uses it, and the most recently used stay open after that.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use extent::{Digest, ExtentMap, Source};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::{Error, Store};

/// Files kept open that nobody uses. An image has about twenty blobs; the usual limit is 1 024 descriptors.
const IDLE_MAX: usize = 128;

/// A blob, open for reading. Stays readable when its name goes.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) file: File,
}

/// What tells the state of a file from an earlier or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    pub(crate) len: u64,
    modified_ns: i128,
    pub(crate) changed_ns: i128,
}

/// The blobs of a map, all open: none can vanish while the map is read.
pub(crate) struct OpenBlobs {
    blobs: HashMap<Digest, Arc<Blob>>,
}

/// Blobs that are open.
#[derive(Default)]
pub(crate) struct Files {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    slots: HashMap<Digest, Slot>,
    /// Counts uses.
    now: u64,
}

struct Slot {
    blob: Weak<Blob>,
    /// Keeps the file open while nobody uses it.
    kept: Option<Arc<Blob>>,
    used: u64,
}

impl Blob {
    /// Opens the file of `digest` at `path`.
    pub(crate) fn open(digest: Digest, path: &Path) -> Result<Self, Error> {
        match File::open(path) {
            Ok(file) => Ok(Self { digest, file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { digest }),
            Err(error) => Err(Error::io("opening a blob")(error)),
        }
    }

    /// The state of the file now.
    pub(crate) fn stamp(&self) -> Result<Stamp, Error> {
        self.file.metadata().map(|metadata| Stamp::of(&metadata)).map_err(Error::io("looking at a blob"))
    }

    /// Fills `buf` from `offset` on.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        match self.file.read_exact_at(buf, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let end = offset.saturating_add(buf.len() as u64);
                Err(Error::OutOfRange { digest: self.digest, len: self.stamp()?.len, end })
            }
            Err(error) => Err(Error::io("reading a blob")(error)),
        }
    }

    /// Fills `buf` from `offset` on, if that takes no waiting for a disk. Else false, and anything may be in `buf`.
    pub(crate) fn read_cached_at(&self, offset: u64, buf: &mut [u8]) -> bool {
        let len = buf.len();
        // A file system that cannot tell refuses.
        preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) == Ok(len)
    }
}

impl Stamp {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether both are states of one file.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl OpenBlobs {
    /// Opens every blob of `map` by `open`, and checks that each is as long as the map takes it to be.
    pub(crate) fn of(
        map: &ExtentMap,
        store: &Store,
        open: impl Fn(&Digest) -> Result<Arc<Blob>, Error>,
    ) -> Result<Self, Error> {
        let mut blobs = HashMap::new();
        let mut lens = HashMap::new();
        for extent in map.extents() {
            let Source::Blob { digest, offset } = &extent.source else { continue };
            if !blobs.contains_key(digest) {
                let blob = open(digest)?;
                lens.insert(*digest, blob.stamp()?.len);
                blobs.insert(*digest, blob);
            }
            let (len, end) = (lens[digest], offset.saturating_add(extent.len));
            if end > len {
                // Cut short, it is corrupt; else the map is wrong.
                store.check(&blobs[digest])?;
                return Err(Error::OutOfRange { digest: *digest, len, end });
            }
        }
        Ok(Self { blobs })
    }

    /// The open blob of `digest`, which is in the map.
    pub(crate) fn get(&self, digest: &Digest) -> &Arc<Blob> {
        &self.blobs[digest]
    }

    /// The same, if that takes no waiting for a disk. Else false, and anything may be in `buf`.
    pub(crate) fn read_cached(&self, piece: &ExtentMap, buf: &mut [u8]) -> bool {
        let mut rest = buf;
        for extent in piece.extents() {
            let len = usize::try_from(extent.len).expect("a piece is as long as its buffer");
            let (part, after) = rest.split_at_mut(len);
            match &extent.source {
                Source::Inline(bytes) => part.copy_from_slice(bytes),
                Source::Blob { digest, offset } if self.get(digest).read_cached_at(*offset, part) => {}
                Source::Blob { .. } => return false,
                Source::Zero => part.fill(0),
            }
            rest = after;
        }
        true
    }

    /// Fills `buf` with the bytes of `piece`, a part of the map.
    pub(crate) fn read(&self, piece: &ExtentMap, buf: &mut [u8]) -> Result<(), Error> {
        let mut rest = buf;
        for extent in piece.extents() {
            let len = usize::try_from(extent.len).expect("a piece is as long as its buffer");
            let (part, after) = rest.split_at_mut(len);
            match &extent.source {
                Source::Inline(bytes) => part.copy_from_slice(bytes),
                Source::Blob { digest, offset } => self.get(digest).read_at(*offset, part)?,
                Source::Zero => part.fill(0),
            }
            rest = after;
        }
        Ok(())
    }

    /// Verifies all.
    pub(crate) fn check(&self, store: &Store) -> Result<(), Error> {
        self.check_until(store, &AtomicBool::new(false))
    }

    /// Verifies one after the other until `stop` is set.
    pub(crate) fn check_until(&self, store: &Store, stop: &AtomicBool) -> Result<(), Error> {
        self.blobs
            .values()
            .take_while(|_| !stop.load(Ordering::Relaxed))
            .try_for_each(|blob| store.check(blob))
    }
}

impl Files {
    /// The open blob, opened if need be. It is the one that `path` names now: not one that was removed, nor
    /// a corrupt one that was replaced.
    pub(crate) fn open(&self, digest: Digest, path: &Path) -> Result<Arc<Blob>, Error> {
        let named = match std::fs::metadata(path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound { digest }),
            Err(error) => return Err(Error::io("looking for a blob")(error)),
        };
        if let Some(blob) = self.lock().find(&digest)
            && blob.stamp()?.same_file(&named)
        {
            return Ok(blob);
        }
        // Two threads may open it at once; the later one is kept, the earlier one closes after its use.
        let blob = Arc::new(Blob::open(digest, path)?);
        self.lock().keep(&blob);
        Ok(blob)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn find(&mut self, digest: &Digest) -> Option<Arc<Blob>> {
        self.now += 1;
        let slot = self.slots.get_mut(digest)?;
        slot.used = self.now;
        let blob = slot.blob.upgrade()?;
        if slot.kept.is_none() {
            slot.kept = Some(Arc::clone(&blob));
            self.evict();
        }
        Some(blob)
    }

    fn keep(&mut self, blob: &Arc<Blob>) {
        self.now += 1;
        let slot = Slot { blob: Arc::downgrade(blob), kept: Some(Arc::clone(blob)), used: self.now };
        self.slots.insert(blob.digest, slot);
        self.evict();
    }

    /// Lets go of the files unused for longest, and forgets those that closed.
    fn evict(&mut self) {
        while self.slots.values().filter(|slot| slot.kept.is_some()).count() > IDLE_MAX {
            let kept = self.slots.values_mut().filter(|slot| slot.kept.is_some());
            if let Some(oldest) = kept.min_by_key(|slot| slot.used) {
                oldest.kept = None;
            }
        }
        if self.slots.len() > 4 * IDLE_MAX {
            self.slots.retain(|_, slot| slot.blob.strong_count() > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, i: u32) -> (Digest, std::path::PathBuf) {
        let bytes = i.to_le_bytes();
        let path = dir.join(i.to_string());
        std::fs::write(&path, bytes).unwrap();
        (Digest::of(&bytes), path)
    }

    #[test]
    fn a_file_in_use_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        let (digest, path) = write(dir.path(), 0);
        let first = files.open(digest, &path).unwrap();
        // Push it out of the files that are kept for nobody.
        for i in 1..=u32::try_from(IDLE_MAX).unwrap() + 1 {
            let (digest, path) = write(dir.path(), i);
            files.open(digest, &path).unwrap();
        }
        assert!(Arc::ptr_eq(&first, &files.open(digest, &path).unwrap()));
    }

    #[test]
    fn few_files_stay_open_and_few_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        for i in 0..u32::try_from(6 * IDLE_MAX).unwrap() {
            let (digest, path) = write(dir.path(), i);
            files.open(digest, &path).unwrap();
        }
        let slots = files.lock();
        assert_eq!(slots.slots.values().filter(|slot| slot.blob.strong_count() > 0).count(), IDLE_MAX);
        assert!(slots.slots.len() <= 4 * IDLE_MAX + 1);
    }

    #[test]
    fn a_replaced_file_is_opened_anew_and_a_removed_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        let (digest, path) = write(dir.path(), 7);
        let old = files.open(digest, &path).unwrap();
        let new = dir.path().join("new");
        std::fs::copy(&path, &new).unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert!(!Arc::ptr_eq(&old, &files.open(digest, &path).unwrap()));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(files.open(digest, &path), Err(Error::NotFound { .. })));
        let mut buf = [0; 4];
        old.read_at(0, &mut buf).unwrap();
        assert_eq!(buf, 7u32.to_le_bytes(), "who has it open still reads it");
    }
}
