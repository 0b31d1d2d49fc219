//! One derivation, many processes.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use store::Store;

use crate::{READY, child, spawn};

/// Variant of the child that never comes to an end.
const ENDLESS: u64 = 0;

#[test]
fn deriving_child() {
    let Some((dir, variant)) = child() else { return };
    let store = Store::open(dir.join("store")).unwrap();
    let work = || {
        let mut runs = File::options().create(true).append(true).open(dir.join("runs")).unwrap();
        runs.write_all(b"run\n").unwrap();
        if variant == ENDLESS {
            println!("{READY}");
            std::thread::sleep(Duration::from_mins(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        store.put_bytes(b"derived")
    };
    if variant != ENDLESS {
        println!("{READY}");
    }
    let output = store.derive("shared", 1, &[], work).unwrap();
    assert_eq!(store.bytes(&output.digest, 100).unwrap(), &b"derived"[..]);
}

fn runs(dir: &Path) -> usize {
    fs::read_to_string(dir.join("runs")).unwrap().lines().count()
}

#[test]
fn processes_that_derive_at_once_make_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (1..=4).map(|i| spawn("derive::deriving_child", dir.path(), i)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(runs(dir.path()), 1);
}

#[test]
fn the_next_process_takes_over_from_a_killed_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = spawn("derive::deriving_child", dir.path(), ENDLESS);
    let mut heir = spawn("derive::deriving_child", dir.path(), 1);
    // Time to come to the lock; and if it has not, it finds the lock free, which is no less right.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(heir.try_wait().unwrap(), None, "it waits for the one at work");
    assert_eq!(runs(dir.path()), 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(heir.wait().unwrap().success());
    assert_eq!(runs(dir.path()), 2);
    assert_eq!(fs::read_dir(dir.path().join("store/tmp")).unwrap().count(), 0);
}
