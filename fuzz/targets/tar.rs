//! tar archives: files are ranges of the archive.
#![no_main]
use extent::{Digest, Kind, Source};
use formats::tar;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tree) = tar::read(bytes, Digest::of(b"")) else { return };
    for (_, node) in tree.iter() {
        let Kind::File(content) = &node.kind else { continue };
        for extent in content.extents() {
            if let Source::Blob { offset, .. } = extent.source {
                assert!(offset + extent.len <= bytes.len() as u64);
            }
        }
    }
    // What was read can be written.
    tar::archive(&tree, 0).expect("a tree that was an archive");
});
