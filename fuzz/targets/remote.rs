//! What registries and configurations say: the first byte chooses the parser.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((which, text)) = bytes.split_first() {
        remote::fuzzing::parse(*which, text);
    }
});
