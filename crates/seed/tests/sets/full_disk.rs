//! A full disk: a clear error, and no version.
//!
//! The disk is a tmpfs in a mount namespace of the child, large enough for the lists and the packages.

use std::path::PathBuf;
use std::process::Command;

use seed::{Arch, Error, Options, Suite};
use store::Store;

/// Names the directory that a child works in, and makes a child of a process.
const DIRECTORY: &str = "SEED_TEST_DIRECTORY";
/// Exit code of the shell when the mount fails, which is no fault of the seed.
const NO_MOUNT: i32 = 77;

#[test]
fn a_full_disk_ends_in_a_clear_error() {
    let (Some(unshare), Some(_)) = (ci::tool("unshare"), ci::tool("mount")) else { return };
    if crate::seeded().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=256m none \"$0\" || exit {NO_MOUNT}; exec \"$@\"");
    let run = |options: &[&str]| {
        let mut shell = Command::new(&unshare);
        shell.args(options).args(["sh", "-c", &script]).arg(dir.path()).arg(std::env::current_exe().unwrap());
        shell.args(["full_disk::full_disk_child", "--exact", "--nocapture"]).env(DIRECTORY, dir.path());
        shell.status().unwrap().code()
    };
    // As root; else as root of a user namespace, where the kernel lets users have one.
    let mut code = run(&["--mount"]);
    if code != Some(0) && code != Some(101) {
        code = run(&["--mount", "--map-root-user"]);
    }
    if matches!(code, Some(1 | NO_MOUNT)) {
        assert!(std::env::var_os("CI").is_none(), "a tmpfs cannot be mounted here");
        eprintln!("SKIPPED: a tmpfs cannot be mounted here, so nothing is known of full disks");
        return;
    }
    assert_eq!(code, Some(0));
}

#[test]
fn full_disk_child() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let store = Store::open(dir.join("store")).unwrap();
    let mut options = Options::default();
    options.suites = vec![Suite::Trixie];
    options.archs = vec![Arch::Amd64];
    let error = seed::debian(&store, &options, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert_eq!(store.repositories().unwrap(), [""; 0]);
    assert!(store.scrub(&|_| ()).unwrap().is_clean());
}
