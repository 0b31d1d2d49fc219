//! The store: a directory, and what is asked of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use extent::{Blobs, Digest};
use oci_spec::image::{MediaType, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::files::{Blob, Files, Stamp};
use crate::references::Index;
use crate::temp::{self, Lock, Temp};
use crate::verify::Verdicts;
use crate::{Error, LAYOUT_VERSION};

/// Blobs, their references, and what was derived from them, in one directory.
///
/// Cheap to clone; a clone is the same store. Any number of threads and processes use one directory at once.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Whether what is not recorded may be derived.
    pub(crate) is_deriving: bool,
}

struct Inner {
    dir: PathBuf,
    files: Files,
    verdicts: Verdicts,
    index: Index,
}

/// A blob: its name and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Descriptor {
    /// The digest of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub len: u64,
}

/// The directories of a store, and nothing else may be in a directory that becomes one.
const DIRECTORIES: [&str; 5] = ["blobs/sha256", "derivations", "facts/sha256", "tmp", "blobs"];

impl Descriptor {
    /// The descriptor that manifests and references use.
    pub fn oci(&self, media_type: MediaType) -> oci_spec::image::Descriptor {
        let digest: Sha256Digest = self.digest.hex().parse().expect("64 hexadecimal digits are a SHA-256");
        oci_spec::image::Descriptor::new(media_type, self.len, digest)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

impl Store {
    /// Opens the store in `dir`, made if it is not there, and removes what killed writers have left. A store on a
    /// read-only file system opens and can be read.
    ///
    /// # Errors
    /// `NotAStore` for a directory with other things in it; `LayoutVersion`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let failed = Error::io("opening the store");
        let dir = std::path::absolute(dir).map_err(&failed)?;
        let layout = dir.join("oci-layout");
        match fs::read(&layout) {
            Ok(bytes) => check_layout(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&dir).map_err(&failed)?;
                check_empty(&dir)?;
            }
            Err(error) => return Err(failed(error)),
        }
        for name in DIRECTORIES {
            fs::create_dir_all(dir.join(name)).map_err(Error::writing("making the store", 0))?;
        }
        let tmp = dir.join("tmp");
        if !layout.exists() {
            let _lock = Lock::acquire(tmp.join("open.lock")).map_err(&failed)?;
            let index = dir.join("index.json");
            if !index.exists() {
                write_whole(&tmp, &index, crate::references::EMPTY_INDEX.as_bytes())?;
            }
            let text = format!("{{\"imageLayoutVersion\":\"{LAYOUT_VERSION}\"}}\n");
            write_whole(&tmp, &layout, text.as_bytes())?;
            for made in [&dir, &dir.join("blobs/sha256")] {
                temp::sync_parent(made).map_err(&failed)?;
            }
        }
        match temp::sweep(&tmp, |_| true) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed files that killed writers had left"),
            Err(error) => return Err(failed(error)),
        }
        let index = Index::new(dir.join("index.json"));
        let inner = Inner { dir, files: Files::default(), verdicts: Verdicts::default(), index };
        Ok(Self { inner: Arc::new(inner), is_deriving: true })
    }

    /// The same store, in which nothing is derived: [`Self::derive`] finds what is recorded, and does not wait.
    #[must_use]
    pub fn recorded(&self) -> Self {
        Self { is_deriving: false, ..self.clone() }
    }

    /// The length of a blob, if it is there. Does not read it.
    pub fn stat(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match fs::metadata(self.blob_path(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("looking for a blob")(error)),
        }
    }

    /// All the bytes of a blob of at most `max` bytes, hashed now.
    ///
    /// # Errors
    /// `NotFound`, `TooLarge`, `Corrupt`.
    pub fn bytes(&self, digest: &Digest, max: u64) -> Result<Bytes, Error> {
        let blob = self.blob(digest)?;
        let len = blob.stamp()?.len;
        let too_large = || Error::TooLarge { digest: *digest, len, max };
        if len > max {
            return Err(too_large());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_large())?];
        match blob.read_at(0, &mut bytes) {
            // It became shorter while we looked.
            Err(Error::OutOfRange { .. }) => Err(Error::Corrupt { digest: *digest }),
            Err(error) => Err(error),
            Ok(()) if Digest::of(&bytes) == *digest => Ok(bytes.into()),
            Ok(()) => Err(Error::Corrupt { digest: *digest }),
        }
    }

    /// Checks that a blob is what its digest says: hashes it the first time, and again when its file has changed.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub fn verify(&self, digest: &Digest) -> Result<(), Error> {
        self.check(&*self.blob(digest)?)
    }

    /// The directory `scratch/<name>`, made if it is not there: room for what one part of the project keeps
    /// between runs and can do without. Its owner locks it and cleans it; the store never looks inside.
    ///
    /// # Errors
    /// `BadName` for a name that is not lower-case letters and `-`.
    pub fn scratch(&self, name: &str) -> Result<PathBuf, Error> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            return Err(Error::bad_name("scratch directory", name));
        }
        let dir = self.inner.dir.join("scratch").join(name);
        fs::create_dir_all(&dir).map_err(Error::writing("making a scratch directory", 0))?;
        Ok(dir)
    }

    pub(crate) fn check(&self, blob: &Blob) -> Result<(), Error> {
        self.inner.verdicts.check(blob)
    }

    /// The state of `blob` if `check` would pass at once.
    pub(crate) fn known(&self, blob: &Blob) -> Option<Stamp> {
        self.inner.verdicts.known(blob)
    }

    /// Like `check`, but hashes the blob whatever is known of it.
    pub(crate) fn check_anew(&self, blob: &Blob) -> Result<(), Error> {
        self.inner.verdicts.check_anew(blob)
    }

    /// The blob, open and shared; not verified.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Arc<Blob>, Error> {
        self.inner.files.open(*digest, &self.blob_path(digest))
    }

    /// The blob, open for the caller alone; not verified.
    pub(crate) fn open_alone(&self, digest: &Digest) -> Result<Blob, Error> {
        Blob::open(*digest, &self.blob_path(digest))
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.dir.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.inner.dir.join("tmp")
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }
}

