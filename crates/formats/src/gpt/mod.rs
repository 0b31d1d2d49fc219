//! GUID partition tables with their protective MBR.
//!
//! Lays out a whole disk around the contents of its partitions. Writes no boot code: the first 446 bytes of
//! the disk stay zero for those who have some. Reads no tables and changes none.
//!
//!   0      1        entries         1 MiB …                        last
//!   │ MBR  │ header │ … │ entries │ … │ partition │ … │ partition │ … │ entries │ header │    (sectors)
//!
//! The entries may begin later than sector 2, so that a board's boot loader fits before them.
//!
//! Source: UEFI specification 2.10, §5.

mod guid;

use std::collections::HashSet;

use extent::ExtentMap;

pub use guid::{Guid, GuidError};

/// A disk to lay out.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Length in bytes, a multiple of the sector size.
    pub len: u64,
    /// Length of a sector in bytes: 512 or 4096.
    pub sector_size: u32,
    /// The disk's own GUID.
    pub guid: Guid,
    /// First sector of the primary table's entries: 2, or more to leave room after the header.
    pub entries_lba: u64,
    /// The partitions in the order of the table, wherever on the disk they lie.
    pub partitions: Vec<Partition>,
}

/// A partition of a disk.
#[derive(Clone, Debug)]
pub struct Partition {
    /// What kind of partition it is.
    pub type_guid: Guid,
    /// The partition's own GUID.
    pub guid: Guid,
    /// Name (label).
    pub name: String,
    /// First sector, at a multiple of 1 MiB.
    pub first_lba: u64,
    /// Length in bytes, a multiple of the sector size.
    pub len: u64,
    /// Attribute bits; bit 0 is required, bit 2 legacy BIOS bootable.
    pub attributes: u64,
    /// What is in it; zeros fill the rest.
    pub content: ExtentMap,
}

/// Why a disk cannot be laid out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Sectors have 512 or 4096 bytes.
    #[error("a sector of {sector_size} bytes is neither of 512 nor of 4096")]
    SectorSize {
        /// The length asked for.
        sector_size: u32,
    },
    /// The disk does not end with a sector.
    #[error("{len} bytes are not a multiple of the sector's {sector_size}")]
    DiskLength {
        /// The disk's length in bytes.
        len: u64,
        /// The sector's length in bytes.
        sector_size: u32,
    },
    /// The disk has no room between its two tables.
    #[error("a disk of {len} bytes has no room between its tables, which takes {needed} bytes")]
    DiskTooSmall {
        /// The disk's length in bytes.
        len: u64,
        /// The least length in bytes that has room for a partition of one sector.
        needed: u64,
    },
    /// The entries would lie on the MBR or the header.
    #[error("entries at sector {entries_lba} begin before sector {min}")]
    EntriesLba {
        /// The sector asked for.
        entries_lba: u64,
        /// The first sector that is free.
        min: u64,
    },
    /// There are more partitions than entries.
    #[error("{count} partitions are more than the table's {max} entries")]
    TooManyPartitions {
        /// How many partitions there are.
        count: usize,
        /// How many a table holds.
        max: usize,
    },
    /// A name does not fit its field.
    #[error("`{name}` has {len} UTF-16 units, more than {max}")]
    NameTooLong {
        /// The name.
        name: String,
        /// Its length in UTF-16 units.
        len: usize,
        /// The field's length in UTF-16 units.
        max: usize,
    },
    /// The all-zero type marks an entry without a partition.
    #[error("partition `{name}` has the type of an unused entry")]
    UnusedType {
        /// The partition.
        name: String,
    },
    /// Two partitions have the same GUID, or one has the disk's.
    #[error("partition `{name}` has the GUID {guid} of another")]
    DuplicateGuid {
        /// The later of the two.
        name: String,
        /// The GUID.
        guid: Guid,
    },
    /// A partition is empty or does not end with a sector.
    #[error(
        "partition `{name}` has {len} bytes, which is no positive multiple of the sector's {sector_size}"
    )]
    PartitionLength {
        /// The partition.
        name: String,
        /// Its length in bytes.
        len: u64,
        /// The sector's length in bytes.
        sector_size: u32,
    },
    /// A partition does not begin at a multiple of 1 MiB.
    #[error("partition `{name}` begins at sector {first_lba}, not at a multiple of {alignment_lba}")]
    Misaligned {
        /// The partition.
        name: String,
        /// Its first sector.
        first_lba: u64,
        /// 1 MiB in sectors.
        alignment_lba: u64,
    },
    /// A partition begins before the first usable sector or ends after the last.
    #[error(
        "partition `{name}` of {len} bytes at sector {first_lba} leaves the usable sectors \
         {first_usable_lba} to {last_usable_lba}"
    )]
    OutOfBounds {
        /// The partition.
        name: String,
        /// Its first sector.
        first_lba: u64,
        /// Its length in bytes.
        len: u64,
        /// The first sector a partition may have.
        first_usable_lba: u64,
        /// The last sector a partition may have.
        last_usable_lba: u64,
    },
    /// Two partitions share sectors.
    #[error("partition `{name}` begins within partition `{other}`")]
    Overlap {
        /// The one that begins later.
        name: String,
        /// The one that begins earlier.
        other: String,
    },
    /// More is to be put into a partition than it holds.
    #[error("the content of partition `{name}` has {len} bytes, more than {max}")]
    ContentTooLong {
        /// The partition.
        name: String,
        /// The content's length in bytes.
        len: u64,
        /// The partition's length in bytes.
        max: u64,
    },
}

