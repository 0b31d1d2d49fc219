//! Package files: fetched once, kept by what they are.
//!
//! ```text
//! <dir>/<hex>.deb        package files, named by the digest that the archive's signed lists give them
//!       <hex>.corrupt    one that was found changed, out of the way
//! ```
//!
//! A file gets its name only after its digest was checked, and the digest is checked again before a file is
//! used: a disk forgets too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use extent::Tree;

use crate::apt::Apt;
use crate::apt::index::Package;
use crate::progress::{OnProgress, Step};
use crate::scratch::{self, Scratch};
use crate::{Error, deb};

/// The directory of package files.
pub(crate) struct Packages {
    dir: PathBuf,
}

impl Packages {
    /// The package files in `dir`, made if it is not there.
    pub fn open(dir: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        Ok(Self { dir })
    }

    /// Sees that all of `packages` are there; what is missing is fetched by `apt`, and nothing else is asked
    /// of the network.
    ///
    /// # Errors
    /// `Download`, `Io`.
    pub fn fetch(
        &self,
        apt: &Apt,
        packages: &[&Package],
        scratch: &Scratch,
        on_progress: &OnProgress<'_>,
    ) -> Result<(), Error> {
        let mut missing: Vec<&Package> =
            packages.iter().copied().filter(|p| !self.path(p).is_file()).collect();
        missing.sort_by_key(|package| package.digest);
        missing.dedup_by_key(|package| package.digest);
        if missing.is_empty() {
            return Ok(());
        }
        let total = missing.iter().map(|package| package.len).sum();
        let count = missing.len();
        let step = Step::begin(on_progress, format!("{}: fetching {count} packages", apt.name()), total);
        let incoming = scratch.directory()?;
        let outcome = apt.download(&missing, incoming.path(), &step);
        self.keep(&missing, incoming.path())?;
        outcome?;
        let absent: Vec<String> =
            missing.iter().filter(|p| !self.path(p).is_file()).map(|p| p.spec()).collect();
        if !absent.is_empty() {
            let said = "apt fetched something else".to_owned();
            return Err(Error::Download { packages: absent, said });
        }
        step.end();
        Ok(())
    }

    /// The files of a package that was fetched, in `scratch`.
    ///
    /// # Errors
    /// `PackageCorrupt`, `Deb`.
    pub fn unpack(&self, package: &Package, scratch: &Scratch) -> Result<Tree, Error> {
        let path = self.path(package);
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        let (found, _) = scratch::digest(&mut file).map_err(Error::io("read", &path))?;
        if found != package.digest {
            let moved_to = path.with_extension("corrupt");
            fs::rename(&path, &moved_to).map_err(Error::io("move aside", &path))?;
            let (package, expected) = (package.spec(), package.digest);
            return Err(Error::PackageCorrupt { package, expected, found, moved_to });
        }
        deb::unpack(&path, scratch).map_err(|source| Error::Deb { package: package.spec(), source })
    }

    /// Gives the files in `incoming` that are one of `packages` their names; what is not is left behind.
    fn keep(&self, packages: &[&Package], incoming: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(incoming).map_err(Error::io("read", incoming))?.flatten() {
            let path = entry.path();
            let mut file = File::open(&path).map_err(Error::io("open", &path))?;
            let (digest, _) = scratch::digest(&mut file).map_err(Error::io("read", &path))?;
            if let Some(package) = packages.iter().find(|package| package.digest == digest) {
                File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
                fs::rename(&path, self.path(package)).map_err(Error::io("keep", &path))?;
            }
        }
        Ok(())
    }

    fn path(&self, package: &Package) -> PathBuf {
        self.dir.join(format!("{}.deb", package.digest.hex()))
    }
}

#[cfg(test)]
mod tests;
