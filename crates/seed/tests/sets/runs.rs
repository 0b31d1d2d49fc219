//! Several runs: the same store again, and another store from nothing.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;

use seed::Progress;
use store::Store;

use crate::{options, seeded, tell};

/// All references of a store.
fn references(store: &Store) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for repository in store.repositories().unwrap() {
        for tag in store.tags(&repository).unwrap() {
            let descriptor = store.resolve_tag(&repository, &tag).unwrap().unwrap();
            found.push((repository.clone(), tag, descriptor.digest().to_string()));
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_second_run_makes_nothing_and_another_store_gets_the_same_bytes() {
    let Some(seeded) = seeded() else { return };
    if std::env::var_os("IMAGER_TEST_STORE").is_some() {
        // It may have been made of the packages of another day, and it is not ours to change.
        eprintln!("SKIPPED: runs are compared in a store of the test's own");
        return;
    }
    let said = Mutex::new(Vec::new());
    let hear = |progress: &Progress| said.lock().unwrap().push(progress.what.clone());
    seed::debian(&seeded.store, &options(), &hear).unwrap();
    let said = said.into_inner().unwrap();
    assert!(said.iter().any(|what| what.contains("package lists")), "{said:?}");
    assert!(!said.iter().any(|what| what.contains("unpacking") || what.contains("storing")), "{said:?}");

    // The package files and lists are taken over: what is compared is what is made of them.
    let dir = tempfile::Builder::new().prefix("another").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let other = Store::open(dir.path().join("a longer path")).unwrap();
    let scratch = other.scratch("seed").unwrap();
    copy(&seeded.store.scratch("seed").unwrap(), &scratch);
    let mut options = options();
    options.threads = NonZeroUsize::MIN;
    let sets = seed::debian(&other, &options, &tell).unwrap();
    let ours: Vec<_> =
        references(&seeded.store).into_iter().filter(|(_, tag, _)| tag.ends_with(&sets[0].version)).collect();
    assert_eq!(references(&other), ours);
    assert_eq!(ours.len(), 4 + 8);

    // No trace of the work but what is kept on purpose.
    let left: Vec<_> = fs::read_dir(&scratch).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("seed-")), "{left:?}");
}