/// What partitions are aligned to, in bytes: the erase blocks and stripes of real disks divide it.
pub const ALIGNMENT: u64 = 1 << 20;
/// How many partitions a table holds: the least that UEFI allows and what every tool writes.
pub const PARTITIONS_MAX: usize = 128;
/// The length of a name in UTF-16 units.
const NAME_LEN: usize = 36;
const ENTRY_LEN: usize = 128;
const ENTRIES_LEN: u64 = 128 * 128;

/// Where the parts of a disk lie, in sectors.
struct Layout {
    sector_size: u64,
    entries_lba: u64,
    first_usable_lba: u64,
    last_usable_lba: u64,
    backup_entries_lba: u64,
    last_lba: u64,
}

/// The disk as a whole: MBR, both tables and the contents of the partitions.
///
/// The content of a partition is carried, never read.
pub fn disk(disk: &Disk) -> Result<ExtentMap, Error> {
    let layout = Layout::of(disk)?;
    let by_place = checked(disk, &layout)?;
    let entries = entries(&disk.partitions, layout.sector_size);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&entries);
    crc.update(&vec![0; ENTRY_LEN * (PARTITIONS_MAX - disk.partitions.len())]);
    let entries_crc = crc.finalize();

    let at = |lba: u64| lba * layout.sector_size;
    let mut map = ExtentMap::zeros(446);
    map.push_inline(protective_mbr(layout.last_lba));
    map.zero_to(at(1));
    map.push_inline(layout.header(disk.guid, entries_crc, 1, layout.entries_lba));
    map.zero_to(at(layout.entries_lba));
    map.push_inline(entries.clone());
    for partition in by_place {
        map.zero_to(at(partition.first_lba));
        map.append(partition.content.clone());
    }
    map.zero_to(at(layout.backup_entries_lba));
    map.push_inline(entries);
    map.zero_to(at(layout.last_lba));
    map.push_inline(layout.header(disk.guid, entries_crc, layout.last_lba, layout.backup_entries_lba));
    map.zero_to(disk.len);
    Ok(map)
}

impl Layout {
    fn of(disk: &Disk) -> Result<Self, Error> {
        let Disk { len, sector_size, entries_lba, .. } = *disk;
        if !matches!(sector_size, 512 | 4096) {
            return Err(Error::SectorSize { sector_size });
        }
        let sector = u64::from(sector_size);
        if !len.is_multiple_of(sector) {
            return Err(Error::DiskLength { len, sector_size });
        }
        if entries_lba < 2 {
            return Err(Error::EntriesLba { entries_lba, min: 2 });
        }
        let too_small = |needed| Error::DiskTooSmall { len, needed };
        let primary_end = entries_lba
            .checked_mul(sector)
            .and_then(|start| start.checked_add(ENTRIES_LEN)?.checked_next_multiple_of(ALIGNMENT))
            .ok_or(too_small(u64::MAX))?;
        let needed = primary_end.checked_add(sector + ENTRIES_LEN + sector).ok_or(too_small(u64::MAX))?;
        if len < needed {
            return Err(too_small(needed));
        }
        let last_lba = len / sector - 1;
        let backup_entries_lba = last_lba - ENTRIES_LEN / sector;
        Ok(Self {
            sector_size: sector,
            entries_lba,
            first_usable_lba: primary_end / sector,
            last_usable_lba: backup_entries_lba - 1,
            backup_entries_lba,
            last_lba,
        })
    }

