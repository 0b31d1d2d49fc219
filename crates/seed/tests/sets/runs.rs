//! Another run on the same store. That another store gets the same bytes is for the tests of `imager` to show, with all
//! that is made of them.

use std::fs;
use std::sync::Mutex;

use seed::{Arch, Options, Suite};

use crate::seeded;

#[test]
fn a_second_run_makes_nothing_and_leaves_no_trace() {
    if std::env::var_os("IMAGER_TEST_STORE").is_some() {
        eprintln!("SKIPPED: the store that is given is not for tests to change");
        return;
    }
    let Some(seeded) = seeded() else { return };
    let mut options = Options::default();
    options.suites = vec![Suite::Trixie];
    options.archs = Arch::ALL.to_vec();
    // The store may be of another day, when other packages were the newest.
    seed::debian(&seeded.store, &options, &|_| {}).unwrap();

    let said = Mutex::new(Vec::new());
    seed::debian(&seeded.store, &options, &|progress| said.lock().unwrap().push(progress.what.clone()))
        .unwrap();
    let said = said.into_inner().unwrap();
    assert!(said.iter().any(|what| what.contains("package lists")), "{said:?}");
    assert!(!said.iter().any(|what| what.contains("unpacking") || what.contains("storing")), "{said:?}");

    // Nothing but what is kept on purpose.
    let kept = fs::read_dir(seeded.store.scratch("seed").unwrap()).unwrap();
    let left: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("seed-")), "{left:?}");
}
