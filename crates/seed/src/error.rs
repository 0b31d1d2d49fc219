//! Why a set of source images could not be made.

use std::io;
use std::path::{Path, PathBuf};

use extent::Digest;

use crate::deb::DebError;
use crate::{Arch, Suite};

/// Why a set of source images could not be made. Nothing of it is visible in the store then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of a mirror is none that apt can fetch from.
    #[error("`{uri}` is no address of a package archive: use `http://`, `https://` or `file:`")]
    Mirror {
        /// The address, at most 200 characters of it.
        uri: String,
    },
    /// Neither the options nor the host say where Debian's packages are.
    #[error("the apt configuration of this machine has no mirror of Debian: name one with `--mirror`")]
    NoMirror,
    /// A program that the seed runs is not there.
    #[error("`{tool}` is missing: install the package `{package}`")]
    ToolMissing {
        /// The program.
        tool: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program that the seed runs did not succeed.
    #[error("`{tool}` failed: {said}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// The end of what it wrote.
        said: String,
    },
    /// The keys of Debian's archive are not on this machine.
    #[error("there is no `{}`: install the package `debian-archive-keyring`", path.display())]
    KeyringMissing {
        /// Where the keys are looked for.
        path: PathBuf,
    },
    /// The keys of Debian's archive on this machine are older than the suite.
    #[error("`{}` has no key for {suite}: install a newer `debian-archive-keyring` ({said})", keyring.display())]
    KeyMissing {
        /// The suite.
        suite: Suite,
        /// The file of keys.
        keyring: PathBuf,
        /// What apt said.
        said: String,
    },
    /// The lists of an archive are not signed by Debian.
    #[error("the package lists of {suite} are not signed as they should be: {said}")]
    Signature {
        /// The suite.
        suite: Suite,
        /// What apt said.
        said: String,
    },
    /// The lists of an archive cannot be had, and there are none from an earlier run.
    #[error("fetching the package lists of {suite} for {arch} from `{mirror}`: {said}")]
    Lists {
        /// The suite.
        suite: Suite,
        /// The architecture.
        arch: Arch,
        /// The mirror asked.
        mirror: String,
        /// What apt said.
        said: String,
    },
    /// A list of packages is not what such a list is.
    #[error("package list `{list}`: {reason}")]
    List {
        /// The file.
        list: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A package is not in the archive.
    #[error("there is no package `{package}`")]
    NoPackage {
        /// Its name.
        package: String,
    },
    /// A package needs what is not in the archive.
    #[error("package `{package}` depends on `{dependency}`, which no package satisfies")]
    Unsatisfied {
        /// The package, `name=version`.
        package: String,
        /// What it depends on.
        dependency: String,
    },
    /// Packages could not be fetched.
    #[error("fetching {}: {said}", packages.join(", "))]
    Download {
        /// What was not fetched, each `name=version`.
        packages: Vec<String>,
        /// What apt said.
        said: String,
    },
    /// A package file that was fetched earlier has changed since. It was moved aside, so that the next run
    /// fetches it again.
    #[error(
        "package `{package}` is corrupt: its file has {found} where the archive lists {expected}; \
         moved it to `{}`, run again to fetch it anew", moved_to.display()
    )]
    PackageCorrupt {
        /// The package, `name=version`.
        package: String,
        /// The digest that the archive lists.
        expected: Digest,
        /// The digest of the file.
        found: Digest,
        /// Where the file is now.
        moved_to: PathBuf,
    },
    /// A package file cannot be unpacked.
    #[error("unpacking package `{package}`")]
    Deb {
        /// The package, `name=version`.
        package: String,
        /// What is wrong with it.
        #[source]
        source: DebError,
    },
    /// A package lacks a file that an image is made of.
    #[error("package `{package}` has no `{path}`")]
    FileMissing {
        /// The package, `name=version`.
        package: String,
        /// The file.
        path: String,
    },
    /// A path of a package gets too long below the directory that an image has it in.
    #[error(transparent)]
    Tree(#[from] extent::TreeError),
    /// The base cannot be made into a squashfs.
    #[error("writing the base's squashfs")]
    Squashfs(#[source] formats::squashfs::Error),
    /// Files cannot be made into a layer.
    #[error("writing a layer")]
    Layer(#[source] formats::tar::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The file system that the store is on is full.
    #[error("the file system of the store is full")]
    Full {
        /// What could not be done.
        source: Box<Error>,
    },
    /// A file or directory of the store's scratch space cannot be used.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The same error, or the reason behind it when that is a full disk: no part of the work is then at fault.
    pub(crate) fn or_full(self) -> Self {
        let said = match &self {
            Self::Lists { said, .. } | Self::Download { said, .. } | Self::Tool { said, .. } => said,
            _ => "",
        };
        let mut is_full = said.contains("No space left") || said.contains("Disk quota exceeded");
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&self);
        while let Some(error) = source {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            is_full |= matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
            source = error.source();
        }
        if is_full { Self::Full { source: Box::new(self) } } else { self }
    }

    /// Wraps an I/O error in what was being done to `path`.
    pub(crate) fn io<P: AsRef<Path> + ?Sized>(
        action: &'static str,
        path: &P,
    ) -> impl FnOnce(io::Error) -> Self + use<P> {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_wherever_it_was_met() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let said = "E: Write error - write (28: No space left on device)".to_owned();
        let package = || "a=1".to_owned();
        for error in [
            Error::io("write", "x")(full()),
            Error::Deb { package: package(), source: DebError::Scratch(full()) },
            Error::Squashfs(formats::squashfs::Error::Write(full())),
            Error::Download { packages: vec![package()], said },
        ] {
            assert!(matches!(error.or_full(), Error::Full { .. }));
        }
        assert!(matches!(Error::NoPackage { package: package() }.or_full(), Error::NoPackage { .. }));
    }
}
