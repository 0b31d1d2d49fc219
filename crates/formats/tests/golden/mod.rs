//! What the format tests share: printed extent tables compared with files that people review, and maps
//! written out for the tools that judge them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use extent::{Blobs, ExtentMap, Source};

/// What a decoder has to say of the bytes at an offset.
pub struct Mark(pub u64, pub String);

/// The extents of `map`, each followed by the marks that lie in it.
pub fn table(map: &ExtentMap, mut marks: Vec<Mark>) -> String {
    marks.sort_by_key(|mark| mark.0);
    let mut marks = marks.into_iter().peekable();
    let mut text = String::new();
    for (offset, extent) in map.iter() {
        let what = match &extent.source {
            Source::Inline(_) => "inline".to_owned(),
            Source::Blob { digest, offset } => format!("blob {}… + {offset}", &digest.hex()[..8]),
            Source::Zero => "zero".to_owned(),
        };
        writeln!(text, "{offset:>12} {:>12}  {what}", extent.len).unwrap();
        while let Some(Mark(at, line)) = marks.next_if(|mark| mark.0 < offset + extent.len) {
            writeln!(text, "{:>25}  {at:>12}: {line}", "").unwrap();
        }
    }
    writeln!(text, "{:>12}", map.len()).unwrap();
    text
}

/// Compares with `tests/golden/<name>.txt`; writes it instead where `UPDATE_GOLDEN` is set.
pub fn compare(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, printed).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == printed,
        "{} differs; UPDATE_GOLDEN=1 rewrites it. Printed:\n{printed}",
        path.display()
    );
}

/// Writes the bytes that `map` describes to a file, zeros as holes.
pub fn write(map: &ExtentMap, blobs: &dyn Blobs, path: &Path) {
    let mut file = File::create(path).unwrap();
    for (offset, extent) in map.iter() {
        if extent.source != Source::Zero {
            let bytes = extent::read_all(&map.slice(offset..offset + extent.len), blobs, 1 << 30).unwrap();
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.write_all(&bytes).unwrap();
        }
    }
    file.set_len(map.len()).unwrap();
}

/// Runs a tool to its end: whether it was content by its code, and all it said.
pub fn run(tool: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(tool).args(arguments).env("LC_ALL", "C").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A scratch directory and a path in it as text.
pub fn scratch(name: &str) -> (tempfile::TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let text = path.to_str().unwrap().to_owned();
    (dir, path, text)
}

/// A little-endian number of the bytes at `at`.
pub fn le(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
