//! Extent tables: an artifact as people read it.
//!
//! ```text
//!   offset      length  source
//!        0         446  zero
//!      446          66  ours
//!  1048576          90  ours  "mkfs.fat"
//! 21062656    10485760  blob  sha256:4f1c…@0  kernel
//! ```

use std::fmt::Write;

use extent::{Digest, Source};
use serde::Serialize;

use crate::{Artifact, Lock};

/// One extent of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Where it begins in the artifact, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Where its bytes are: `ours`, `blob` or `zero`.
    pub source: &'static str,
    /// The blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where in the blob it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_offset: Option<u64>,
    /// What the blob is, or the first text among our bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// The shortest text that says something.
const TEXT_LEN_MIN: usize = 4;
/// The longest text that is shown.
const TEXT_LEN_MAX: usize = 48;
/// What a cpio header begins with.
const CPIO_MAGIC: &[u8] = b"070701";
/// Its length; the name follows.
const CPIO_HEADER_LEN: usize = 110;
/// The name that ends an archive.
const CPIO_TRAILER: &[u8] = b"TRAILER!!!";

/// The extents of `artifact`, in order, with the words of `lock` for the blobs.
pub fn rows(artifact: &Artifact, lock: &Lock) -> Vec<Row> {
    let words = lock.blobs();
    let rows = artifact.extents.iter().map(|(offset, extent)| {
        let row =
            Row { offset, len: extent.len, source: "zero", digest: None, blob_offset: None, what: None };
        match &extent.source {
            Source::Zero => row,
            Source::Inline(bytes) => Row { source: "ours", what: first_text(bytes), ..row },
            Source::Blob { digest, offset } => Row {
                source: "blob",
                digest: Some(*digest),
                blob_offset: Some(*offset),
                what: words.iter().find(|(of, _)| of == digest).map(|(_, what)| what.clone()),
                ..row
            },
        }
    });
    rows.collect()
}

/// The rows as text, one a line.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!("{:>14} {:>14}  source\n", "offset", "length");
    for Row { offset, len, source, digest, blob_offset, what } in rows {
        // Writing to a string does not fail.
        let _ = write!(text, "{offset:>14} {len:>14}  {source}");
        if let (Some(digest), Some(blob_offset)) = (digest, blob_offset) {
            let _ = write!(text, "  {digest}@{blob_offset}");
        }
        if let Some(what) = what {
            let _ = write!(text, "  {what}");
        }
        text.push('\n');
    }
    text
}

/// The first run of printable characters in `bytes`, quoted. Of cpio headers, the name in the last: what follows
/// is its content.
fn first_text(bytes: &[u8]) -> Option<String> {
    let mut runs = bytes
        .split(|b| !(b' '..=b'~').contains(b))
        .map(<[u8]>::trim_ascii)
        .filter(|run| run.len() >= TEXT_LEN_MIN);
    let first = runs.next()?;
    let names: Vec<&[u8]> = [first]
        .into_iter()
        .chain(runs)
        .filter_map(|run| {
            let header = run.windows(CPIO_MAGIC.len()).rposition(|window| window == CPIO_MAGIC)?;
            run.get(header + CPIO_HEADER_LEN..)
        })
        .collect();
    let file = names.iter().rfind(|name| **name != CPIO_TRAILER);
    let run = file.or(names.last()).copied().unwrap_or(first);
    let text = String::from_utf8_lossy(&run[..run.len().min(TEXT_LEN_MAX)]);
    Some(format!("{text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_among_our_bytes_is_shown() {
        assert_eq!(first_text(b"\0\0EFI PART\0\0more"), Some("\"EFI PART\"".to_owned()));
        assert_eq!(first_text(b"a\0b\0\xff   \0"), None);
        assert_eq!(first_text(&[b'x'; 100]).unwrap().len(), 50);
    }

    #[test]
    fn of_cpio_headers_the_name_of_the_file_that_follows_is_shown() {
        let mut tree = extent::Tree::new();
        tree.file("a/b", vec![1; 4], 0o644).unwrap();
        tree.file("c.sqsh", extent::ExtentMap::zeros(9), 0o644).unwrap();
        let archive = formats::cpio::archive(&tree, 0).unwrap();
        let extent::Source::Inline(bytes) = &archive.extents()[0].source else { panic!("a header is ours") };
        assert_eq!(first_text(bytes).as_deref(), Some("\"c.sqsh\""));
    }
}
