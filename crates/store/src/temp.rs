//! Files that are not there yet, and locks.
//!
//! One rule for all of `tmp/`, and for a temporary file beside a target: a file is alive exactly as long as
//! somebody holds an exclusive `flock` on it. The kernel drops the lock of a process that is killed, so what
//! can be locked is rubbish and is removed by whoever meets it ([`sweep`]). Who creates a file locks it and
//! then looks whether it still has a name: a sweep may have come in between.
//!
//! No process ids (they are reused), no ages (a clock can jump, a slow pull can take a day).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Random characters in a temporary name.
const RANDOM_LEN: usize = 12;
const SUFFIX: &str = ".tmp";

/// A file under a name of its own until [`Temp::commit`]; removed when dropped before.
pub(crate) struct Temp {
    file: NamedTempFile,
}

impl Temp {
    /// A new, locked file in `dir` with permissions `mode` less the umask. Its name begins with `prefix`.
    pub(crate) fn new(dir: &Path, prefix: &str, mode: u32) -> io::Result<Self> {
        loop {
            let file = tempfile::Builder::new()
                .prefix(prefix)
                .suffix(SUFFIX)
                .rand_bytes(RANDOM_LEN)
                .permissions(fs::Permissions::from_mode(mode))
                .tempfile_in(dir)?;
            file.as_file().lock()?;
            if file.as_file().metadata()?.nlink() > 0 {
                return Ok(Self { file });
            }
        }
    }

    /// Whether `name` is one that [`Temp::new`] gives with `prefix`.
    pub(crate) fn is_name(name: &str, prefix: &str) -> bool {
        let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
        random.is_some_and(|random| {
            random.len() == RANDOM_LEN && random.bytes().all(|b| b.is_ascii_alphanumeric())
        })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the file its name, durably: on return file and name survive a power cut. At no moment does
    /// `path` name anything but the whole old or the whole new file.
    pub(crate) fn commit(self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(path).map_err(|error| error.error)?;
        sync_parent(path)
    }

    /// Like [`Temp::commit`], but a power cut may take the file, or leave it empty: for what is checked on
    /// reading and can be had again.
    pub(crate) fn commit_volatile(self, path: &Path) -> io::Result<()> {
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// An exclusive lock by name, between threads and between processes. Its file goes when it is dropped.
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock named `path`.
    pub(crate) fn acquire(path: PathBuf) -> io::Result<Self> {
        loop {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            file.lock()?;
            // The last holder removed the file that we waited for; the name may be somebody else's by now.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, path });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held nobody else may remove the name. A failure leaves it for the next sweep.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Removes the files in `dir` that `is_temporary` accepts by name and nobody holds.
pub(crate) fn sweep(dir: &Path, is_temporary: impl Fn(&str) -> bool) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type().is_ok_and(|kind| kind.is_file())
            || !entry.file_name().to_str().is_some_and(&is_temporary)
        {
            continue;
        }
        let path = entry.path();
        // Renamed, removed or not ours to open: no longer, or not, our concern.
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        // A file that we hold keeps its name; but what we opened may have lost it to another before we held it.
        let same = |named: fs::Metadata| {
            file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (named.dev(), named.ino()))
        };
        if fs::symlink_metadata(&path).is_ok_and(same) && fs::remove_file(&path).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_sweep_takes_dead_files_and_spares_living_ones() {
        let dir = tempfile::tempdir().unwrap();
        let living = Temp::new(dir.path(), "living-", 0o600).unwrap();
        let lock = Lock::acquire(dir.path().join("a.lock")).unwrap();
        fs::write(dir.path().join("dead.tmp"), b"left by a killed process").unwrap();
        fs::write(dir.path().join("foreign"), b"not ours").unwrap();

        assert_eq!(sweep(dir.path(), |name| name != "foreign").unwrap(), 1);
        assert!(living.file.path().exists() && lock.path.exists() && dir.path().join("foreign").exists());
        assert!(!dir.path().join("dead.tmp").exists());

        living.commit(&dir.path().join("committed")).unwrap();
        assert!(dir.path().join("committed").exists());
        drop(lock);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a released lock leaves no file");
    }

    #[test]
    fn nobody_shares_a_lock_and_no_sweep_breaks_one() {
        let dir = tempfile::tempdir().unwrap();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _lock = Lock::acquire(dir.path().join("one.lock")).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
            scope.spawn(|| (0..400).for_each(|_| assert!(sweep(dir.path(), |_| true).is_ok())));
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_sweep_takes_a_file_from_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        let tmp = dir.path().join("tmp");
        fs::create_dir(&made).unwrap();
        fs::create_dir(&tmp).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (tmp, made) = (&tmp, &made);
                scope.spawn(move || {
                    for i in 0..200 {
                        let temp = Temp::new(tmp, "x", 0o600).unwrap();
                        temp.commit_volatile(&made.join(format!("{thread}-{i}"))).unwrap();
                    }
                });
            }
            scope.spawn(|| (0..600).for_each(|_| assert!(sweep(&tmp, |_| true).is_ok())));
        });
        assert_eq!(fs::read_dir(&made).unwrap().count(), 600);
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    }
}
