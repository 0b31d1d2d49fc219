//! Zstandard frames before their judges: zstd, the `zstd` crate's streaming decoder, and people who read golden
//! files. A disk in a frame before those of its parts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod golden;

use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

use bytes::Bytes;
use extent::{Digest, ExtentMap, Source, Tree};
use formats::fat::{self, Volume};
use formats::gpt::{self, Disk, Guid, Partition};
use formats::zstd::{self, Form};
use golden::{Mark, le};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
/// The blocks that bring back the repeat offsets, as they stand in a frame.
const RESET: &[u8] = b"\x3c\0\0\0\x01\x54\0\x03\0\x0b\x3c\0\0\0\x02\x54\0\x02\0\x1c";

/// Blobs, some of which have a form; the form's frame is a blob too.
#[derive(Default)]
struct Library {
    blobs: HashMap<Digest, Bytes>,
    forms: HashMap<Digest, Form>,
}

impl Library {
    fn blob(&mut self, bytes: Vec<u8>) -> ExtentMap {
        let (digest, len) = (Digest::of(&bytes), bytes.len() as u64);
        self.blobs.insert(digest, bytes.into());
        ExtentMap::blob(digest, 0, len)
    }

    /// A blob that has the form `compressed`.
    fn formed(&mut self, bytes: Vec<u8>, compressed: Vec<u8>) -> ExtentMap {
        let digest = Digest::of(&compressed);
        let form = zstd::form(&compressed, digest).unwrap();
        self.blobs.insert(digest, compressed.into());
        self.forms.insert(Digest::of(&bytes), form);
        self.blob(bytes)
    }

    fn compressed(&mut self, bytes: Vec<u8>) -> ExtentMap {
        let compressed = zstd::compress_blob(&bytes);
        self.formed(bytes, compressed)
    }

    fn frame(&self, map: &ExtentMap) -> ExtentMap {
        zstd::frame(map, &|digest| self.forms.get(digest).cloned())
    }

