//! cpio archives: entries lie within the bytes, one after the other.
#![no_main]
use formats::cpio;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut end = 0;
    for entry in cpio::entries(bytes) {
        let Ok(entry) = entry else { break };
        assert!(
            entry.offset >= end && entry.data.start >= entry.offset && entry.data.start <= entry.data.end
        );
        assert!(entry.data.end <= bytes.len() as u64);
        end = entry.data.end;
    }
});
