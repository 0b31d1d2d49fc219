//! GUID partition tables before their judges: sgdisk, the `gpt` crate, and people who read golden files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod golden;

use std::collections::HashMap;
use std::io::Cursor;

use bytes::Bytes;
use extent::{Digest, ExtentMap};
use formats::gpt::{self, Disk, Error, Guid, Partition};
use golden::{Mark, le};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn partition(name: &str, type_guid: Guid, start: u64, len: u64, sector: u32) -> Partition {
    Partition {
        type_guid,
        guid: Guid::derived(name.as_bytes()),
        name: name.to_owned(),
        first_lba: start / u64::from(sector),
        len,
        attributes: 0,
        content: ExtentMap::new(),
    }
}

/// The partitions of a dual-boot disk, shrunk.
fn dual_boot(sector: u32) -> Disk {
    let mut bios = partition("BIOS", Guid::BIOS_BOOT, 9 * MIB, MIB, sector);
    bios.attributes = 1 << 2;
    bios.content = ExtentMap::inline(vec![0x90; 1000]);
    let mut efi = partition("EFI", Guid::EFI_SYSTEM, MIB, 8 * MIB, sector);
    efi.content = ExtentMap::blob(Digest::of(&esp()), 0, 5 * MIB + 17);
    Disk {
        len: 20 * MIB,
        sector_size: sector,
        guid: Guid::derived(b"talos-image-disk"),
        entries_lba: 2,
        partitions: vec![
            efi,
            bios,
            partition("BOOT", Guid::LINUX_DATA, 10 * MIB, 4 * MIB, sector),
            partition("META", Guid::LINUX_DATA, 14 * MIB, MIB, sector),
        ],
    }
}

fn esp() -> Bytes {
    vec![0xe5; usize::try_from(5 * MIB + 17).unwrap()].into()
}

fn blobs() -> HashMap<Digest, Bytes> {
    HashMap::from([(Digest::of(&esp()), esp())])
}

fn bytes(map: &ExtentMap) -> Vec<u8> {
    extent::read_all(map, &blobs(), 1 << 30).unwrap()
}

/// Both tables, decoded by hand.
fn marks(map: &ExtentMap, sector: u32) -> Vec<Mark> {
    let bytes = bytes(map);
    let sector = u64::from(sector);
    let guid = |at: usize| Guid::from_disk(bytes[at..at + 16].try_into().unwrap());
    let mut marks = vec![Mark(
        446,
        format!(
            "MBR: status {:02x} from {} type {:02x} to {}, sectors {} + {}, signature {}",
            bytes[446],
            hex::encode(&bytes[447..450]),
            bytes[450],
            hex::encode(&bytes[451..454]),
            le(&bytes, 454, 4),
            le(&bytes, 458, 4),
            hex::encode(&bytes[510..512])
        ),
    )];
    for header in [sector, map.len() - sector] {
        let h = usize::try_from(header).unwrap();
        marks.push(Mark(
            header,
            format!(
                "{} revision {:x} length {} crc {:08x} own {} other {} usable {}..={}",
                String::from_utf8_lossy(&bytes[h..h + 8]),
                le(&bytes, h + 8, 4),
                le(&bytes, h + 12, 4),
                le(&bytes, h + 16, 4),
                le(&bytes, h + 24, 8),
                le(&bytes, h + 32, 8),
                le(&bytes, h + 40, 8),
                le(&bytes, h + 48, 8)
            ),
        ));
        let entries = le(&bytes, h + 72, 8) * sector;
        marks.push(Mark(
            header + 56,
            format!(
                "disk {} entries at {entries}: {} of {} bytes, crc {:08x}",
                guid(h + 56),
                le(&bytes, h + 80, 4),
                le(&bytes, h + 84, 4),
                le(&bytes, h + 88, 4)
            ),
        ));
        for number in 0..le(&bytes, h + 80, 4) {
            let at = entries + number * 128;
            let e = usize::try_from(at).unwrap();
            if guid(e) != Guid::ZERO {
                let name: Vec<u16> =
                    bytes[e + 56..e + 128].chunks(2).map(|u| u16::from_le_bytes([u[0], u[1]])).collect();
                let name = String::from_utf16(&name).unwrap();
                let (first, last) = (le(&bytes, e + 32, 8), le(&bytes, e + 40, 8));
                let attributes = le(&bytes, e + 48, 8);
                marks.push(Mark(
                    at,
                    format!(
                        "entry `{}` {first}..={last} attributes {attributes:x}",
                        name.trim_end_matches('\0')
                    ),
                ));
                marks.push(Mark(at, format!("  type {} own {}", guid(e), guid(e + 16))));
            }
        }
    }
    marks
}

#[test]
fn golden_disk_of_512_byte_sectors() {
    let map = gpt::disk(&dual_boot(512)).unwrap();
    golden::compare("gpt-512", &golden::table(&map, marks(&map, 512)));
}

