//! Layers, from archives to the tree of an extension. The input says which entries; headers and sums are made around
//! them, so that nothing is refused for its framing alone.
#![no_main]
use std::collections::HashMap;

use extensions::{Extension, Paths, Stack};
use extent::{Digest, ExtentMap, Kind, TreePath};
use formats::tar;
use libfuzzer_sys::fuzz_target;

/// Words of names and targets: few, so that they meet.
const WORDS: [&str; 14] = [
    "rootfs",
    "usr",
    "lib",
    "firmware",
    "a",
    "b",
    ".wh.a",
    ".wh.usr",
    ".wh..wh..opq",
    ".wh...",
    "..",
    ".",
    "",
    "/",
];

fuzz_target!(|bytes: &[u8]| {
    let mut stack = Stack::new();
    for layer in bytes.split(|&byte| byte == 0xff).take(8) {
        let archive = archive(layer);
        let Ok(layer) = tar::layer(&*archive, Digest::of(&archive)) else { return };
        if stack.lay(&layer).is_err() {
            return;
        }
    }
    let tree = stack.into_tree().expect("what was laid is a tree");
    for (path, node) in tree.iter() {
        assert!(!path.as_str().split('/').any(|name| name.starts_with(".wh.") || name == ".."), "{path}");
        if let Kind::HardLink(target) = &node.kind {
            assert!(matches!(tree.get(target).map(|node| &node.kind), Some(Kind::File(_))), "{path}");
            assert!(target < path, "the first name holds the file");
        }
        if let Some(parent) = path.parent() {
            assert!(matches!(tree.get(&parent).map(|node| &node.kind), Some(Kind::Directory)), "{path}");
        }
    }
    // What was read can be written, and is an extension if it has a manifest.
    tar::archive(&tree, 0).expect("a tree that was archives");
    let mut image = tree;
    let manifest = b"version: v1alpha1\nmetadata: {name: x, version: '1'}\n";
    let names: Vec<TreePath> = image.children(&TreePath::root()).map(|(path, _)| path.clone()).collect();
    for name in names.iter().filter(|name| name.as_str() != "rootfs") {
        image.remove(name);
    }
    let held = image
        .iter()
        .any(|(_, node)| matches!(&node.kind, Kind::HardLink(target) if image.get(target).is_none()));
    if !held && image.file("manifest.yaml", ExtentMap::inline(&manifest[..]), 0o644).is_ok() {
        if let Ok(extension) = Extension::from_image(&image, &HashMap::new()) {
            let _ = extension.split(&Paths::merged_usr());
        }
    }
});

/// The archive of entries: a kind, a name and a target of words each, to the end.
fn archive(mut input: &[u8]) -> Vec<u8> {
    let mut archive = vec![];
    while let Some((&first, rest)) = input.split_first() {
        input = rest;
        let name = words(&mut input, first >> 5);
        let kind = b"0001112255346x"[usize::from(first & 0x1f) % 14];
        let target = if kind == b'1' || kind == b'2' { words(&mut input, first >> 6) } else { String::new() };
        let (name, target) =
            (&name.as_bytes()[..name.len().min(100)], &target.as_bytes()[..target.len().min(100)]);
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..107].copy_from_slice(b"0000755");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        let data: &[u8] = match kind {
            b'0' => b"content",
            b'x' => b"57 SCHILY.xattr.security.selinux=system_u:object_r:etc_t\n",
            _ => b"",
        };
        header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        header[156] = kind;
        header[157..157 + target.len()].copy_from_slice(target);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[329..336].copy_from_slice(b"0000001");
        header[337..344].copy_from_slice(b"0000003");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive
}

/// Up to four words of `input`, joined by slashes.
fn words(input: &mut &[u8], count: u8) -> String {
    let count = usize::from(count % 4 + 1).min(input.len());
    let (words, rest) = input.split_at(count);
    *input = rest;
    words.iter().map(|&word| WORDS[usize::from(word) % WORDS.len()]).collect::<Vec<_>>().join("/")
}