    fn bytes(&self, map: &ExtentMap) -> Vec<u8> {
        extent::read_all(map, &self.blobs, 1 << 32).unwrap()
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Bytes that compress into many sequences: words out of a book of their own.
fn prose(seed: u64, len: usize) -> Vec<u8> {
    let book = noise(seed, 4096);
    let mut bytes = Vec::with_capacity(len + 64);
    for pick in noise(seed + 1, len).chunks_exact(4) {
        let (at, word) = (usize::from(pick[0]) * 8 + usize::from(pick[1]), 4 + usize::from(pick[2] % 29));
        bytes.extend(book[at..at + word].iter().map(|byte| byte & 0x3f));
        if bytes.len() >= len {
            break;
        }
    }
    bytes.truncate(len);
    bytes
}

/// Prose behind a beginning that a compressor finds at distance 4, one of the first repeat offsets.
fn repetitive(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = b"abcd".repeat(40);
    bytes.extend(prose(seed, len));
    bytes
}

/// Decoded in little pieces, with no more window than every decoder grants.
fn decode(frame: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut decoder = ::zstd::Decoder::with_buffer(frame)?;
    decoder.window_log_max(23)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4099];
    loop {
        match decoder.read(&mut piece)? {
            0 => return Ok(bytes),
            len => bytes.extend_from_slice(&piece[..len]),
        }
    }
}

/// What the literals and the tables of a compressed block are.
fn modes(body: &[u8]) -> String {
    let (kind, format) = (body[0] & 3, body[0] >> 2 & 3);
    let (header, section) = if kind < 2 {
        let (header, shift) = match format {
            1 => (2, 4),
            3 => (3, 4),
            _ => (1, 3),
        };
        (header, if kind == 0 { le(body, 0, header) >> shift } else { 1 })
    } else {
        let (header, bits) = [(3, 10), (3, 10), (4, 14), (5, 18)][usize::from(format)];
        (header, le(body, 0, header) >> 4 >> bits)
    };
    let section = header + usize::try_from(section).unwrap();
    let literals = ["raw", "rle", "huffman", "treeless"][usize::from(kind)];
    let (count, header) = match body[section] {
        255 => (le(body, section + 1, 2) + 0x7f00, 3),
        high @ 128.. => (u64::from(high - 128) << 8 | u64::from(body[section + 1]), 2),
        count => (u64::from(count), 1),
    };
    if count == 0 {
        return format!("literals {literals}, no sequences");
    }
    let tables = [6, 4, 2]
        .map(|s| ["predefined", "rle", "fse", "repeat"][usize::from(body[section + header] >> s & 3)]);
    format!("literals {literals}, {count} sequences, tables {}", tables.join(" "))
}

/// The header and the blocks of a frame; like blocks that follow each other are one line.
fn marks(frame: &[u8]) -> Vec<Mark> {
    let mut marks = vec![Mark(
        0,
        format!(
            "magic {:08x} descriptor {:02x} window {:02x} content {}",
            le(frame, 0, 4),
            frame[4],
            frame[5],
            le(frame, 6, 8)
        ),
    )];
    let mut lines: Vec<(u64, String, u32)> = Vec::new();
    let mut at = 14;
    loop {
        let header = le(frame, at, 3);
        let len = usize::try_from(header >> 3).unwrap();
        let (body_len, mut line) = match header >> 1 & 3 {
            0 => (len, format!("raw {len}")),
            1 => (1, format!("{len} of {:02x}", frame[at + 3])),
            _ => (len, format!("compressed {len}: {}", modes(&frame[at + 3..at + 3 + len]))),
        };
        if frame[at..].starts_with(RESET) || frame[at - 10..].starts_with(RESET) {
            line += " (reset)";
        }
        if header & 1 == 1 {
            line += ", last";
        }
        match lines.last_mut() {
            Some((_, same, count)) if *same == line => *count += 1,
            _ => lines.push((at as u64, line, 1)),
        }
        at += 3 + body_len;
        if header & 1 == 1 {
            assert_eq!(at, frame.len());
            break;
        }
    }
    marks.extend(lines.into_iter().map(|(at, line, count)| match count {
        1 => Mark(at, line),
        _ => Mark(at, format!("{count} x {line}")),
    }));
    marks
}

/// A map with all that a frame tells apart.
fn sampler(library: &mut Library) -> ExtentMap {
    let mut map = ExtentMap::inline(b"a table".repeat(30));
    map.push_zeros(1_000_000);
    map.append(library.blob(noise(1, 200_000)));
    map.push_zeros(20); // too few to be told apart
    map.push_inline(&b"a header"[..]);
    map.push_zeros(300_000);
    map.append(library.compressed(prose(2, 400_000)));
    map.push_zeros(500);
    map.append(library.compressed(repetitive(3, 150_000)));
    map.push_zeros(12); // no room for a reset: the longer of its neighbours keeps its form
    map.append(library.compressed(repetitive(4, 50_000)));
    map.push_zeros(40);
    map.append(library.compressed(noise(5, 1000))); // its form is longer
    map.push_zeros(40);
    map.append(library.compressed(prose(6, 5000)));
    map
}

#[test]
fn golden_frame() {
    let mut library = Library::default();
    let map = sampler(&mut library);
    let frame = library.frame(&map);
    let printed = golden::table(&frame, marks(&library.bytes(&frame)));
    assert!(printed.contains("tables repeat"), "a form of several blocks uses its tables again");
    assert_eq!(printed.matches("(reset)").count(), 4, "before the second form and before the last");
    golden::compare("zstd", &printed);
    assert!(decode(&library.bytes(&frame)).unwrap() == library.bytes(&map));
}

#[test]
fn a_second_form_decodes_only_after_a_reset() {
    let mut library = Library::default();
    let mut map = library.compressed(prose(1, 300_000));
    map.push_zeros(32);
    map.append(library.compressed(repetitive(2, 300_000)));
    let frame = library.frame(&map);
    assert!(frame.len() < map.len() * 3 / 4, "both forms are used");
    let frame = library.bytes(&frame);
    assert!(decode(&frame).unwrap() == library.bytes(&map));

    // The same frame with nine plain zeros in place of the two blocks.
    let at = frame.windows(RESET.len()).position(|window| window == RESET).unwrap();
    let control = [&frame[..at], &[9 << 3 | 1 << 1, 0, 0, 0], &frame[at + RESET.len()..]].concat();
    assert!(!decode(&control).is_ok_and(|bytes| bytes == library.bytes(&map)));
}

#[test]
fn zstd_tests_lists_and_decodes_one_frame() {
    let Some(tool) = ci::tool("zstd") else { return };
    let mut library = Library::default();
    let map = sampler(&mut library);
    let (_dir, path, text) = golden::scratch("sampler.zst");
    golden::write(&library.frame(&map), &library.blobs, &path);
    let (ok, said) = golden::run(&tool, &["-t", &text]);
    assert!(ok, "{said}");
    let (ok, said) = golden::run(&tool, &["-lv", &text]);
    assert!(ok, "{said}");
    let size = format!("({} B)", map.len());
    for expected in ["# Zstandard Frames: 1\n", "Window Size: 8.00 MiB", &size, "Check: None"] {
        assert!(said.contains(expected), "{said}");
    }
    let out = format!("{text}.out");
    let (ok, said) = golden::run(&tool, &["-d", "-q", "-M8MB", &text, "-o", &out]);
    assert!(ok, "{said}");
    assert!(std::fs::read(&out).unwrap() == library.bytes(&map));

    let mut tampered = library.bytes(&library.frame(&map));
    tampered[14] ^= 8; // the first block is one byte longer
    std::fs::write(&path, &tampered).unwrap();
    let (ok, said) = golden::run(&tool, &["-t", &text]);
    assert!(!ok, "{said}");
}

#[test]
fn nothing_is_a_frame_of_one_empty_block() {
    let frame = Library::default().bytes(&zstd::frame(&ExtentMap::new(), &|_| None));
    assert_eq!(frame[14..], [1, 0, 0]);
    assert_eq!(decode(&frame).unwrap(), b"");
}

#[test]
fn a_form_at_the_end_ends_the_frame() {
    let mut library = Library::default();
    // One frame ends with a block of content, the other with an empty one.
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
    let bytes = prose(1, 300_000);
    encoder.set_pledged_src_size(Some(300_000)).unwrap();
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    std::io::Write::flush(&mut encoder).unwrap();
    let empty_last = encoder.finish().unwrap();
    for map in [library.formed(bytes, empty_last), library.compressed(prose(2, 300_000))] {
        let frame = library.frame(&map);
        assert!(frame.len() < map.len() / 2 + map.len() / 4);
        assert!(decode(&library.bytes(&frame)).unwrap() == library.bytes(&map));
    }
}

/// What a form says may not be what the blob is, and a blob may be there in part.
#[test]
fn a_form_of_other_content_is_not_used() {
    let mut library = Library::default();
    let whole = library.compressed(prose(1, 100_000));
    for map in [whole.slice(1..100_000), whole.slice(0..99_999)] {
        let frame = library.frame(&map);
        assert_eq!(frame.len(), 14 + 3 + map.len());
        assert!(decode(&library.bytes(&frame)).unwrap() == library.bytes(&map));
    }
    let text = serde_json::to_string(library.forms.values().next().unwrap()).unwrap();
    let torn: Form = serde_json::from_str(&text.replace("\"start\":", "\"start\":9")).unwrap();
    assert_eq!(zstd::frame(&whole, &|_| Some(torn.clone())).len(), 14 + 3 + whole.len());
}

/// 18 000 blocks of zeros are one extent, and so are many small pieces.
#[test]
fn a_frame_has_few_extents() {
    let mut map = ExtentMap::inline(vec![1; 100]);
    map.push_zeros(2350 * MIB);
    map.push_inline(vec![1; 100]);
    let frame = zstd::frame(&map, &|_| None);
    assert_eq!((frame.extents().len(), frame.len()), (1, 14 + 2 * 103 + 18_800 * 4));

    let mut map = ExtentMap::new();
    for _ in 0..20_000 {
        map.push_inline(vec![1; 40]);
        map.push_zeros(20 + map.len() % 40);
    }
    assert_eq!(map.extents().len(), 40_000);
    assert_eq!(zstd::frame(&map, &|_| None).extents().len(), 1);
}

fn esp() -> (Library, Tree) {
    let mut library = Library::default();
    let mut tree = Tree::new();
    let kernel = library.compressed(prose(1, 900_000));
    let mut uki = ExtentMap::inline(noise(2, 5000));
    uki.align_to(512);
    uki.append(kernel);
    uki.align_to(512);
    uki.append(library.blob(noise(3, 3_000_001)));
    tree.file("EFI/Linux/Talos-v1.14.0.efi", uki, 0o644).unwrap();
    let boot = library.compressed(repetitive(4, 170_000));
    tree.file("EFI/boot/BOOTX64.efi", boot, 0o644).unwrap();
    tree.file("loader/loader.conf", b"timeout 10\n".to_vec(), 0o644).unwrap();
    (library, tree)
}

/// Tree, volume, disk, frame: and all the way back.
#[test]
fn a_disk_in_a_frame_is_a_disk() {
    let (library, tree) = esp();
    let volume = Volume { len: 301 * MIB, label: "EFI".to_owned(), time: 1_559_424_892, ..Volume::default() };
    let efi = Partition {
        type_guid: Guid::EFI_SYSTEM,
        guid: Guid::derived(b"EFI"),
        name: "EFI".to_owned(),
        first_lba: 2048,
        len: volume.len,
        attributes: 0,
        content: fat::fat32(&tree, &volume).unwrap(),
    };
    let disk = Disk {
        len: 304 * MIB,
        sector_size: 512,
        guid: Guid::derived(b"talos-image-disk"),
        entries_lba: 2,
        partitions: vec![efi],
    };
    let disk = gpt::disk(&disk).unwrap();
    let frame = library.frame(&disk);
    assert!(frame.len() < 3_000_001 + 900_000 * 3 / 4, "{}", frame.len());
    golden::compare("zstd-disk", &golden::table(&frame, marks(&library.bytes(&frame))));

    // In whatever pieces it is fetched.
    let pieces = (0..frame.len()).step_by(70_001).map(|at| library.bytes(&frame.slice(at..at + 70_001)));
    assert!(pieces.collect::<Vec<_>>().concat() == library.bytes(&frame));

    let (Some(zstd), Some(sgdisk), Some(fsck), Some(mcopy)) =
        (ci::tool("zstd"), ci::tool("sgdisk"), ci::tool("fsck.vfat"), ci::tool("mcopy"))
    else {
        return;
    };
    let (dir, path, text) = golden::scratch("disk.raw.zst");
    golden::write(&frame, &library.blobs, &path);
    let raw = text.trim_end_matches(".zst");
    let (ok, said) = golden::run(&zstd, &["-d", "-q", &text, "-o", raw]);
    assert!(ok, "{said}");
    assert!(std::fs::read(raw).unwrap() == library.bytes(&disk));
    let (_, said) = golden::run(&sgdisk, &["-v", raw]);
    assert!(said.contains("No problems found"), "{said}");
    let (_, said) = golden::run(&sgdisk, &["-p", raw]);
    assert!(said.contains("EF00  EFI"), "{said}");
    let volume_path = dir.path().join("esp.img");
    golden::write(&disk.slice(MIB..302 * MIB), &library.blobs, &volume_path);
    let (ok, said) = golden::run(&fsck, &["-n", volume_path.to_str().unwrap()]);
    assert!(ok && said.lines().last().unwrap().contains("8 files"), "{said}");
    let out = dir.path().join("uki");
    let at_offset = format!("{raw}@@1M");
    let (ok, said) =
        golden::run(&mcopy, &["-i", &at_offset, "::EFI/Linux/Talos-v1.14.0.efi", out.to_str().unwrap()]);
    assert!(ok, "{said}");
    let uki = tree.content("EFI/Linux/Talos-v1.14.0.efi").unwrap();
    assert!(std::fs::read(out).unwrap() == library.bytes(uki));
}

/// A few blobs with forms, compressed once for all cases.
fn shelf() -> &'static (Library, Vec<ExtentMap>) {
    static SHELF: OnceLock<(Library, Vec<ExtentMap>)> = OnceLock::new();
    SHELF.get_or_init(|| {
        let mut library = Library::default();
        let mut blobs = vec![library.blob(noise(1, 300_000)), library.blob(prose(2, 1000))];
        for (level, bytes) in [
            (1, repetitive(3, 2000)),
            (3, prose(4, 140_000)),
            (9, repetitive(5, 300_000)),
            (19, repetitive(6, 60_000)),
            (3, vec![7; 1000]),
            (3, b"abcdefgh".repeat(500)),
            (3, noise(7, 5000)),
            (3, vec![0; 300]),
        ] {
            let compressed = ::zstd::bulk::compress(&bytes, level).unwrap();
            blobs.push(library.formed(bytes, compressed));
        }
        (library, blobs)
    })
}

