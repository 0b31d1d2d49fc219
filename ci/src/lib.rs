//! What tests share: the tools that judge, and real source images.

#[cfg(feature = "seeded")]
mod seeded;

#[cfg(feature = "seeded")]
pub use seeded::{Seeded, seeded};

use std::path::{Path, PathBuf};
use std::process::Command;

/// The tool `name`, if it is installed.
///
/// A missing tool makes the caller skip, loudly, on a laptop; where `CI` is set nothing may be skipped.
///
/// # Panics
/// When `CI` is set and the tool is missing.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps the judges of file systems in directories that a user's PATH may lack.
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|p| p.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "`{name}` is missing: `ci/install --tests` installs it");
        eprintln!("SKIPPED: `{name}` is missing; run `ci/install --tests` to install it");
    }
    found
}

/// The file at `path`, if the Debian package `package` is installed, which ships it.
///
/// # Panics
/// When `CI` is set and the file is missing.
pub fn file(path: &str, package: &str) -> Option<PathBuf> {
    let found = Path::new(path).is_file().then(|| path.into());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "`{path}` is missing: `ci/install --tests` installs `{package}`"
        );
        eprintln!("SKIPPED: `{path}` is missing; run `ci/install --tests` to install `{package}`");
    }
    found
}

/// A command that runs what is appended to it in a directory `at`, on a disk of `size` (`4m`) that nobody else sees.
///
/// # Panics
/// When `CI` is set and nothing can be mounted.
pub fn disk_of(size: &str, at: &Path) -> Option<Command> {
    let (unshare, _) = (tool("unshare")?, tool("mount")?);
    let script = format!("mount -t tmpfs -o size={size} none \"$0\" && cd \"$0\" && exec \"$@\"");
    let shell = |options: &[&str]| {
        let mut shell = Command::new(&unshare);
        shell.args(options).args(["sh", "-c", &script]).arg(at);
        shell
    };
    // As root; else as root of a user namespace, where the kernel lets users have one.
    for options in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        if shell(options).arg("true").output().is_ok_and(|output| output.status.success()) {
            return Some(shell(options));
        }
    }
    assert!(std::env::var_os("CI").is_none(), "a tmpfs cannot be mounted here");
    eprintln!("SKIPPED: a tmpfs cannot be mounted here, so nothing is known of full disks");
    None
}
