//! The whole: from suites to tags.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use store::Store;

use crate::apt::{Apt, Mirrors, keyring};
use crate::packages::Packages;
use crate::part::{Archive, Plan, Workshop, part};
use crate::progress::{OnProgress, Step};
use crate::publish::publish;
use crate::scratch::Scratch;
use crate::{Arch, Error, Suite};

/// What to seed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The suites.
    pub suites: Vec<Suite>,
    /// The architectures.
    pub archs: Vec<Arch>,
    /// Where to fetch from; the mirrors of the host's apt configuration without one.
    pub mirror: Option<String>,
    /// How many threads compress. Has no influence on the bytes.
    pub threads: NonZeroUsize,
}

/// A set that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Set {
    /// The suite it was made of.
    pub suite: Suite,
    /// The version tag: `v13.2.0`.
    pub version: String,
    /// All architectures that the version has now, those of earlier runs included.
    pub archs: Vec<Arch>,
    /// The names of its extensions, as schematics use them.
    pub extensions: Vec<String>,
}

/// The loader comes from this suite for every other one as well: systemd 252 of bookworm has a stub that does not
/// know `.profile` sections, and refuses the UKIs of newer versions for it.
const LOADER_SUITE: Suite = Suite::Trixie;

impl Default for Options {
    /// The newest suite for the architecture of this machine, with all its processors.
    fn default() -> Self {
        Self {
            suites: vec![Suite::NEWEST],
            archs: vec![Arch::host().unwrap_or(Arch::Amd64)],
            mirror: None,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// Makes source images of Debian packages, one set for each suite, and gives them their tags.
///
/// Blocking, and minutes long the first time. What an earlier run has fetched or made is used again; what it has
/// made for other architectures stays in the sets. Tags are given when everything of a suite is in the store:
/// after an error the suite is as it was.
///
/// # Errors
/// See [`Error`].
pub fn debian(store: &Store, options: &Options, on_progress: &OnProgress<'_>) -> Result<Vec<Set>, Error> {
    seed(store, options, on_progress).map_err(Error::or_full)
}

fn seed(store: &Store, options: &Options, on_progress: &OnProgress<'_>) -> Result<Vec<Set>, Error> {
    let dir = store.scratch("seed")?;
    let _lock = lock(&dir, on_progress)?;
    let scratch = Scratch::new(&dir)?;
    let packages = Packages::open(dir.join("packages"))?;
    let host = Mirrors::of_host(Path::new("/etc/apt"));
    let mirrors = match &options.mirror {
        Some(uri) => Mirrors::at(uri, host.as_ref().ok())?,
        None => host?,
    };
    let keyring = keyring()?;
    let workshop =
        Workshop { store, packages: &packages, scratch: &scratch, threads: options.threads, on_progress };
    let (mut suites, mut archs) = (options.suites.clone(), options.archs.clone());
    suites.sort_unstable();
    suites.dedup();
    archs.sort_unstable();
    archs.dedup();

    let mut archives = BTreeMap::new();
    let mut versions = BTreeMap::new();
    for &arch in &archs {
        for &suite in suites.iter().chain(&[LOADER_SUITE]) {
            if archives.contains_key(&(suite, arch)) {
                continue;
            }
            let apt = Apt::prepare(dir.join(format!("{suite}-{arch}")), suite, arch, &mirrors, &keyring)?;
            apt.update(on_progress)?;
            let step = Step::begin(on_progress, format!("{}: reading package lists", apt.name()), 0);
            let lists = apt.lists()?;
            step.end();
            versions.entry(suite).or_insert(version(suite, &lists.release)?);
            archives.insert((suite, arch), Archive { apt, index: lists.index });
        }
    }

    let mut sets = Vec::new();
    for suite in suites {
        let version = &versions[&suite];
        let mut parts = Vec::new();
        for &arch in &archs {
            let (archive, loader) = (&archives[&(suite, arch)], &archives[&(LOADER_SUITE, arch)]);
            parts.push(part(&workshop, &Plan { suite, arch, version, archive, loader })?);
        }
        sets.push(publish(store, suite, version, &parts)?);
    }
    Ok(sets)
}

/// The version tag of `release`, as the archive writes it: `13.2` → `v13.2.0`.
fn version(suite: Suite, release: &str) -> Result<String, Error> {
    let mut numbers = release.split('.').map(|number| number.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next(), numbers.next()) {
        (Some(major), point, None) if major == suite.major() => match point {
            None => Ok(format!("v{major}.0.0")),
            Some(Some(point)) => Ok(format!("v{major}.{point}.0")),
            Some(None) => Err(wrong_release(suite, release)),
        },
        _ => Err(wrong_release(suite, release)),
    }
}

fn wrong_release(suite: Suite, release: &str) -> Error {
    let release: String = release.chars().take(80).collect();
    Error::List { list: suite.to_string(), reason: format!("`{release}` is no version of this suite") }
}

/// The seed's part of the store is used by one run at a time; the lock goes with the process.
fn lock(dir: &Path, on_progress: &OnProgress<'_>) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    if file.try_lock().is_err() {
        Step::begin(on_progress, "waiting for another seed of this store to end", 0);
        file.lock().map_err(Error::io("lock", &path))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_release_of_the_suite() {
        let of = |release| version(Suite::Trixie, release).ok();
        assert_eq!(of("13.2").as_deref(), Some("v13.2.0"));
        assert_eq!(of("13").as_deref(), Some("v13.0.0"));
        for release in ["", "12.5", "13.x", "13.2.1", "13-updates", "v13.2"] {
            assert_eq!(of(release), None, "{release}");
        }
    }
}
