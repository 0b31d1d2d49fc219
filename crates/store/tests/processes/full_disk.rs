//! A full disk: a clear error, and all as it was.
//!
//! The disk is a small tmpfs in a mount namespace of the child, which is gone with it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use extent::ExtentMap;
use oci_spec::image::MediaType;
use store::{Error, Store};

use crate::{child, command};

/// Exit code of the shell when the mount fails, which is no fault of the store.
const NO_MOUNT: i32 = 77;

#[test]
fn a_full_disk_leaves_all_as_it_was() {
    let (Some(unshare), Some(_)) = (ci::tool("unshare"), ci::tool("mount")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=4m none \"$0\" || exit {NO_MOUNT}; exec \"$@\"");
    let exe = std::env::current_exe().unwrap();
    let test = command(&exe, "full_disk::full_disk_child", dir.path(), 0);
    let run = |options: &[&str]| {
        let mut shell = Command::new(&unshare);
        shell.args(options).args(["sh", "-c", &script]).arg(dir.path()).arg(&exe).args(test.get_args());
        shell.envs(test.get_envs().filter_map(|(name, value)| Some((name, value?))));
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

fn names(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn is_full<T>(result: &Result<T, Error>, needed: impl Fn(u64) -> bool) -> bool {
    matches!(result, Err(Error::NoSpace { needed: n, .. }) if needed(*n))
}

#[test]
fn full_disk_child() {
    let Some((dir, _)) = child() else { return };
    let root = dir.join("store");
    let store = Store::open(&root).unwrap();
    let (blobs, tmp) = (root.join("blobs/sha256"), root.join("tmp"));

    // A blob that does not fit.
    let len = 8 << 20;
    let error = store.put(std::io::repeat(7).take(len)).unwrap_err();
    assert!(error.to_string().starts_with("the file system has no room for `"), "{error}");
    assert!(is_full::<()>(&Err(error), |needed| needed > 3 << 20 && needed <= len));
    assert_eq!((names(&blobs), names(&tmp)), (0, 0));

    // Targets that do not fit, beside one that does: holes take nothing.
    let blob = store.put_bytes(&vec![7; 1 << 20]).unwrap();
    let target = dir.join("disk.raw");
    let mut map = ExtentMap::blob(blob.digest, 0, blob.len);
    map.push_zeros(1 << 30);
    store.write_file(&map, &target, &|_| ()).unwrap();
    let old = fs::metadata(&target).unwrap().len();
    for _ in 0..3 {
        map.append(ExtentMap::blob(blob.digest, 0, blob.len));
        map.push_inline(&b"more"[..]);
    }
    assert!(is_full(&store.write_file(&map, &target, &|_| ()), |needed| needed == 4 * blob.len + 12));
    assert_eq!(fs::metadata(&target).unwrap().len(), old);
    assert_eq!(names(&dir), 2, "only the store and the target");

    // Nothing fits.
    let tagged = store.put_bytes(b"{}").unwrap().oci(MediaType::ImageManifest);
    store.tag("a", "before", &tagged).unwrap();
    let filler = fs::File::create(dir.join("filler")).unwrap();
    while (&filler).write(&[1; 4096]).is_ok() {}
    assert!(is_full(&store.tag("a", "after", &tagged), |needed| needed > 0));
    assert_eq!(store.tags("a").unwrap(), ["before"]);
    assert!(is_full(&store.derive("work", 1, &[], || Ok::<_, Error>(1)), |_| true));
    assert!(is_full(&store.put_bytes(b"small"), |needed| needed == 5));
    assert_eq!(names(&tmp), 0);
    assert_eq!(store.put_bytes(b"{}").unwrap().len, 2, "what is there need not be written");

    // Room again.
    drop(filler);
    fs::remove_file(dir.join("filler")).unwrap();
    store.tag("a", "after", &tagged).unwrap();
    assert_eq!(
        store.derive("work", 1, &[], || Ok::<_, Error>(2)).unwrap(),
        2,
        "the failed one left no record"
    );
    assert!(store.scrub(&|_| ()).unwrap().is_clean());

    // No writing at all: what was left by a killed writer stays, and all that is there is there.
    fs::write(tmp.join("left"), "").unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&dir).status().unwrap();
    assert!(remounted.success());
    let store = Store::open(&root).unwrap();
    assert_eq!(store.resolve_tag("a", "after").unwrap(), Some(tagged));
    assert_eq!(store.derive("work", 1, &[], || Ok::<_, Error>(3)).unwrap(), 2);
    assert_eq!(store.put_bytes(b"{}").unwrap().len, 2);
    store.write_to(&map, &mut std::io::sink()).unwrap();
    assert!(matches!(store.put_bytes(b"new"), Err(Error::Io { .. })));
}
