//! The parsers of foreign bytes, for the fuzzer.

use std::io::Cursor;

use crate::apt::index::Index;
use crate::deb;
use crate::scratch::Scratch;

/// The most that a fuzzed package may unpack to, in bytes.
const UNPACKED_LEN_MAX: u64 = 1 << 20;

/// Unpacks a package.
pub fn package(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let scratch = Scratch::new(dir.path()).expect("there is room for a directory");
    let _ = deb::unpack_from(bytes, &scratch, UNPACKED_LEN_MAX);
}

/// Reads a list of packages and all that it says of them.
pub fn list(bytes: &[u8]) {
    let mut index = Index::default();
    let _ = index.read("fuzzed", Cursor::new(bytes));
    for package in index.packages() {
        package.depends();
        package.spec();
    }
}