/// Reads verified bytes: the first read of a blob hashes all of it, and so does the first after a change.
impl Blobs for Store {
    fn read_at(&self, digest: &Digest, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let blob = self.blob(digest)?;
        let read = blob.read_at(offset, buf);
        // Corruption is the better answer than an end that came too early because of it. Checked after
        // reading: bytes that were flipped before the check are noticed by it.
        self.check(&blob)?;
        Ok(read?)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

/// Writes a small file durably: whole, or not at all.
pub(crate) fn write_whole(tmp: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = Error::writing("writing to the store", bytes.len() as u64);
    let temp = Temp::new(tmp, "", 0o644).map_err(&failed)?;
    io::Write::write_all(&mut temp.file(), bytes).map_err(&failed)?;
    temp.commit(path).map_err(&failed)
}

fn check_layout(bytes: &[u8]) -> Result<(), Error> {
    let layout: Layout = serde_json::from_slice(bytes).map_err(|_| Error::NotAStore)?;
    if layout.image_layout_version == LAYOUT_VERSION {
        return Ok(());
    }
    Err(Error::LayoutVersion { version: layout.image_layout_version.chars().take(80).collect() })
}

/// A process that makes the same store may be halfway: what it makes is not foreign.
fn check_empty(dir: &Path) -> Result<(), Error> {
    let failed = Error::io("opening the store");
    for entry in fs::read_dir(dir).map_err(&failed)? {
        let name = entry.map_err(&failed)?.file_name();
        let ours = |own: &str| name.to_str() == own.split('/').next();
        // A volume of its own has a `lost+found`.
        let known = ["index.json", "oci-layout", "lost+found"].iter().any(|known| name == *known);
        if !known && !DIRECTORIES.iter().any(|own| ours(own)) {
            return Err(Error::NotAStore);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

    #[test]
    fn only_a_store_or_an_empty_directory_is_opened() {
        type Files = &'static [(&'static str, &'static str)];
        type Verdict = fn(&Result<Store, Error>) -> bool;
        let refused: Verdict = |opened| matches!(opened, Err(Error::NotAStore));
        let newer: Verdict =
            |opened| matches!(opened, Err(Error::LayoutVersion { version }) if version == "2.0.0");
        let table: &[(Files, Verdict)] = &[
            (&[], Result::is_ok),
            (&[("lost+found/x", ""), ("blobs/sha256/x", "")], Result::is_ok),
            (
                &[("oci-layout", LAYOUT), ("index.json", crate::references::EMPTY_INDEX), ("x", "")],
                Result::is_ok,
            ),
            (&[("oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}")], newer),
            (&[("oci-layout", "text")], refused),
            (&[("notes.txt", "")], refused),
        ];
        for (files, expected) in table {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in *files {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let opened = Store::open(dir.path());
            assert!(expected(&opened), "{files:?} {opened:?}");
            if opened.is_err() {
                assert_eq!(
                    fs::read_dir(dir.path()).unwrap().count(),
                    files.len(),
                    "a refused directory is left alone"
                );
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("not/there/yet")).unwrap();
        let blob = store.put_bytes(b"x").unwrap();
        assert_eq!(Store::open(store.dir()).unwrap().stat(&blob.digest).unwrap(), Some(1));
    }

    #[test]
    fn reads_through_the_trait_are_verified() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = store.put_bytes(b"content").unwrap().digest;
        let mut buf = [0; 3];
        store.read_at(&digest, 4, &mut buf).unwrap();
        assert_eq!(&buf, b"ent");
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(store.read_at(&digest, 5, &mut buf)), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(store.read_at(&Digest::of(b""), 0, &mut buf)), io::ErrorKind::NotFound);
        for damage in ["c0ntent", "cont"] {
            fs::remove_file(store.blob_path(&digest)).unwrap();
            fs::write(store.blob_path(&digest), damage).unwrap();
            assert_eq!(kind(store.read_at(&digest, 4, &mut buf)), io::ErrorKind::InvalidData, "{damage}");
        }
    }

    #[test]
    fn a_scratch_directory_lies_in_the_store_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.scratch("seed").unwrap(), dir.path().join("scratch/seed"));
        assert!(dir.path().join("scratch/seed").is_dir());
        for name in ["", "..", "a/b", "/a", "A"] {
            assert!(matches!(store.scratch(name), Err(Error::BadName { .. })), "{name}");
        }
        drop(store);
        Store::open(dir.path()).unwrap();
    }
}
