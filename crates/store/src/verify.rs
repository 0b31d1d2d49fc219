//! Verdicts: which blobs are known to be what their digests say.
//!
//! A blob is hashed once for every state of its file, and by one thread however many ask. The state is
//! (device, inode, length, mtime, ctime): a write through the file system changes it. What changes under the
//! file system is for [`crate::Store::scrub`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use extent::Digest;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::files::{Blob, Stamp};

/// A file changed this short a time ago may change again and keep its times: the kernel's clock for them
/// ticks every 1 to 10 ms (Linux 6.13 and later look finer where somebody looks). Its verdict is not kept.
const RACY_NS: i128 = 100_000_000;
/// Verdicts kept, about 100 bytes each.
const VERDICTS_MAX: usize = 1 << 16;
/// Bytes read at once while hashing.
const CHUNK_LEN: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct Verdicts {
    verdicts: Mutex<HashMap<Digest, Arc<Mutex<Option<Verdict>>>>>,
    #[cfg(test)]
    hashed: std::sync::atomic::AtomicU32,
}

#[derive(Clone, Copy)]
struct Verdict {
    stamp: Stamp,
    intact: bool,
}

impl Verdicts {
    /// `Corrupt` unless `blob` is intact.
    pub(crate) fn check(&self, blob: &Blob) -> Result<(), Error> {
        self.check_after(blob, |_| ())
    }

    /// `Corrupt` unless `blob` is intact now, whatever is known of it.
    pub(crate) fn check_anew(&self, blob: &Blob) -> Result<(), Error> {
        self.check_after(blob, |known| *known = None)
    }

    /// The state that `blob` is in, if it is known to be intact. Neither hashes nor waits: none where it would have to.
    pub(crate) fn known(&self, blob: &Blob) -> Option<Stamp> {
        let seat = self.seat(blob.digest);
        let verdict = (*seat.try_lock().ok()?)?;
        (verdict.intact && blob.stamp().ok()? == verdict.stamp).then_some(verdict.stamp)
    }

    fn check_after(&self, blob: &Blob, forget: impl FnOnce(&mut Option<Verdict>)) -> Result<(), Error> {
        let seat = self.seat(blob.digest);
        // Held while hashing: others who ask for this blob wait for the answer.
        let mut verdict = seat.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut verdict);
        // Before hashing: what is changed while it is hashed must get another state.
        let now = SystemTime::now();
        let stamp = blob.stamp()?;
        let intact = match *verdict {
            Some(known) if known.stamp == stamp => known.intact,
            _ => {
                let intact = hash(blob)? == blob.digest;
                #[cfg(test)]
                self.hashed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                *verdict =
                    (blob.stamp()? == stamp && !is_racy(&stamp, now)).then_some(Verdict { stamp, intact });
                intact
            }
        };
        if intact { Ok(()) } else { Err(Error::Corrupt { digest: blob.digest }) }
    }

    fn seat(&self, digest: Digest) -> Arc<Mutex<Option<Verdict>>> {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= VERDICTS_MAX && !verdicts.contains_key(&digest) {
            verdicts.retain(|_, seat| Arc::strong_count(seat) > 1);
        }
        Arc::clone(verdicts.entry(digest).or_default())
    }
}

/// The digest of the bytes that are in the file now.
fn hash(blob: &Blob) -> Result<Digest, Error> {
    let mut hash = Sha256::new();
    read_through(blob, |bytes| hash.update(bytes))?;
    Ok(Digest::from_bytes(hash.finalize().into()))
}

