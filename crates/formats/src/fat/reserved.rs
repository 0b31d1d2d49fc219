//! The sectors before the tables.
//!
//!   0      1        2 … 5   6      7        8 …
//!   │ boot │ FSInfo │ zeros │ boot │ FSInfo │ zeros │       (sectors)
//!
//! Source: Microsoft FAT specification 1.03, §3.1 (boot sector), §5 (FSInfo).

use extent::ExtentMap;

use super::geometry::Geometry;
use super::{ROOT_CLUSTER, Volume};

/// The sectors before the tables: boot sector and FSInfo, and both again from sector 6.
pub(super) fn reserved(
    map: &mut ExtentMap,
    geometry: &Geometry,
    volume: &Volume,
    label: Option<&[u8; 11]>,
    used: u32,
) {
    let sector = u64::from(geometry.sector_size);
    let boot = boot_sector(geometry, volume, label);
    let (free, hint) = match geometry.clusters - used {
        0 => (0, u32::MAX),
        free => (free, ROOT_CLUSTER + used),
    };
    for base in [0, 6 * sector] {
        map.zero_to(base);
        map.push_inline(boot.clone());
        map.zero_to(base + 510);
        map.push_inline(&[0x55, 0xaa][..]);
        map.zero_to(base + sector);
        map.push_inline(&b"RRaA"[..]);
        map.zero_to(base + sector + 484);
        map.push_inline([*b"rrAa", free.to_le_bytes(), hint.to_le_bytes()].concat());
        map.zero_to(base + sector + 510);
        map.push_inline(&[0x55, 0xaa][..]);
    }
}

/// The boot sector up to where its zeros begin.
fn boot_sector(geometry: &Geometry, volume: &Volume, label: Option<&[u8; 11]>) -> Vec<u8> {
    let mut boot = vec![0xeb, 0x58, 0x90]; // jump to the code below
    boot.extend(b"mkfs.fat"); // what the volume is laid out like; nobody reads it
    boot.extend(geometry.sector_size.to_le_bytes());
    boot.push(geometry.sectors_per_cluster);
    boot.extend(geometry.reserved_sectors.to_le_bytes());
    boot.push(2); // tables
    boot.extend([0; 4]); // FAT12 and FAT16: entries of the root, sectors
    boot.push(0xf8); // fixed disk
    boot.extend([0; 2]); // FAT12 and FAT16: sectors per table
    boot.extend(geometry.sectors_per_track.to_le_bytes());
    boot.extend(geometry.heads.to_le_bytes());
    boot.extend([0; 4]); // sectors before the volume: no reader needs them
    boot.extend(geometry.sectors.to_le_bytes());
    boot.extend(geometry.fat_sectors.to_le_bytes());
    boot.extend([0; 4]); // both tables are in use; version 0.0
    boot.extend(ROOT_CLUSTER.to_le_bytes());
    boot.extend(1_u16.to_le_bytes()); // FSInfo
    boot.extend(6_u16.to_le_bytes()); // backup
    boot.extend([0; 12]);
    boot.extend([0x80, 0, 0x29]); // drive; the next three fields are there
    boot.extend(volume.id.to_le_bytes());
    boot.extend(label.unwrap_or(b"NO NAME    "));
    boot.extend(b"FAT32   ");
    boot.extend([0xcd, 0x18, 0xf4, 0xeb, 0xfd]); // int 0x18: the next device; then hlt, for ever
    boot
}