#[test]
fn golden_disk_of_4096_byte_sectors() {
    let map = gpt::disk(&dual_boot(4096)).unwrap();
    golden::compare("gpt-4096", &golden::table(&map, marks(&map, 4096)));
}

#[test]
fn golden_disk_whose_entries_make_room_for_a_boot_loader() {
    let mut disk = dual_boot(512);
    disk.len += 10 * MIB;
    disk.entries_lba = 2 + 20480;
    for partition in &mut disk.partitions {
        partition.first_lba += 20480;
    }
    assert_eq!(disk.partitions[0].first_lba, 22528);
    let map = gpt::disk(&disk).unwrap();
    golden::compare("gpt-moved", &golden::table(&map, marks(&map, 512)));
}

/// The layouts of real disks, whose first sectors the reference fixes.
#[test]
fn a_dual_boot_disk_ends_where_the_reference_ends_it() {
    let sizes =
        [("EFI", 2048, 2101), ("BIOS", 4_304_896, 1), ("BOOT", 4_306_944, 2000), ("META", 8_402_944, 1)];
    let partitions = sizes
        .map(|(name, first_lba, mib)| partition(name, Guid::LINUX_DATA, first_lba * 512, mib * MIB, 512))
        .to_vec();
    let disk = Disk { len: 4_453_302_272, partitions, ..dual_boot(512) };
    let map = gpt::disk(&disk).unwrap();
    assert_eq!(map.len(), disk.len);
    let header = extent::read_all(&map.slice(512..604), &HashMap::new(), 92).unwrap();
    assert_eq!(le(&header, 32, 8), 8_697_855);
    let entry = extent::read_all(&map.slice(1024 + 3 * 128..1024 + 4 * 128), &HashMap::new(), 128).unwrap();
    assert_eq!(le(&entry, 40, 8), 8_404_991);
}

/// Content by its words: sgdisk's code is 0 for a broken table too. The gaps before the entries and before
/// 1 MiB, of which it warns, are meant.
fn content(said: &str) -> bool {
    let said = said.replace("Warning: There is a gap between the main", "");
    said.contains("No problems found")
        && !["Problem", "Caution", "Warning", "corrupt", "invalid"].iter().any(|word| said.contains(word))
}

#[test]
fn sgdisk_finds_no_problems_and_finds_those_of_the_tampered_twin() {
    let Some(sgdisk) = ci::tool("sgdisk") else { return };
    let (_dir, path, text) = golden::scratch("disk.raw");
    let good = bytes(&gpt::disk(&dual_boot(512)).unwrap());
    std::fs::write(&path, &good).unwrap();
    let (_, said) = golden::run(&sgdisk, &["-v", &text]);
    assert!(content(&said), "{said}");

    let mut moved = dual_boot(512);
    moved.entries_lba = 100;
    golden::write(&gpt::disk(&moved).unwrap(), &blobs(), &path);
    let (_, said) = golden::run(&sgdisk, &["-v", &text]);
    assert!(content(&said), "{said}");

    let (_, said) = golden::run(&sgdisk, &["-i", "2", &text]);
    for expected in [
        "21686148-6449-6E6F-744E-656564454649 (BIOS boot partition)",
        "A2A02FF5-D88D-8E6E-9C95-26B9B6C80BC3",
        "First sector: 18432",
        "Last sector: 20479",
        "Attribute flags: 0000000000000004",
        "'BIOS'",
    ] {
        assert!(said.contains(expected), "{said}");
    }

    let last = good.len() - 512;
    for (what, at) in [
        ("MBR type", 450),
        ("primary header", 512 + 40),
        ("primary entry", 1024 + 33),
        ("backup entry", last - 16384 + 33),
        ("backup header", last + 24),
    ] {
        let mut tampered = good.clone();
        tampered[at] ^= 1;
        std::fs::write(&path, &tampered).unwrap();
        let (_, said) = golden::run(&sgdisk, &["-v", &text]);
        assert!(!content(&said), "{what}: {said}");
    }
}

#[test]
fn the_gpt_crate_reads_back_both_tables() {
    for (sector, block) in
        [(512, ::gpt::disk::LogicalBlockSize::Lb512), (4096, ::gpt::disk::LogicalBlockSize::Lb4096)]
    {
        let disk = dual_boot(sector);
        let device = Cursor::new(bytes(&gpt::disk(&disk).unwrap()));
        let read = ::gpt::GptConfig::new()
            .writable(false)
            .logical_block_size(block)
            .open_from_device(device)
            .unwrap();
        for header in [read.primary_header().unwrap(), read.backup_header().unwrap()] {
            assert_eq!(header.disk_guid.to_string(), disk.guid.to_string());
            assert_eq!(header.num_parts, 128);
        }
        assert_eq!(read.primary_header().unwrap().backup_lba, disk.len / u64::from(sector) - 1);
        assert_eq!(read.partitions().len(), disk.partitions.len());
        for (number, ours) in (1..).zip(&disk.partitions) {
            let theirs = &read.partitions()[&number];
            assert_eq!(theirs.name, ours.name);
            assert_eq!(theirs.part_type_guid.guid.to_string(), ours.type_guid.to_string());
            assert_eq!(theirs.part_guid.to_string(), ours.guid.to_string());
            assert_eq!(theirs.first_lba, ours.first_lba);
            assert_eq!(theirs.bytes_len(block).unwrap(), ours.len);
            assert_eq!(theirs.flags, ours.attributes);
        }
        let mut device = Cursor::new(bytes(&gpt::disk(&disk).unwrap()));
        let mbr = ::gpt::mbr::ProtectiveMBR::from_disk(&mut device, block).unwrap();
        assert_eq!(mbr.partition(0).unwrap().os_type, 0xee);
    }
}

