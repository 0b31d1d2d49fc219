//! GUIDs: what is accepted is written as itself, and every sixteen bytes on disk are one.
#![no_main]
use formats::gpt::Guid;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(guid) = text.parse::<Guid>()
    {
        assert_eq!(guid.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(bytes) = <[u8; 16]>::try_from(bytes) {
        let guid = Guid::from_disk(bytes);
        assert_eq!(guid.to_disk(), bytes);
        assert_eq!(guid.to_string().parse::<Guid>().expect("a GUID"), guid);
    }
});
