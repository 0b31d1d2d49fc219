//! Running `depmod`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::scratch::Scratch;
use crate::Error;

/// The only rule: modules in `extras` go before those that came with the kernel. The rules of the machine that
/// this runs on are not asked.
const RULES: &str = "search extras built-in\n";

/// Indexes the modules of `release` in `scratch`.
///
/// A module that `depmod` cannot read is an error here; it would only be missing in the index.
pub(super) fn run(scratch: &Scratch, release: &str) -> Result<(), Error> {
    let rules = scratch.path().join("depmod.conf");
    std::fs::write(&rules, RULES).map_err(|error| scratch.failed(error))?;
    let output = Command::new(depmod())
        .args(["--all", "--basedir"])
        .arg(scratch.path())
        .arg("--config")
        .arg(&rules)
        .arg(release)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(Error::Depmod)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.lines().any(|line| line.starts_with("depmod: ERROR:")) {
        return Err(Error::DepmodFailed { status: output.status, said: shown(&said) });
    }
    if !said.is_empty() {
        tracing::warn!(release, said = shown(&said), "depmod warns");
    }
    Ok(())
}

/// `depmod`, which Debian keeps where the PATH of a user does not lead.
fn depmod() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut found = std::env::split_paths(&path).chain(beside).map(|dir| dir.join("depmod"));
    found.find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("depmod"))
}

fn shown(said: &str) -> String {
    said.trim_end().chars().take(2000).collect()
}