    /// The header that stands at sector `own` and whose entries begin at sector `entries`.
    fn header(&self, guid: Guid, entries_crc: u32, own: u64, entries: u64) -> Vec<u8> {
        let other = if own == 1 { self.last_lba } else { 1 };
        let mut header = b"EFI PART".to_vec();
        header.extend(0x0001_0000_u32.to_le_bytes()); // revision 1.0
        header.extend(92_u32.to_le_bytes());
        header.extend([0; 8]); // the header's own CRC, later, and a reserved field
        for lba in [own, other, self.first_usable_lba, self.last_usable_lba] {
            header.extend(lba.to_le_bytes());
        }
        header.extend(guid.to_disk());
        header.extend(entries.to_le_bytes());
        header.extend(128_u32.to_le_bytes()); // entries
        header.extend(128_u32.to_le_bytes()); // bytes of each
        header.extend(entries_crc.to_le_bytes());
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// The partitions in the order of their places, if all of them can be where they are.
fn checked<'a>(disk: &'a Disk, layout: &Layout) -> Result<Vec<&'a Partition>, Error> {
    let count = disk.partitions.len();
    if count > PARTITIONS_MAX {
        return Err(Error::TooManyPartitions { count, max: PARTITIONS_MAX });
    }
    let mut guids = HashSet::from([disk.guid]);
    for partition in &disk.partitions {
        let name = || partition.name.clone();
        let units = partition.name.encode_utf16().count();
        let Partition { first_lba, len, .. } = *partition;
        if units > NAME_LEN {
            return Err(Error::NameTooLong { name: name(), len: units, max: NAME_LEN });
        }
        if partition.type_guid == Guid::ZERO {
            return Err(Error::UnusedType { name: name() });
        }
        if !guids.insert(partition.guid) {
            return Err(Error::DuplicateGuid { name: name(), guid: partition.guid });
        }
        if len == 0 || !len.is_multiple_of(layout.sector_size) {
            return Err(Error::PartitionLength { name: name(), len, sector_size: disk.sector_size });
        }
        let alignment_lba = ALIGNMENT / layout.sector_size;
        if !first_lba.is_multiple_of(alignment_lba) {
            return Err(Error::Misaligned { name: name(), first_lba, alignment_lba });
        }
        let last_lba = first_lba.checked_add(len / layout.sector_size - 1);
        if first_lba < layout.first_usable_lba || last_lba.is_none_or(|last| last > layout.last_usable_lba) {
            let Layout { first_usable_lba, last_usable_lba, .. } = *layout;
            return Err(Error::OutOfBounds {
                name: name(),
                first_lba,
                len,
                first_usable_lba,
                last_usable_lba,
            });
        }
        if partition.content.len() > len {
            return Err(Error::ContentTooLong { name: name(), len: partition.content.len(), max: len });
        }
    }
    let mut by_place: Vec<&Partition> = disk.partitions.iter().collect();
    by_place.sort_by_key(|partition| partition.first_lba);
    for pair in by_place.windows(2) {
        if pair[1].first_lba < pair[0].first_lba + pair[0].len / layout.sector_size {
            return Err(Error::Overlap { name: pair[1].name.clone(), other: pair[0].name.clone() });
        }
    }
    Ok(by_place)
}

/// The used entries of a table.
fn entries(partitions: &[Partition], sector_size: u64) -> Vec<u8> {
    let mut entries = Vec::with_capacity(partitions.len() * ENTRY_LEN);
    for partition in partitions {
        entries.extend(partition.type_guid.to_disk());
        entries.extend(partition.guid.to_disk());
        entries.extend(partition.first_lba.to_le_bytes());
        entries.extend((partition.first_lba + partition.len / sector_size - 1).to_le_bytes());
        entries.extend(partition.attributes.to_le_bytes());
        entries.extend(partition.name.encode_utf16().flat_map(u16::to_le_bytes));
        entries.resize(entries.len().next_multiple_of(ENTRY_LEN), 0);
    }
    entries
}

/// The 66 bytes after the boot code: one partition of type 0xEE over all that 32 bits reach, and the signature.
fn protective_mbr(last_lba: u64) -> Vec<u8> {
    let mut mbr = vec![0; 66];
    let sectors = u32::try_from(last_lba).unwrap_or(u32::MAX);
    mbr[1..4].copy_from_slice(&[0x00, 0x02, 0x00]); // first sector by cylinder, head and sector
    mbr[4] = 0xee;
    mbr[5..8].copy_from_slice(&[0xff; 3]); // last sector likewise, beyond what the form can say
    mbr[8..12].copy_from_slice(&1_u32.to_le_bytes());
    mbr[12..16].copy_from_slice(&sectors.to_le_bytes());
    mbr[64..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}
