//! Facts: what is known of a blob besides its bytes.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use extent::Digest;
use serde::{Deserialize, Serialize};

use crate::temp::Temp;
use crate::{Error, Store, verify};

/// What is known of a blob, learnt in one pass while it comes in.
///
/// A new fact is a new field: what was recorded without it does not parse and is learnt again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Facts {
    /// Length in bytes.
    pub len: u64,
    /// The CRC-32 that gzip, zip and GPT use (IEEE 802.3, reflected).
    pub crc32: u32,
}

/// Facts of a blob up to this length are not recorded: a file costs a disk block, and reading it more time
/// than learning them again.
const UNRECORDED_MAX: u64 = 64 << 10;

/// Learns facts of bytes as they pass.
#[derive(Default)]
pub(crate) struct Learner {
    len: u64,
    crc32: crc32fast::Hasher,
}

impl Learner {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.crc32.update(bytes);
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn finish(self) -> Facts {
        Facts { len: self.len, crc32: self.crc32.finalize() }
    }
}

impl Store {
    /// The facts of a blob. Learnt again, which reads the blob, when they are not recorded.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it had to be read and is.
    pub fn facts(&self, digest: &Digest) -> Result<Facts, Error> {
        let blob = self.blob(digest)?;
        let len = blob.stamp()?.len;
        if let Ok(text) = fs::read(self.facts_path(digest))
            && let Ok(facts) = serde_json::from_slice::<Facts>(&text)
            && facts.len == len
        {
            return Ok(facts);
        }
        let mut learner = Learner::default();
        verify::read_through(&blob, |bytes| learner.update(bytes))?;
        self.check(&blob)?;
        let facts = learner.finish();
        self.record_facts(digest, &facts);
        Ok(facts)
    }

    /// Records facts. Nothing is lost when it fails, and a full disk is noticed elsewhere.
    pub(crate) fn record_facts(&self, digest: &Digest, facts: &Facts) {
        if facts.len <= UNRECORDED_MAX {
            return;
        }
        let write = || {
            let temp = Temp::new(&self.tmp(), "", 0o644)?;
            temp.file().write_all(&serde_json::to_vec(facts)?)?;
            temp.commit_volatile(&self.facts_path(digest))
        };
        if let Err(error) = write() {
            tracing::debug!(%digest, %error, "facts are not recorded");
        }
    }

    fn facts_path(&self, digest: &Digest) -> PathBuf {
        self.dir().join("facts/sha256").join(digest.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_learnt_again_when_they_are_missing_damaged_or_from_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let bytes = vec![0x5a; 100_000];
        let digest = store.put_bytes(&bytes).unwrap().digest;
        let facts = Facts { len: 100_000, crc32: crc32fast::hash(&bytes) };
        let path = store.facts_path(&digest);
        assert!(path.exists());
        assert_eq!(store.facts(&digest).unwrap(), facts);

        for text in ["", "{", "{\"len\":100000}", "{\"len\":1,\"crc32\":1}", "\0\0\0\0"] {
            fs::write(&path, text).unwrap();
            assert_eq!(store.facts(&digest).unwrap(), facts, "{text:?}");
            assert_eq!(serde_json::from_slice::<Facts>(&fs::read(&path).unwrap()).unwrap(), facts);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(store.facts(&digest).unwrap(), facts);
    }

    #[test]
    fn facts_of_a_small_blob_cost_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = store.put_bytes(b"123456789").unwrap().digest;
        assert_eq!(store.facts(&digest).unwrap(), Facts { len: 9, crc32: 0xcbf4_3926 });
        assert!(!store.facts_path(&digest).exists());
        assert!(matches!(store.facts(&Digest::of(b"")), Err(Error::NotFound { .. })));
    }
}
