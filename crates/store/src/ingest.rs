//! Bytes come in.
//!
//! Written under a temporary name, hashed on the way, made durable, then renamed to their digest: a blob that
//! has a name is whole.

use std::io::{Read, Write};

use extent::Digest;
use sha2::{Digest as _, Sha256};

use crate::facts::Learner;
use crate::temp::{self, Temp};
use crate::{Descriptor, Error, Store};

/// Bytes read at once.
const CHUNK_LEN: usize = 256 << 10;
/// Blobs never change: nobody may write to one.
const BLOB_MODE: u32 = 0o444;

impl Store {
    /// Takes all that `reader` gives. Puts of what is there already change nothing, but mend a corrupt blob.
    ///
    /// # Errors
    /// `NoSpace`; `Io` also for what `reader` says. Then nothing is visible.
    pub fn put(&self, reader: impl Read) -> Result<Descriptor, Error> {
        self.ingest(reader, None)
    }

    /// Takes `bytes`. Writes nothing when they are there already.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Descriptor, Error> {
        self.put_expected(bytes, Digest::of(bytes))
    }

    /// Takes all that `reader` gives if it is what `expected` names. Reads nothing when that is there already.
    ///
    /// # Errors
    /// `DigestMismatch`: nothing is visible then; and those of [`Store::put`].
    pub fn put_expected(&self, reader: impl Read, expected: Digest) -> Result<Descriptor, Error> {
        match self.settled(expected)? {
            Some(descriptor) => Ok(descriptor),
            None => self.ingest(reader, Some(expected)),
        }
    }

    fn ingest(&self, mut reader: impl Read, expected: Option<Digest>) -> Result<Descriptor, Error> {
        let temp = Temp::new(&self.tmp(), "", BLOB_MODE).map_err(Error::writing("making a blob", 0))?;
        let mut hash = Sha256::new();
        let mut facts = Learner::default();
        let mut buf = vec![0; CHUNK_LEN];
        loop {
            let count = match reader.read(&mut buf) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("reading what was to be stored")(error)),
            };
            hash.update(&buf[..count]);
            facts.update(&buf[..count]);
            temp.file().write_all(&buf[..count]).map_err(Error::writing("writing a blob", facts.len()))?;
        }
        let actual = Digest::from_bytes(hash.finalize().into());
        if let Some(expected) = expected.filter(|&expected| expected != actual) {
            return Err(Error::DigestMismatch { expected, actual });
        }
        if let Some(descriptor) = self.settled(actual)? {
            return Ok(descriptor);
        }
        let facts = facts.finish();
        temp.commit(&self.blob_path(&actual)).map_err(Error::writing("writing a blob", facts.len))?;
        self.record_facts(&actual, &facts);
        Ok(Descriptor { digest: actual, len: facts.len })
    }

    /// The blob if it is there, intact and durable.
    fn settled(&self, digest: Digest) -> Result<Option<Descriptor>, Error> {
        let blob = match self.blob(&digest) {
            Ok(blob) => blob,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.check(&blob) {
            Ok(()) => {}
            Err(Error::Corrupt { .. }) => {
                tracing::warn!(%digest, "replacing a corrupt blob");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        // Whoever renamed it may not have come to this yet; on a clean directory it costs nothing.
        temp::sync_parent(&self.blob_path(&digest)).map_err(Error::writing("writing a blob", 0))?;
        Ok(Some(Descriptor { digest, len: blob.stamp()?.len }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    /// Paths of all regular files that hold a blob or may become one.
    fn files(store: &Store) -> usize {
        ["tmp", "blobs/sha256"].iter().map(|dir| fs::read_dir(store.dir().join(dir)).unwrap().count()).sum()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let (_dir, store) = store();
        for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, 3 * CHUNK_LEN + 1] {
            let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let descriptor = store.put(&bytes[..]).unwrap();
            assert_eq!(descriptor, Descriptor { digest: Digest::of(&bytes), len: len as u64 });
            assert_eq!(store.bytes(&descriptor.digest, u64::MAX).unwrap(), bytes);
            assert_eq!(store.stat(&descriptor.digest).unwrap(), Some(len as u64));
            assert_eq!(store.put_bytes(&bytes).unwrap(), descriptor);
            assert_eq!(store.put_expected(&bytes[..], descriptor.digest).unwrap(), descriptor);
        }
        assert_eq!(files(&store), 5);
    }

    #[test]
    fn a_wrong_digest_leaves_nothing() {
        let (_dir, store) = store();
        let (expected, actual) = (Digest::of(b"promised"), Digest::of(b"delivered"));
        let error = store.put_expected(&b"delivered"[..], expected).unwrap_err();
        assert!(
            matches!(error, Error::DigestMismatch { expected: e, actual: a } if (e, a) == (expected, actual))
        );
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn a_reader_that_fails_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
        }
        let (_dir, store) = store();
        let error = store.put(b"half".chain(Broken)).unwrap_err();
        assert!(
            matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::ConnectionReset)
        );
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn a_put_mends_a_corrupt_blob() {
        let (_dir, store) = store();
        let digest = store.put_bytes(b"content").unwrap().digest;
        let path = store.blob_path(&digest);
        for damage in [&b"c0ntent"[..], b"cont", b""] {
            fs::remove_file(&path).unwrap();
            fs::write(&path, damage).unwrap();
            assert!(matches!(store.bytes(&digest, 100), Err(Error::Corrupt { digest: d }) if d == digest));
            assert_eq!(store.put_bytes(b"content").unwrap().digest, digest);
            assert_eq!(store.bytes(&digest, 100).unwrap(), &b"content"[..]);
        }
    }

    #[test]
    fn a_blob_above_the_limit_is_not_read() {
        let (_dir, store) = store();
        let digest = store.put_bytes(b"12345").unwrap().digest;
        assert_eq!(store.bytes(&digest, 5).unwrap().len(), 5);
        assert!(matches!(store.bytes(&digest, 4), Err(Error::TooLarge { len: 5, max: 4, .. })));
        assert!(matches!(store.bytes(&Digest::of(b"x"), 4), Err(Error::NotFound { .. })));
    }
}
