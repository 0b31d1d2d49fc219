//! Maps become bytes: on a pipe, in a file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use extent::{ExtentMap, Source};

use crate::files::OpenBlobs;
use crate::temp::{self, Temp};
use crate::{Error, Store};

/// Bytes read, or zeros written, at once.
const CHUNK_LEN: usize = 256 << 10;
/// Bytes that the kernel copies between two calls of a progress function.
const STEP_LEN: u64 = 16 << 20;
/// Bytes of a target's name that its temporary name repeats, so that the latter is no longer than a name may be.
const PREFIX_LEN_MAX: usize = 100;

impl Store {
    /// Writes the bytes that `map` describes to `out`. No byte is written before all blobs are verified.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `OutOfRange`, before the first byte; `NoSpace`, `Io` for what `out` says.
    pub fn write_to(&self, map: &ExtentMap, out: &mut impl Write) -> Result<(), Error> {
        let blobs = OpenBlobs::of(map, self, |digest| self.blob(digest))?;
        blobs.check(self)?;
        let failed = Error::writing("writing", map.len());
        let mut buf = vec![0; usize::try_from(map.len()).unwrap_or(CHUNK_LEN).min(CHUNK_LEN)];
        for extent in map.extents() {
            if let Source::Inline(bytes) = &extent.source {
                out.write_all(bytes).map_err(&failed)?;
                continue;
            }
            let mut done = 0;
            while done < extent.len {
                let len = usize::try_from(extent.len - done).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
                match &extent.source {
                    Source::Blob { digest, offset } => {
                        blobs.get(digest).read_at(offset + done, &mut buf[..len])?;
                    }
                    _ => buf[..len].fill(0),
                }
                out.write_all(&buf[..len]).map_err(&failed)?;
                done += len as u64;
            }
        }
        out.flush().map_err(&failed)?;
        blobs.check(self)
    }

    /// Writes the bytes that `map` describes to the file `path`. At any moment that is the old file or the
    /// whole new one, whatever fails or is killed. Zeros become holes. Blobs are verified while others are
    /// copied. `progress` gets the bytes of the map that are done, now and then.
    ///
    /// What is there and is no regular file (a device, a pipe) is written in place, every byte of it, after
    /// all blobs are verified.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `OutOfRange`, `NoSpace`, `Io`.
    pub fn write_file(&self, map: &ExtentMap, path: &Path, progress: &dyn Fn(u64)) -> Result<(), Error> {
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return self.write_in_place(map, path, progress);
        }
        // A link stays one: what it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let blobs = OpenBlobs::of(map, self, |digest| {
            // Opened for us alone: the kernel copies from the position of the file.
            self.open_alone(digest).map(Arc::new)
        })?;
        let needed = map
            .extents()
            .iter()
            .filter(|extent| extent.source != Source::Zero)
            .map(|extent| extent.len)
            .sum();
        let failed = Error::writing("writing the target", needed);
        let temp = temp_beside(&path).map_err(&failed)?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let verified = scope.spawn(|| {
                blobs.check_until(self, &stop).inspect_err(|_| stop.store(true, Ordering::Relaxed))
            });
            let copied = fill(temp.file(), map, &blobs, &|done| {
                progress(done);
                !stop.load(Ordering::Relaxed)
            });
            stop.fetch_or(copied.is_err(), Ordering::Relaxed);
            // That a blob is corrupt is the better answer than what followed from it.
            verified.join().expect("verifying does not panic")?;
            copied.map_err(&failed)
        })?;
        temp.file().sync_all().map_err(&failed)?;
        // Costs a look at each, unless one was changed after it was verified: that may have been copied.
        blobs.check(self)?;
        temp.commit(&path).map_err(&failed)
    }

    fn write_in_place(&self, map: &ExtentMap, path: &Path, progress: &dyn Fn(u64)) -> Result<(), Error> {
        let file = File::options().write(true).open(path).map_err(Error::io("opening the target"))?;
        self.write_to(map, &mut Counted { out: &file, done: 0, progress })?;
        match file.sync_all() {
            // A pipe and a terminal have nothing to make durable.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(Error::writing("writing the target", map.len())(error))
            }
            _ => Ok(()),
        }
    }
}

/// Says how many bytes went by.
struct Counted<'a> {
    out: &'a File,
    done: u64,
    progress: &'a dyn Fn(u64),
}

impl Write for Counted<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buf)?;
        self.done += count as u64;
        (self.progress)(self.done);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Fills `file`, which is new and empty. `go_on` gets the bytes that are done; filling ends early when it says no.
