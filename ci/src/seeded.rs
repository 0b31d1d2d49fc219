//! Stores with real source images, made once and shared by the tests of all rooms.
//!
//! ```text
//! target/test-store/             or what `$IMAGER_TEST_STORE` names, which then has all that is asked of it
//! target/test-store.seeded/      lock, and a mark for each suite with the recipe that seeded it
//! ```
//!
//! What is missing is seeded on demand, by one test process while the others wait: a minute the first time, nothing later.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use extent::Digest;
use seed::{Arch, Options, Suite};
use store::Store;

/// A store with source images of a suite.
pub struct Seeded {
    /// Where the store is.
    pub dir: PathBuf,
    /// The version that the suite has there, as `v13.2.0`.
    pub version: String,
}

/// The store, with `suite` in it for every architecture.
///
/// None, said aloud, on a laptop that cannot seed.
///
/// # Panics
/// When seeding fails, and when `CI` is set and a tool is missing.
pub fn seeded(suite: Suite) -> Option<Seeded> {
    let dir = if let Some(given) = env::var_os("IMAGER_TEST_STORE") {
        PathBuf::from(given)
    } else {
        crate::tool("apt-get")?;
        crate::tool("depmod")?;
        let dir = target().join("test-store");
        seed_once(&dir, suite);
        dir
    };
    let version = newest(&dir, suite);
    let version = version.unwrap_or_else(|| panic!("`{}` has no images of {suite}", dir.display()));
    Some(Seeded { dir, version })
}

fn seed_once(dir: &Path, suite: Suite) {
    // Beside the store: in it is nothing but what belongs to it.
    let marks = dir.with_added_extension("seeded");
    fs::create_dir_all(&marks).expect("the target directory can be written");
    let lock = File::create(marks.join("lock")).expect("the target directory can be written");
    lock.lock().expect("files can be locked");
    let mark = marks.join(format!("{suite}-{}", recipe()));
    if mark.exists() {
        return;
    }
    eprintln!("seeding {suite} into `{}`, once", dir.display());
    let mut options = Options::default();
    options.suites = vec![suite];
    options.archs = Arch::ALL.to_vec();
    let store = Store::open(dir).expect("the store opens");
    let sets = seed::debian(&store, &options, &|_| {});
    sets.unwrap_or_else(|error| panic!("seeding {suite}: {error}"));
    fs::write(mark, "").expect("the target directory can be written");
}

/// The newest version of `suite` in the store.
fn newest(dir: &Path, suite: Suite) -> Option<String> {
    let tags = Store::open(dir).ok()?.tags("siderolabs/imager").ok()?;
    let prefix = format!("v{}.", suite.major());
    tags.into_iter().rfind(|tag| tag.starts_with(&prefix))
}

/// The target directory of the test that runs: it is `target/<profile>/deps/<test>`.
fn target() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    test.ancestors().nth(3).expect("a test lies in a target directory").to_owned()
}

/// Names how the seed makes its images: a changed recipe seeds anew.
fn recipe() -> String {
    let mut files = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/seed/src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("the seed's sources are there") {
            let path = entry.expect("the seed's sources are there").path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let contents: Vec<u8> =
        files.iter().flat_map(|path| fs::read(path).expect("the seed's sources are there")).collect();
    Digest::of(&contents).hex()[..12].to_owned()
}