#[test]
fn what_cannot_be_laid_out_is_refused() {
    type Change = fn(&mut Disk);
    let cases: &[(Change, &str)] = &[
        (|d| d.sector_size = 1024, "a sector of 1024 bytes is neither of 512 nor of 4096"),
        (|d| d.len += 1, "20971521 bytes are not a multiple of the sector's 512"),
        (
            |d| d.len = MIB,
            "a disk of 1048576 bytes has no room between its tables, which takes 1065984 bytes",
        ),
        (|d| d.entries_lba = 1, "entries at sector 1 begin before sector 2"),
        (
            |d| d.entries_lba = u64::MAX,
            "a disk of 20971520 bytes has no room between its tables, which takes 18446744073709551615 bytes",
        ),
        (
            |d| d.entries_lba = 2 + 20480,
            "partition `EFI` of 8388608 bytes at sector 2048 leaves the usable sectors 22528 to 40926",
        ),
        (
            |d| d.partitions = vec![d.partitions[0].clone(); 129],
            "129 partitions are more than the table's 128 entries",
        ),
        (
            |d| d.partitions[1].name = "ä".repeat(37),
            "`äääääääääääääääääääääääääääääääääääää` has 37 UTF-16 units, more than 36",
        ),
        (|d| d.partitions[1].type_guid = Guid::ZERO, "partition `BIOS` has the type of an unused entry"),
        (
            |d| d.partitions[1].guid = d.partitions[0].guid,
            "partition `BIOS` has the GUID bca5174b-0118-8a6a-af0b-2c6e1585acae of another",
        ),
        (
            |d| d.partitions[3].len = 0,
            "partition `META` has 0 bytes, which is no positive multiple of the sector's 512",
        ),
        (
            |d| d.partitions[3].len = 1000,
            "partition `META` has 1000 bytes, which is no positive multiple of the sector's 512",
        ),
        (
            |d| d.partitions[3].first_lba += 1,
            "partition `META` begins at sector 28673, not at a multiple of 2048",
        ),
        (
            |d| d.partitions[3].len = 6 * MIB,
            "partition `META` of 6291456 bytes at sector 28672 leaves the usable sectors 2048 to 40926",
        ),
        (
            |d| d.partitions[3].first_lba = u64::MAX - 2047,
            "partition `META` of 1048576 bytes at sector 18446744073709549568 leaves the usable sectors 2048 to 40926",
        ),
        (|d| d.partitions[0].len += 512, "partition `BIOS` begins within partition `EFI`"),
        (|d| d.partitions[3].first_lba = 4096, "partition `META` begins within partition `EFI`"),
        (
            |d| d.partitions[1].content = ExtentMap::zeros(MIB + 1),
            "the content of partition `BIOS` has 1048577 bytes, more than 1048576",
        ),
    ];
    for (change, message) in cases {
        let mut disk = dual_boot(512);
        change(&mut disk);
        let error: Error = gpt::disk(&disk).unwrap_err();
        assert_eq!(error.to_string(), *message);
    }
}

proptest! {
    /// Whatever the places, what is not refused has its length and its contents where the table says.
    #[test]
    fn contents_are_where_the_table_says(
        places in prop::collection::vec((0..24u64, 1..5000u64), 0..6),
        sector in prop::sample::select(vec![512u32, 4096]),
    ) {
        let partitions = places.iter().enumerate().map(|(i, &(mib, len))| {
            let name = i.to_string();
            let len = (len * 512).next_multiple_of(u64::from(sector));
            Partition {
                content: ExtentMap::inline(vec![u8::try_from(i + 1).unwrap(); 300]),
                ..partition(&name, Guid::LINUX_DATA, mib * MIB, len, sector)
            }
        }).collect();
        let disk = Disk { partitions, ..dual_boot(sector) };
        if let Ok(map) = gpt::disk(&disk) {
            prop_assert_eq!(map.len(), disk.len);
            prop_assert_eq!(gpt::disk(&disk).unwrap().id(), map.id());
            let bytes = bytes(&map);
            for (i, p) in disk.partitions.iter().enumerate() {
                let at = usize::try_from(p.first_lba * u64::from(sector)).unwrap();
                prop_assert!(bytes[at..at + 300].iter().all(|&b| usize::from(b) == i + 1));
            }
        }
    }
}