fn fill(mut file: &File, map: &ExtentMap, blobs: &OpenBlobs, go_on: &dyn Fn(u64) -> bool) -> io::Result<()> {
    file.set_len(map.len())?;
    for (start, extent) in map.iter() {
        match &extent.source {
            Source::Zero => {}
            Source::Inline(bytes) => {
                file.seek(SeekFrom::Start(start))?;
                file.write_all(bytes)?;
            }
            Source::Blob { digest, offset } => {
                let mut blob = &blobs.get(digest).file;
                blob.seek(SeekFrom::Start(*offset))?;
                file.seek(SeekFrom::Start(start))?;
                let mut done = 0;
                while done < extent.len && go_on(start + done) {
                    let len = (extent.len - done).min(STEP_LEN);
                    // Between two files this is copy_file_range(2): the bytes do not pass through here.
                    if io::copy(&mut blob.take(len), &mut file)? != len {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    done += len;
                }
            }
        }
        if !go_on(start + extent.len) {
            break;
        }
    }
    Ok(())
}

/// A temporary file in the directory of `path`. Removes what killed writers of the same target have left.
fn temp_beside(path: &Path) -> io::Result<Temp> {
    let dir = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
    let prefix = format!(".{}.", &name[..name.floor_char_boundary(PREFIX_LEN_MAX)]);
    let temp = Temp::new(dir, &prefix, 0o666)?;
    // Rubbish that stays is a nuisance, not a failure.
    let _ = temp::sweep(dir, |name| Temp::is_name(name, &prefix));
    Ok(temp)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::Mutex;

    use extent::{Digest, read_all};

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    /// A map of all kinds of extents, 64 MiB of which are zeros.
    fn map(store: &Store) -> ExtentMap {
        let digest = store.put_bytes(&pattern(3_000_000)).unwrap().digest;
        let mut map = ExtentMap::inline(pattern(1000));
        map.append(ExtentMap::blob(digest, 1, 2_999_999));
        map.push_zeros(64 << 20);
        map.append(ExtentMap::blob(digest, 700, 4096));
        map.push_inline(&b"end"[..]);
        map.push_zeros(5);
        map
    }

    #[test]
    fn the_ways_of_writing_agree() {
        let (dir, store) = store();
        let map = map(&store);
        let whole = read_all(&map, &store, u64::MAX).unwrap();
        let mut out = Vec::new();
        store.write_to(&map, &mut out).unwrap();
        assert!(out == whole);

        let path = dir.path().join("disk.raw");
        fs::write(&path, "old").unwrap();
        let seen = Mutex::new(Vec::new());
        store.write_file(&map, &path, &|done| seen.lock().unwrap().push(done)).unwrap();
        assert!(fs::read(&path).unwrap() == whole);
        let seen = seen.into_inner().unwrap();
        assert!(seen.is_sorted() && seen.last() == Some(&map.len()), "{seen:?}");
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 8 << 20, "zeros are holes");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "only the store and the file");

        store.write_file(&ExtentMap::new(), &path, &|_| ()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_file_is_as_readable_as_any_other() {
        let (dir, store) = store();
        fs::write(dir.path().join("usual"), "").unwrap();
        store.write_file(&ExtentMap::zeros(1), &dir.path().join("ours"), &|_| ()).unwrap();
        let mode = |name| fs::metadata(dir.path().join(name)).unwrap().mode();
        assert_eq!(mode("ours"), mode("usual"));
    }

    #[test]
    fn links_and_devices_stay_what_they_are() {
        let (dir, store) = store();
        let map = map(&store);
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        store.write_file(&map, &link, &|_| ()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().len(), map.len());

        store.write_file(&map, Path::new("/dev/null"), &|_| ()).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(matches!(store.write_file(&map, dir.path(), &|_| ()), Err(Error::Io { .. })));
    }

    #[test]
    fn bad_blobs_leave_the_old_file_and_nothing_else() {
        let (dir, store) = store();
        let map = map(&store);
        let digest = map.blobs()[0];
        let path = dir.path().join("disk.raw");
        fs::write(&path, "old").unwrap();
        let blob = store.blob_path(&digest);
        let whole = fs::read(&blob).unwrap();
        let mut flipped = whole.clone();
        flipped[2_999_999] ^= 1;
        for (damage, what) in [(&flipped[..], "flipped"), (&whole[..2_000_000], "cut"), (b"", "empty")] {
            fs::remove_file(&blob).unwrap();
            fs::write(&blob, damage).unwrap();
            let mut out = Vec::new();
            for error in [store.write_to(&map, &mut out), store.write_file(&map, &path, &|_| ())] {
                assert!(matches!(error, Err(Error::Corrupt { digest: d }) if d == digest), "{what}");
            }
            assert!(out.is_empty(), "{what}");
        }
        fs::remove_file(&blob).unwrap();
        assert!(matches!(store.write_file(&map, &path, &|_| ()), Err(Error::NotFound { .. })));
        fs::write(&blob, &whole).unwrap();
        let beyond = ExtentMap::blob(digest, 1, 3_000_000);
        let error = store.write_file(&beyond, &path, &|_| ());
        assert!(matches!(error, Err(Error::OutOfRange { len: 3_000_000, end: 3_000_001, .. })));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_a_killed_writer_left_goes_with_the_next_write() {
        let (dir, store) = store();
        let path = dir.path().join("disk.raw");
        let left = dir.path().join(".disk.raw.AbCdEf012345.tmp");
        let spared = [".disk.raw.AbCdEf01234.tmp", ".disk.raw.tmp", ".other.raw.AbCdEf012345.tmp"];
        fs::write(&left, "half").unwrap();
        for name in spared {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let living = temp_beside(&path).unwrap();
        assert!(!left.exists());
        store.write_file(&ExtentMap::zeros(1), &path, &|_| ()).unwrap();
        living.commit(&path).unwrap();
        assert!(spared.iter().all(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn a_missing_blob_is_named() {
        let (_dir, store) = store();
        let digest = Digest::of(b"absent");
        let error = store.write_to(&ExtentMap::blob(digest, 0, 1), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("blob `{digest}` is not in the store"));
    }
}