/// Hands all bytes of the file to `take`, in order.
pub(crate) fn read_through(blob: &Blob, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
    let mut buf = vec![0; CHUNK_LEN];
    let mut offset = 0;
    loop {
        match std::os::unix::fs::FileExt::read_at(&blob.file, &mut buf, offset) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                take(&buf[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading a blob")(error)),
        }
    }
}

/// Whether a file in this state at `now` may be changed without another state.
fn is_racy(stamp: &Stamp, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // A time far in the future comes from another machine's clock and says nothing.
    i128::try_from(now.as_nanos()).is_ok_and(|now| (now - stamp.changed_ns).abs() < RACY_NS)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::path::Path;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;

    /// A blob in a file that has been left alone for long enough that its verdict is kept.
    fn blob(dir: &Path, bytes: &[u8]) -> Blob {
        let path = dir.join("blob");
        fs::write(&path, bytes).unwrap();
        std::thread::sleep(Duration::from_millis(120));
        Blob::open(Digest::of(bytes), &path).unwrap()
    }

    fn flip(path: &Path, offset: u64) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    }

    fn is_corrupt(result: &Result<(), Error>, digest: Digest) -> bool {
        matches!(result, Err(Error::Corrupt { digest: d }) if *d == digest)
    }

    #[test]
    fn many_threads_hash_a_blob_once() {
        let dir = tempfile::tempdir().unwrap();
        let blob = blob(dir.path(), &vec![7; 3 << 20]);
        let verdicts = Verdicts::default();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..10).for_each(|_| verdicts.check(&blob).unwrap()));
            }
        });
        assert_eq!(verdicts.hashed.load(Ordering::SeqCst), 1);
        verdicts.check_anew(&blob).unwrap();
        assert_eq!(verdicts.hashed.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_flipped_bit_is_noticed_and_so_is_its_mending() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = vec![7; 1 << 20];
        let blob = blob(dir.path(), &bytes);
        let verdicts = Verdicts::default();
        verdicts.check(&blob).unwrap();
        for offset in [0, 123_456, (1 << 20) - 1] {
            flip(&dir.path().join("blob"), offset);
            assert!(is_corrupt(&verdicts.check(&blob), blob.digest), "{offset}");
            assert!(is_corrupt(&verdicts.check(&blob), blob.digest), "{offset}");
            flip(&dir.path().join("blob"), offset);
            verdicts.check(&blob).unwrap();
        }
    }

    #[test]
    fn a_change_that_hides_its_time_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let blob = blob(dir.path(), b"content");
        let verdicts = Verdicts::default();
        verdicts.check(&blob).unwrap();
        let path = dir.path().join("blob");
        let times = fs::metadata(&path).unwrap();
        flip(&path, 3);
        let times =
            FileTimes::new().set_modified(times.modified().unwrap()).set_accessed(times.accessed().unwrap());
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        assert!(is_corrupt(&verdicts.check(&blob), blob.digest));
    }

    #[test]
    fn the_verdict_on_a_file_just_written_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        fs::write(&path, b"content").unwrap();
        let blob = Blob::open(Digest::of(b"content"), &path).unwrap();
        let verdicts = Verdicts::default();
        // All within one tick of the clock, most likely.
        for _ in 0..50 {
            verdicts.check(&blob).unwrap();
            flip(&path, 0);
            assert!(is_corrupt(&verdicts.check(&blob), blob.digest));
            flip(&path, 0);
        }
    }

    #[test]
    fn a_time_is_racy_for_a_moment_and_not_because_a_clock_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let mut stamp = blob(dir.path(), b"content").stamp().unwrap();
        let now = SystemTime::now();
        let now_ns = i128::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        for (changed_ms, racy) in [(0, true), (-50, true), (50, true), (-200, false), (3_600_000, false)] {
            stamp.changed_ns = now_ns + changed_ms * 1_000_000;
            assert_eq!(is_racy(&stamp, now), racy, "{changed_ms}");
        }
    }

    #[test]
    fn few_verdicts_are_remembered() {
        let verdicts = Verdicts::default();
        let held = verdicts.seat(Digest::of(b"held"));
        for i in 0..=VERDICTS_MAX {
            verdicts.seat(Digest::of(&i.to_le_bytes()));
        }
        assert!(verdicts.verdicts.lock().unwrap().len() < VERDICTS_MAX);
        assert!(Arc::ptr_eq(&held, &verdicts.seat(Digest::of(b"held"))), "a seat in use stays");
    }
}
