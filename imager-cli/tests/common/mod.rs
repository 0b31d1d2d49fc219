//! What the tests of `imager` share.

// Each test binary takes its part of it, and test code may unwrap.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;

use assert_cmd::Command;

/// `imager` on the store in `store`, with nothing of the tester's own configuration.
pub fn imager(store: &Path) -> Command {
    let mut command = Command::cargo_bin("imager").unwrap();
    command
        .env_remove("XDG_DATA_HOME")
        .env_remove("RUST_LOG")
        .env("HOME", "/nonexistent")
        .env("IMAGER_STORE", store);
    command
}
