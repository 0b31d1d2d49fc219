//! zstd frames: the blocks of a form lie within the frame, and a frame can be made of it.
#![no_main]
use extent::{Digest, ExtentMap};
use formats::zstd;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|compressed: &[u8]| {
    let digest = Digest::of(compressed);
    let Ok(form) = zstd::form(compressed, digest) else { return };
    let blob = Digest::of(b"content");
    let frame =
        zstd::frame(&ExtentMap::blob(blob, 0, 100_000), &|asked| (*asked == blob).then(|| form.clone()));
    for extent in frame.extents() {
        if let extent::Source::Blob { digest: of, offset } = &extent.source
            && *of == digest
        {
            assert!(offset + extent.len <= compressed.len() as u64);
        }
    }
});
