//! Debian packages, and the lists that name them.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    seed::foreign::package(bytes);
    seed::foreign::list(bytes);
});
