//! Kernels: a release is a word.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|kernel: &[u8]| {
    if let Ok(Some(release)) = formats::linux::release(kernel) {
        assert!(!release.is_empty() && !release.contains(char::is_whitespace));
    }
});
