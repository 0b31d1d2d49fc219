//! How a volume of a length is divided: what mkfs.vfat of dosfstools 4.2 decides, in its words.

use super::{Error, Volume};

/// The division of a volume. Everything is counted in sectors but where it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// In bytes.
    pub sector_size: u16,
    pub sectors_per_cluster: u8,
    pub reserved_sectors: u16,
    /// Of each of the two tables.
    pub fat_sectors: u32,
    /// Of the whole volume; what is left of a last, partial track is not used.
    pub sectors: u32,
    pub clusters: u32,
    pub sectors_per_track: u16,
    pub heads: u16,
}

/// The fewest clusters of a FAT32 volume: firmware tells the types apart by this number and nothing else.
pub(super) const CLUSTERS_MIN: u32 = 65525;
/// The most: 28 bits less the reserved values.
const CLUSTERS_MAX: u32 = 0x0fff_fff6;
/// FSInfo, the backup of the boot sector and the room that Microsoft's own layout has.
const RESERVED_SECTORS: u16 = 32;
const FATS: u64 = 2;

/// Heads and sectors per track up to a number of sectors. Meaningless but for the rounding to whole tracks.
///
/// Source: SD physical layer specification 2.0, table C-2; the volumes below 32 MiB cannot be FAT32.
const TRACKS: [(u64, u16, u16); 7] = [
    (262_144, 8, 32),
    (524_288, 16, 32),
    (1_032_192, 16, 63),
    (2_064_384, 32, 63),
    (4_128_768, 64, 63),
    (8_257_536, 128, 63),
    (u64::MAX, 255, 63),
];

impl Geometry {
    /// The division of a volume; it may have too few clusters for FAT32.
    pub fn of(volume: &Volume) -> Result<Self, Error> {
        let sector_size = match volume.sector_size {
            512 => 512,
            4096 => 4096,
            sector_size => return Err(Error::SectorSize { sector_size }),
        };
        let all = volume.len / u64::from(sector_size);
        let (_, heads, sectors_per_track) =
            *TRACKS.iter().find(|(max, ..)| all <= *max).expect("the last row takes all");
        let sectors = u32::try_from(all - all % u64::from(sectors_per_track)).map_err(|_| {
            Error::TooLarge { len: volume.len, max: u64::from(u32::MAX) * u64::from(sector_size) }
        })?;
        let sectors_per_cluster = match volume.sectors_per_cluster {
            // Microsoft's table (FAT specification 1.03, §3.5) is for sectors of 512 bytes; mkfs applies it
            // to the number of sectors, whatever their size.
            None => match all {
                0..=532_480 => 1,
                532_481..=16_777_216 => 8,
                16_777_217..=33_554_432 => 16,
                33_554_433..=67_108_864 => 32,
                _ => 64,
            },
            Some(given) if given.is_power_of_two() => given,
            Some(sectors_per_cluster) => return Err(Error::ClusterSize { sectors_per_cluster }),
        };

        // All in u64, where sums and products of 32-bit numbers do not overflow.
        let (size, cluster) = (u64::from(sector_size), u64::from(sectors_per_cluster));
        let reserved_sectors = RESERVED_SECTORS.next_multiple_of(u16::from(sectors_per_cluster));
        let rest = u64::from(sectors).saturating_sub(u64::from(reserved_sectors));
        let estimate = (rest * size + FATS * 8) / (cluster * size + FATS * 4);
        let fat_sectors = ((estimate + 2) * 4).div_ceil(size).next_multiple_of(cluster);
        let clusters = rest.saturating_sub(FATS * fat_sectors) / cluster;
        let clusters = u32::try_from(clusters).expect("there are fewer clusters than sectors");
        if clusters > CLUSTERS_MAX {
            return Err(Error::TooManyClusters { clusters, max: CLUSTERS_MAX });
        }
        Ok(Self {
            sector_size,
            sectors_per_cluster,
            reserved_sectors,
            fat_sectors: u32::try_from(fat_sectors).expect("a table is shorter than its volume"),
            sectors,
            clusters,
            sectors_per_track,
            heads,
        })
    }

    /// Length of a cluster in bytes.
    pub fn cluster_len(&self) -> u64 {
        u64::from(self.sector_size) * u64::from(self.sectors_per_cluster)
    }

    /// Where table `number` begins, in bytes; table 2 is where the clusters begin.
    pub fn fat_offset(&self, number: u64) -> u64 {
        (u64::from(self.reserved_sectors) + number * u64::from(self.fat_sectors))
            * u64::from(self.sector_size)
    }

    /// Where the clusters begin, in bytes.
    pub fn data_offset(&self) -> u64 {
        self.fat_offset(FATS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mib: u64, sector_size: u32, sectors_per_cluster: Option<u8>) -> Geometry {
        Geometry::of(&Volume { len: mib << 20, sector_size, sectors_per_cluster, ..Volume::default() })
            .unwrap()
    }

    /// Figures printed by `mkfs.vfat -v` of dosfstools 4.2; the judge in `tests/fat.rs` compares more.
    #[test]
    fn volumes_are_divided_as_mkfs_divides_them() {
        for (mib, sector_size, cluster, sectors, fat, clusters, reserved) in [
            (33, 512, 1, 67_584, 520, 66_512, 32),
            (100, 512, 1, 204_800, 1576, 201_616, 32),
            (260, 512, 1, 532_476, 4096, 524_252, 32),
            (261, 512, 8, 534_492, 528, 66_675, 32),
            (2101, 512, 8, 4_302_837, 4200, 536_800, 32),
            (33_000, 512, 64, 67_583_943, 8256, 1_055_740, 64),
            (1246, 4096, 1, 318_976, 311, 318_322, 32),
            (2101, 4096, 8, 537_831, 72, 67_206, 32),
        ] {
            let g = of(mib, sector_size, None);
            let got = (g.sectors_per_cluster, g.sectors, g.fat_sectors, g.clusters, g.reserved_sectors);
            assert_eq!(got, (cluster, sectors, fat, clusters, reserved), "{mib} MiB of {sector_size}");
        }
    }

    #[test]
    fn clusters_can_be_chosen() {
        assert_eq!(of(132, 512, Some(2)).sectors_per_cluster, 2);
        let volume = Volume { len: 1 << 30, sectors_per_cluster: Some(3), ..Volume::default() };
        assert_eq!(Geometry::of(&volume), Err(Error::ClusterSize { sectors_per_cluster: 3 }));
    }
}
