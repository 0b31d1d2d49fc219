//! Paths of assets and versions: what is accepted is written as itself.
#![no_main]
use imager::{Asset, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(asset) = text.parse::<Asset>() {
        let written = asset.to_string();
        assert_eq!(written.parse::<Asset>().expect("a path"), asset, "{written}");
    }
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.to_string().parse::<Version>().expect("a version"), version);
    }
});
