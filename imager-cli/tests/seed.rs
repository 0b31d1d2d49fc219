//! What `imager seed` refuses. That it makes what it should is for `boot.rs` to show.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use common::imager;
use predicates::prelude::*;
use predicates::str::contains;

#[test]
fn what_cannot_be_seeded_is_refused_by_the_right_code() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let table: &[(&[&str], i32, &str)] = &[
        (&["--suite", "buster"], 2, "`buster` is no suite: there are `bookworm` and `trixie`"),
        (&["--arch", "riscv64"], 2, "`riscv64` is no architecture"),
        (&["--mirror", "example.org"], 2, "is no address of a package archive"),
        (&["--mirror", "http://127.0.0.1:9/debian"], 5, "fetching the package lists"),
        (&["--threads", "0"], 2, "--threads"),
    ];
    for (flags, code, says) in table {
        let mut command = imager(&store);
        command.args(["seed", "debian"]).args(*flags);
        command.assert().code(*code).stdout("").stderr(contains("error: ").and(contains(*says)));
    }
    imager(&store).args(["versions", "--json"]).assert().success().stdout("[]\n");
    imager(&store).arg("seed").assert().code(2);
}

#[test]
fn a_missing_tool_is_a_fault_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = imager(&dir.path().join("store"));
    command.args(["seed", "debian"]).env("PATH", dir.path());
    command.assert().code(4).stderr(contains("install the package"));
}