prop_compose! {
    fn any_map()(pieces in prop::collection::vec((0..6u8, 0..100u64, 0..1000u64, any::<u32>()), 0..24)) -> ExtentMap {
        let (_, blobs) = shelf();
        let mut map = ExtentMap::new();
        for (kind, small, medium, pick) in pieces {
            let blob = &blobs[pick as usize % blobs.len()];
            match kind {
                0 => map.push_zeros(small % 40),
                1 => map.push_zeros(medium * 700),
                2 => map.push_inline(noise(medium, usize::try_from(small).unwrap())),
                3 => map.push_inline(noise(small, usize::try_from(medium * 50).unwrap())),
                4 => map.append(blob.slice(medium..blob.len() - medium.min(blob.len() / 2))),
                _ => map.append(blob.clone()),
            }
        }
        map
    }
}

proptest! {
    #[test]
    fn a_frame_decodes_to_its_map(map in any_map()) {
        let (library, _) = shelf();
        let frame = library.frame(&map);
        prop_assert_eq!(library.frame(&map).id(), frame.id());
        let bytes = library.bytes(&frame);
        prop_assert_eq!(le(&bytes, 6, 8), map.len());
        prop_assert!(decode(&bytes).unwrap() == library.bytes(&map));
        // 3 bytes for each block of data, 7 for each run of zeros between data.
        let runs = map.extents().iter().filter(|e| e.source == Source::Zero).count() as u64;
        prop_assert!(frame.len() <= map.len() + 17 + 3 * (map.len() >> 17) + 7 * runs);
    }

    #[test]
    fn a_frame_in_a_frame_decodes_twice(map in any_map()) {
        let (library, _) = shelf();
        let outer = library.frame(&library.frame(&map));
        let inner = decode(&library.bytes(&outer)).unwrap();
        prop_assert!(decode(&inner).unwrap() == library.bytes(&map));
    }
}
