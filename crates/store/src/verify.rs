//! Verdicts: which blobs are known to be what their digests say.
//!
//! A blob is hashed once for every state of its file, and by one thread however many ask. The state is
//! (device, inode, length, mtime, ctime): a write through the file system changes it. What changes under the
//! file system shows only when it is hashed again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use extent::Digest;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::files::{Blob, Stamp};

/// A file changed this short a time ago may change again and keep its times: the kernel's clock for them
/// ticks every 1 to 10 ms. Its verdict is not kept.
const RACY_NS: i128 = 100_000_000;
/// Verdicts kept, about 100 bytes each.
const VERDICTS_MAX: usize = 1 << 16;
/// Bytes read at once while hashing.
const CHUNK_LEN: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct Verdicts {
    verdicts: Mutex<HashMap<Digest, Arc<Mutex<Option<Verdict>>>>>,
}

#[derive(Clone, Copy)]
struct Verdict {
    stamp: Stamp,
    intact: bool,
}

impl Verdicts {
    /// `Corrupt` unless `blob` is intact.
    pub(crate) fn check(&self, blob: &Blob) -> Result<(), Error> {
        let seat = self.seat(blob.digest);
        // Held while hashing: others who ask for this blob wait for the answer.
        let mut verdict = seat.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = blob.stamp()?;
        let intact = match *verdict {
            Some(known) if known.stamp == stamp => known.intact,
            _ => {
                let intact = hash(blob)? == blob.digest;
                *verdict = (blob.stamp()? == stamp && !is_racy(&stamp)).then_some(Verdict { stamp, intact });
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
pub(crate) fn hash(blob: &Blob) -> Result<Digest, Error> {
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

fn is_racy(stamp: &Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A time far in the future comes from another machine's clock and says nothing.
    i128::try_from(now.as_nanos()).is_ok_and(|now| (now - stamp.changed_ns).abs() < RACY_NS)
}
