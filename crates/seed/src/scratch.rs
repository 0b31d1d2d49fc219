//! Scratch: blobs that live only as long as one run.
//!
//! Unpacked packages and what is made of them on the way to an image. A blob is a file in a directory that is
//! removed at the end; nothing here is durable, and nothing of it is in the store.
//!
//! ```text
//! <dir>/seed-XXXXXX/<n>      one file per blob, named by a counter, opened once and kept open
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use extent::{Blobs, Digest, ExtentMap};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::Error;

/// Blobs in a directory of their own, removed with it.
pub(crate) struct Scratch {
    dir: TempDir,
    count: AtomicU64,
    files: RwLock<HashMap<Digest, File>>,
}

/// A blob being written: hashes as it goes, and ends at a limit.
pub(crate) struct Writer {
    file: File,
    hash: Sha256,
    len: u64,
    max: u64,
}

/// The prefix by which a directory that a killed run has left is known.
const PREFIX: &str = "seed-";
/// Reads when a whole file is hashed.
const READ_LEN: usize = 1 << 20;

impl Scratch {
    /// An empty scratch below `dir`, in place of those that killed runs have left there. The caller holds
    /// the lock of `dir`.
    pub fn new(dir: &Path) -> Result<Self, Error> {
        for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let temp = tempfile::Builder::new().prefix(PREFIX).tempdir_in(dir);
        Ok(Self {
            dir: temp.map_err(Error::io("create a directory in", dir))?,
            count: AtomicU64::new(0),
            files: RwLock::default(),
        })
    }

    /// An empty directory for a program that needs one.
    pub fn directory(&self) -> Result<TempDir, Error> {
        tempfile::tempdir_in(self.dir.path()).map_err(Error::io("create a directory in", self.dir.path()))
    }

    /// Begins a blob of at most `max` bytes.
    pub fn begin(&self, max: u64) -> io::Result<Writer> {
        Ok(Writer { file: self.file()?, hash: Sha256::new(), len: 0, max })
    }

    /// A file of its own, to be written in any order and then kept with [`Scratch::keep`].
    pub fn file(&self) -> io::Result<File> {
        let name = self.count.fetch_add(1, Ordering::Relaxed).to_string();
        File::options().read(true).write(true).create_new(true).open(self.dir.path().join(name))
    }

    /// The blob that was written.
    pub fn finish(&self, writer: Writer) -> ExtentMap {
        let digest = Digest::from_bytes(writer.hash.finalize().into());
        self.keep_as(writer.file, digest);
        ExtentMap::blob(digest, 0, writer.len)
    }

    /// Makes a blob of all that `file` has.
    pub fn keep(&self, mut file: File) -> io::Result<ExtentMap> {
        file.seek(SeekFrom::Start(0))?;
        let (digest, len) = digest(&mut file)?;
        self.keep_as(file, digest);
        Ok(ExtentMap::blob(digest, 0, len))
    }

    fn keep_as(&self, file: File, digest: Digest) {
        self.files.write().expect("nobody panics while holding the lock").insert(digest, file);
    }
}

impl Blobs for Scratch {
    fn read_at(&self, digest: &Digest, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let files = self.files.read().expect("nobody panics while holding the lock");
        let file =
            files.get(digest).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, digest.to_string()))?;
        file.read_exact_at(buf, offset)
    }
}

impl Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.len + buf.len() as u64;
        if len > self.max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} bytes", self.max)));
        }
        self.file.write_all(buf)?;
        self.hash.update(buf);
        self.len = len;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The digest and the length of all that `input` has from here on.
pub(crate) fn digest(input: &mut impl io::Read) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let mut len = 0;
    let mut buf = vec![0; READ_LEN];
    loop {
        match input.read(&mut buf) {
            Ok(0) => return Ok((Digest::from_bytes(hash.finalize().into()), len)),
            Ok(n) => {
                hash.update(&buf[..n]);
                len += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The bytes that `map` describes, one after another.
pub(crate) fn reader<'a>(map: &'a ExtentMap, blobs: &'a dyn Blobs) -> impl io::Read + 'a {
    Reader { map, blobs, offset: 0 }
}

struct Reader<'a> {
    map: &'a ExtentMap,
    blobs: &'a dyn Blobs,
    offset: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.map.len() - self.offset).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        extent::read_at(self.map, self.offset, &mut buf[..len], self.blobs)?;
        self.offset += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use extent::read_all;

    use super::*;

    #[test]
    fn what_was_written_is_read_by_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        let mut writer = scratch.begin(10).unwrap();
        writer.write_all(b"abc").unwrap();
        writer.write_all(b"def").unwrap();
        let map = scratch.finish(writer);
        assert_eq!(map, ExtentMap::blob(Digest::of(b"abcdef"), 0, 6));
        assert_eq!(read_all(&map.slice(2..4), &scratch, 10).unwrap(), b"cd");

        let mut file = scratch.file().unwrap();
        file.write_all(b"abcdef").unwrap();
        assert_eq!(scratch.keep(file).unwrap(), map);
        assert!(scratch.read_at(&Digest::of(b"x"), 0, &mut [0]).is_err());
        drop(scratch);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_blob_ends_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        let mut writer = scratch.begin(4).unwrap();
        writer.write_all(b"abcd").unwrap();
        assert_eq!(writer.write_all(b"e").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_a_killed_run_has_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("seed-left")).unwrap();
        std::fs::create_dir(dir.path().join("packages")).unwrap();
        let _scratch = Scratch::new(dir.path()).unwrap();
        assert!(!dir.path().join("seed-left").exists());
        assert!(dir.path().join("packages").exists());
    }
}
