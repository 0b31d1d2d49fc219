//! The initramfs: the version's own, with microcode before and extensions behind it.
//!
//! ```text
//! │ microcode, a cpio archive │ initramfs of the version │ firmware │ firmware │ … │ layers, a cpio archive │
//!   not compressed: the kernel  as it is                   each a compressed         not compressed: squashfs
//!   looks for it before it can                             cpio archive              is already
//!   decompress
//! ```
//!
//! Each member is a complete archive and begins at a multiple of 4: the kernel drops a misaligned one, and all
//! behind it, without a word. The reference compresses the layers once more; nothing is gained by it.
//!
//! Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`, `Documentation/arch/x86/microcode.rst`;
//! `pkg/imager/extensions` of Talos, as facts.

use extent::{ExtentMap, Tree};
use formats::cpio;

use super::EPOCH;
use crate::Error;

/// What is put together.
pub(super) struct Initramfs {
    /// The version's own.
    pub base: ExtentMap,
    /// Microcode for Intel's processors: files one behind the other.
    pub intel_ucode: ExtentMap,
    /// Microcode for AMD's processors.
    pub amd_ucode: ExtentMap,
    /// Compressed cpio archives.
    pub firmware: Vec<ExtentMap>,
    /// Squashfs images by file name.
    pub layers: Vec<(String, ExtentMap)>,
    /// `extensions.yaml`, which gives the layers their order.
    pub extensions_yaml: String,
}

/// The whole initramfs.
pub(super) fn initramfs(parts: Initramfs) -> Result<ExtentMap, Error> {
    let mut members = Vec::new();
    let mut microcode = Tree::new();
    for (vendor, content) in [("AuthenticAMD", parts.amd_ucode), ("GenuineIntel", parts.intel_ucode)] {
        if !content.is_empty() {
            microcode.file(&format!("kernel/x86/microcode/{vendor}.bin"), content, 0o644)?;
        }
    }
    if !microcode.is_empty() {
        members.push(cpio::archive(&microcode, EPOCH)?);
    }
    members.push(parts.base);
    members.extend(parts.firmware);
    let mut layers = Tree::new();
    for (name, content) in parts.layers {
        layers.file(&name, content, 0o644)?;
    }
    layers.file("extensions.yaml", ExtentMap::inline(parts.extensions_yaml.into_bytes()), 0o644)?;
    members.push(cpio::archive(&layers, EPOCH)?);
    Ok(cpio::concat(members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use extent::read_all;
    use std::collections::HashMap;

    fn text(text: &str) -> ExtentMap {
        ExtentMap::inline(text.as_bytes().to_vec())
    }

    fn bytes(map: &ExtentMap) -> Vec<u8> {
        read_all(map, &HashMap::new(), u64::MAX).unwrap()
    }

    #[test]
    fn microcode_is_first_and_everything_begins_at_a_multiple_of_four() {
        let map = initramfs(Initramfs {
            base: text("base!"),
            intel_ucode: text("intel"),
            amd_ucode: ExtentMap::new(),
            firmware: vec![text("firmware"), text("f")],
            layers: vec![("0.sqsh".to_owned(), text("layer"))],
            extensions_yaml: "layers: []\n".to_owned(),
        })
        .unwrap();
        let bytes = bytes(&map);
        assert!(bytes.starts_with(b"070701"));
        let at = |part: &[u8]| bytes.windows(part.len()).position(|window| window == part).unwrap();
        assert!(at(b"kernel/x86/microcode/GenuineIntel.bin") < at(b"base!"));
        assert!(at(b"intel") < at(b"base!") && at(b"base!") < at(b"firmware"));
        let base = at(b"base!");
        assert_eq!((base % 4, at(b"firmware")), (0, base + 8));
        assert_eq!(&bytes[base + 16..base + 26], b"f\x00\x00\x00070701");
        assert!(at(b"0.sqsh") < at(b"extensions.yaml"));
        assert!(!bytes.windows(12).any(|window| window == b"AuthenticAMD"));
    }

    #[test]
    fn without_microcode_the_base_is_first() {
        let map = initramfs(Initramfs {
            base: text("base"),
            intel_ucode: ExtentMap::new(),
            amd_ucode: ExtentMap::new(),
            firmware: vec![],
            layers: vec![],
            extensions_yaml: String::new(),
        })
        .unwrap();
        assert!(bytes(&map).starts_with(b"base070701"));
    }
}
