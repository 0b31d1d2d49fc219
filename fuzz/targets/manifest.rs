//! Extensions: manifests, their version ranges, and images of one layer.
#![no_main]
use std::collections::HashMap;

use extensions::{Extension, Manifest};
use extent::Tree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|yaml: &[u8]| {
    if let Ok(manifest) = Manifest::parse(yaml) {
        let _ = manifest.check(&semver::Version::new(1, 13, 0));
    }
    let mut layer = Tree::new();
    layer.file("manifest.yaml", yaml.to_vec(), 0o644).expect("a path");
    layer.directory("rootfs/usr", 0o755).expect("a path");
    let _ = Extension::from_image(&layer, &HashMap::new());
});
