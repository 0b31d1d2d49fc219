//! The directory that `depmod` works in, gone when it is dropped.

use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::module_name;
use crate::Error;

/// The longest module, unpacked: several times the largest of Debian (amdgpu with symbols, 30 MB).
pub(super) const MODULE_LEN_MAX: u64 = 256 << 20;
/// The most bytes of modules, unpacked: ten times those of Debian's kernels.
const MODULES_LEN_MAX: u64 = 4 << 30;
/// What an xz decoder may allocate; kernel modules are compressed with dictionaries of a few MiB.
const XZ_MEMORY_MAX: u64 = 160 << 20;

/// What the names of the directories begin with.
const PREFIX: &str = "modules-";

/// A directory of our own.
pub(super) struct Scratch {
    dir: TempDir,
    /// Locked as long as somebody works in it.
    _held: File,
}

impl Scratch {
    /// A new directory in `parent`. What killed processes have left there is removed.
    pub fn new(parent: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Scratch { dir: parent.display().to_string(), source };
        // `depmod` 30 crashes on relative paths.
        let parent = fs::canonicalize(parent).map_err(failed)?;
        // Nobody is to find a directory that is not locked yet.
        let making = File::open(&parent).map_err(failed)?;
        making.lock().map_err(failed)?;
        sweep(&parent).map_err(failed)?;
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(failed)?;
        let held = File::open(dir.path()).map_err(failed)?;
        held.lock().map_err(failed)?;
        let scratch = Self { dir, _held: held };
        // `depmod` looks below `lib/modules` or, as newer ones are built, `usr/lib/modules`: both are the same.
        std::os::unix::fs::symlink(".", scratch.path().join("usr")).map_err(|error| scratch.failed(error))?;
        Ok(scratch)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// An error while working here.
    pub fn failed(&self, source: io::Error) -> Error {
        Error::Scratch { dir: self.path().display().to_string(), source }
    }

    /// A file without a name.
    pub fn file(&self) -> Result<File, Error> {
        tempfile::tempfile_in(self.path()).map_err(|error| self.failed(error))
    }

    fn release(&self, release: &str) -> PathBuf {
        self.path().join("lib/modules").join(release)
    }

    /// Writes the file `name` of `release`.
    pub fn write(&self, release: &str, name: &str, content: &[u8]) -> Result<(), Error> {
        fs::write(self.release(release).join(name), content).map_err(|error| self.failed(error))
    }

    /// Writes the modules of `release`, unpacked. They keep their names: `depmod` tells by content whether a module
    /// is compressed, and what it would do alone, and not for gzip in Debian, several threads do here.
    pub fn unpack(
        &self,
        release: &str,
        base: impl Iterator<Item = Result<(String, Vec<u8>), Error>>,
        extensions: impl Iterator<Item = Result<(String, Vec<u8>), Error>>,
    ) -> Result<(), Error> {
        let root = self.release(release);
        fs::create_dir_all(&root).map_err(|error| self.failed(error))?;
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // Few modules wait, so that memory is bounded by the largest.
        let (send, receive) = sync_channel::<(String, Vec<u8>)>(threads);
        let receive = Mutex::new(receive);
        let left = Mutex::new(MODULES_LEN_MAX);
        let first_error = Mutex::new(None);
        let place = |path: &str, content: Vec<u8>| -> Result<(), Error> {
            let content = unpacked(path, content)?;
            let mut left = lock(&left);
            let rest = left.checked_sub(content.len() as u64);
            *left = rest.ok_or(Error::TooLarge { what: "bytes", max: MODULES_LEN_MAX })?;
            drop(left);
            let file = root.join(path);
            let parent = file.parent().unwrap_or(&root);
            fs::create_dir_all(parent).and_then(|()| fs::write(&file, content)).map_err(|e| self.failed(e))
        };
        let work = || {
            loop {
                let job = lock(&receive).recv();
                let Ok((path, content)) = job else { return };
                // After an error the rest is taken and left, so that the sender never waits for nobody.
                let failed = lock(&first_error).is_some();
                if failed {
                    continue;
                }
                if let Err(error) = place(&path, content) {
                    lock(&first_error).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
            for module in base.chain(extensions) {
                let failed = lock(&first_error).is_some();
                match module {
                    _ if failed => break,
                    Ok(module) => send.send(module).expect("the receiver is in this function"),
                    Err(error) => {
                        lock(&first_error).get_or_insert(error);
                        break;
                    }
                }
            }
            drop(send);
        });
        lock(&first_error).take().map_or(Ok(()), Err)
    }

    /// The index of `release` that is there now: every file whose name begins with `modules.`, by name.
    pub fn index(&self, release: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let read = || -> io::Result<Vec<(String, Vec<u8>)>> {
            let mut index = vec![];
            for entry in fs::read_dir(self.release(release))? {
                let entry = entry?;
                let name = entry.file_name().into_string().unwrap_or_default();
                let is_index = name.starts_with("modules.") && module_name(&name).is_none();
                if is_index && entry.file_type()?.is_file() {
                    index.push((name, fs::read(entry.path())?));
                }
            }
            index.sort();
            Ok(index)
        };
        read().map_err(|error| self.failed(error))
    }
}

/// Removes the directories in `parent` that nobody works in.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        match File::open(entry.path()) {
            Ok(left) if left.try_lock().is_ok() => fs::remove_dir_all(entry.path())?,
            Ok(_) => {}
            // Its owner has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is behind a lock; all of it is whole between two uses.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The module at `path` without its compression, by what it begins with.
fn unpacked(path: &str, content: Vec<u8>) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Module { path: path.to_owned(), source };
    let xz = || liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, 0);
    let mut decoder: Box<dyn Read + '_> = match &content[..] {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream = xz().map_err(|error| failed(error.into()))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(&content[..], stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(&content[..]).map_err(failed)?),
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::GzDecoder::new(&content[..])),
        _ => return Ok(content),
    };
    let mut unpacked = vec![];
    decoder.by_ref().take(MODULE_LEN_MAX + 1).read_to_end(&mut unpacked).map_err(failed)?;
    if unpacked.len() as u64 > MODULE_LEN_MAX {
        return Err(Error::TooLarge { what: "bytes in one file", max: MODULE_LEN_MAX });
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_killed_have_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join("modules-left");
        fs::create_dir_all(left.join("lib/modules")).unwrap();
        fs::create_dir(parent.path().join("another's")).unwrap();
        let first = Scratch::new(parent.path()).unwrap();
        assert!(!left.exists());
        let second = Scratch::new(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
        drop((first, second));
        let names: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["another's"]);
    }
}
