//! The state of the store as a whole.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use extent::Digest;

use crate::{Error, Store};

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrub {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Their length in bytes.
    pub len: u64,
    /// Blobs that are not what their digests say, in order. To put one again mends it.
    pub corrupt: Vec<Digest>,
    /// Blobs that the disk does not give, in order.
    pub unreadable: Vec<Digest>,
    /// References, as (repository, tag), to blobs that are not there.
    pub dangling: Vec<(String, String)>,
}

/// What a store takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskUsage {
    /// Number of blobs.
    pub blobs: u64,
    /// Their length in bytes.
    pub len: u64,
    /// Bytes on disk of all that is in the directory.
    pub allocated: u64,
}

impl Scrub {
    /// Whether all is well.
    pub fn is_clean(&self) -> bool {
        self.corrupt.is_empty() && self.unreadable.is_empty() && self.dangling.is_empty()
    }
}

impl Store {
    /// Hashes every blob anew and follows every reference. `progress` gets the bytes that are hashed.
    ///
    /// Reads through the kernel's cache: a disk that forgets shows when the cache has gone cold.
    ///
    /// # Errors
    /// `Io` when the directory cannot be listed, `BadIndex`. Bad blobs are no errors but findings.
    pub fn scrub(&self, progress: &dyn Fn(u64)) -> Result<Scrub, Error> {
        let mut scrub = Scrub::default();
        for digest in self.digests()? {
            // Past the files that are kept open, so that the file of that name is read and no other.
            let found =
                self.open_alone(&digest).and_then(|blob| Ok((blob.stamp()?.len, self.check_anew(&blob))));
            let (len, verdict) = match found {
                Ok(found) => found,
                // Removed since the listing.
                Err(Error::NotFound { .. }) => continue,
                Err(error) => (0, Err(error)),
            };
            scrub.blobs += 1;
            scrub.len += len;
            match verdict {
                Ok(()) => {}
                Err(Error::Corrupt { .. }) => scrub.corrupt.push(digest),
                Err(error) => {
                    tracing::warn!(%digest, error = &error as &dyn std::error::Error, "blob cannot be read");
                    scrub.unreadable.push(digest);
                }
            }
            progress(scrub.len);
        }
        for repository in self.repositories()? {
            for tag in self.tags(&repository)? {
                let Some(descriptor) = self.resolve_tag(&repository, &tag)? else { continue };
                let digest = descriptor.digest().to_string().parse::<Digest>();
                if !digest.is_ok_and(|digest| matches!(self.stat(&digest), Ok(Some(_)))) {
                    scrub.dangling.push((repository.clone(), tag));
                }
            }
        }
        Ok(scrub)
    }

    /// What the store takes on disk now.
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let mut usage = DiskUsage::default();
        for digest in self.digests()? {
            if let Some(len) = self.stat(&digest)? {
                usage.blobs += 1;
                usage.len += len;
            }
        }
        usage.allocated = allocated(self.dir()).map_err(Error::io("measuring the store"))?;
        Ok(usage)
    }
}

/// Bytes on disk of `path` and all below it. What vanishes meanwhile takes none.
fn allocated(path: &Path) -> io::Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut sum = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            sum += allocated(&entry?.path())?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use oci_spec::image::MediaType;

    use super::*;

    #[test]
    fn a_scrub_finds_what_is_wrong_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut blobs: Vec<_> = (0..5u8).map(|i| store.put_bytes(&[i; 1000]).unwrap()).collect();
        blobs.sort();
        for (tag, blob) in ["a", "b"].iter().zip(&blobs) {
            store.tag("r", tag, &blob.oci(MediaType::ImageManifest)).unwrap();
        }
        fs::write(dir.path().join("blobs/sha256/notes"), "of another tool").unwrap();
        let progress = Cell::new(0);
        let scrub = store.scrub(&|done| progress.set(done)).unwrap();
        assert_eq!(scrub, Scrub { blobs: 5, len: 5000, ..Scrub::default() });
        assert!(scrub.is_clean() && progress.get() == 5000);

        let path = |i: usize| store.blob_path(&blobs[i].digest);
        fs::remove_file(path(0)).unwrap();
        for i in [2, 4] {
            let mut bytes = fs::read(path(i)).unwrap();
            bytes[500] ^= 0x10;
            fs::remove_file(path(i)).unwrap();
            fs::write(path(i), bytes).unwrap();
        }
        fs::remove_file(path(3)).unwrap();
        fs::create_dir(path(3)).unwrap();
        let scrub = store.scrub(&|_| ()).unwrap();
        assert_eq!((scrub.blobs, scrub.is_clean()), (4, false));
        assert_eq!(scrub.corrupt, [blobs[2].digest, blobs[4].digest]);
        assert_eq!(scrub.unreadable, [blobs[3].digest]);
        assert_eq!(scrub.dangling, [("r".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn usage_counts_blobs_and_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let empty = store.disk_usage().unwrap();
        assert_eq!((empty.blobs, empty.len), (0, 0));
        store.put_bytes(&vec![1; 100_000]).unwrap();
        store.put_bytes(&[2; 1]).unwrap();
        let usage = store.disk_usage().unwrap();
        assert_eq!((usage.blobs, usage.len), (2, 100_001));
        assert!(usage.allocated >= empty.allocated + 100_001, "{usage:?}");
    }
}
