//! Disks that boot with systemd-boot.
//!
//! ```text
//! 0     1 MiB                                     102 MiB + boot    + 1 MiB
//! │ GPT │ EFI: FAT32                              │ META            │ … │ GPT │
//!         EFI/boot/BOOTX64.efi   systemd-boot
//!         EFI/Linux/<name>.efi   the UKI
//!         loader/loader.conf
//! ```
//!
//! Systems before Talos 1.8 also have STATE and EPHEMERAL, empty, after META.
//!
//! Source: `cmd/installer/pkg/install` and `pkg/imager` of Talos, as facts.

use extent::{ExtentMap, Tree};
use formats::{fat, gpt};

use super::EPOCH;
use crate::meta;
use crate::{Arch, Error, Quirks};

const MIB: u64 = 1 << 20;
/// The EFI partition beside the boot files.
const ESP_LEN: u64 = 101 * MIB;
const STATE_LEN: u64 = 100 * MIB;
/// The first partition of a disk begins here.
const FIRST: u64 = MIB;
/// Bytes of a table's entries: 128 of 128 bytes.
const TABLE_LEN: u64 = 128 * 128;
/// What mkfs.vfat gives every volume when it must be the same each time.
const VOLUME_ID: u32 = 0x1234_abcd;
/// The name that the reference derives the GUID of its disks from.
const DISK_NAME: &[u8] = b"talos-image-disk";

/// A disk.
pub(super) struct Disk<'a> {
    pub len: u64,
    pub sector_size: u32,
    pub quirks: Quirks,
    /// What the EFI partition holds.
    pub boot: BootFiles<'a>,
    pub meta: ExtentMap,
}

/// What systemd-boot and the firmware read.
pub(super) struct BootFiles<'a> {
    pub arch: Arch,
    pub systemd_boot: ExtentMap,
    pub uki: ExtentMap,
    /// The name of the UKI, without its ending.
    pub uki_name: &'a str,
    pub loader_conf: String,
}

impl BootFiles<'_> {
    fn tree(self) -> Result<Tree, Error> {
        let mut tree = Tree::new();
        tree.file(&format!("EFI/Linux/{}.efi", self.uki_name), self.uki, 0o644)?;
        tree.file(&format!("EFI/boot/{}", self.arch.boot_file()), self.systemd_boot, 0o644)?;
        tree.file("loader/loader.conf", ExtentMap::inline(self.loader_conf.into_bytes()), 0o644)?;
        Ok(tree)
    }
}

/// The whole disk.
pub(super) fn disk(disk: Disk<'_>) -> Result<ExtentMap, Error> {
    let Disk { len, sector_size, quirks, boot, meta } = disk;
    let esp_len = ESP_LEN + quirks.boot_len();
    let volume = fat::Volume {
        len: esp_len,
        sector_size,
        sectors_per_cluster: None,
        label: "EFI".to_owned(),
        id: VOLUME_ID,
        time: EPOCH,
    };
    let esp = fat::fat32(&boot.tree()?, &volume)?;
    let mut wanted = vec![
        ("EFI", gpt::Guid::EFI_SYSTEM, esp_len, esp),
        ("META", gpt::Guid::LINUX_DATA, meta::PARTITION_LEN, meta),
    ];
    if quirks.has_data_partitions() {
        let used = FIRST + esp_len + meta::PARTITION_LEN + STATE_LEN;
        let table = TABLE_LEN.next_multiple_of(u64::from(sector_size)) + u64::from(sector_size);
        wanted.push(("STATE", gpt::Guid::LINUX_DATA, STATE_LEN, ExtentMap::new()));
        let rest = len.saturating_sub(used + table);
        wanted.push(("EPHEMERAL", gpt::Guid::LINUX_DATA, rest, ExtentMap::new()));
    }
    let mut partitions = Vec::new();
    let mut start = FIRST;
    for (name, type_guid, len, content) in wanted {
        partitions.push(gpt::Partition {
            type_guid,
            guid: gpt::Guid::derived(name.as_bytes()),
            name: name.to_owned(),
            first_lba: start / u64::from(sector_size),
            len,
            attributes: 0,
            content,
        });
        start += len;
    }
    let guid = gpt::Guid::derived(DISK_NAME);
    Ok(gpt::disk(&gpt::Disk { len, sector_size, guid, entries_lba: 2, partitions })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use extent::read_all;
    use std::collections::HashMap;
    use std::fs;
    use std::process::Command;

    fn made(sector_size: u32, version: &str, len: u64) -> Result<ExtentMap, Error> {
        let noise: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        disk(Disk {
            len,
            sector_size,
            quirks: Quirks::of(&version.parse().unwrap()),
            boot: BootFiles {
                arch: Arch::Amd64,
                systemd_boot: ExtentMap::inline(&b"MZ loader"[..]),
                uki: ExtentMap::inline(noise),
                uki_name: "Talos-v1.13.0",
                loader_conf: crate::loader_conf(None),
            },
            meta: ExtentMap::inline(vec![7; 512]),
        })
    }

    /// The disk in a sparse file, which goes with the directory.
    fn written(map: &ExtentMap) -> (tempfile::TempDir, std::path::PathBuf) {
        use std::io::{Seek, SeekFrom, Write};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let mut file = fs::File::create(&path).unwrap();
        file.set_len(map.len()).unwrap();
        for (offset, extent) in map.iter() {
            if let extent::Source::Inline(bytes) = &extent.source {
                file.seek(SeekFrom::Start(offset)).unwrap();
                file.write_all(bytes).unwrap();
            }
        }
        (dir, path)
    }

    fn output(command: &mut Command) -> String {
        let output = command.output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    #[test]
    fn sgdisk_finds_the_partitions_of_the_reference() {
        let Some(sgdisk) = ci::tool("sgdisk") else { return };
        let (_dir, path) = written(&made(512, "1.13.0", 2246 * MIB).unwrap());
        let verdict = output(Command::new(&sgdisk).arg("-v").arg(&path));
        assert!(verdict.contains("No problems found"), "{verdict}");
        let table = output(Command::new(&sgdisk).arg("-p").arg(&path));
        assert!(table.contains("D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11"), "{table}");
        for (number, first, name, guid) in [
            ("1", "2048", "EFI", "BCA5174B-0118-8A6A-AF0B-2C6E1585ACAE"),
            ("2", "4304896", "META", "CF04F137-101E-8EC6-9627-FA3F51CDABB8"),
        ] {
            let partition = output(Command::new(&sgdisk).args(["-i", number]).arg(&path));
            assert!(partition.contains(&format!("First sector: {first} ")), "{partition}");
            assert!(partition.contains(&format!("Partition name: '{name}'")), "{partition}");
            assert!(partition.contains(&format!("Partition unique GUID: {guid}")), "{partition}");
        }
    }

    #[test]
    fn fsck_takes_the_volume_at_both_sector_sizes() {
        let Some(fsck) = ci::tool("fsck.vfat") else { return };
        for sector_size in [512, 4096] {
            let disk = made(sector_size, "1.13.0", 2246 * MIB).unwrap();
            let (_dir, path) = written(&disk.slice(MIB..MIB + 2101 * MIB));
            let verdict = output(Command::new(&fsck).arg("-nv").arg(&path));
            // Three files, four directories and the label.
            assert!(verdict.contains(": 8 files,"), "{verdict}");
            for word in ["Dirty", "ifferences", "rror", "ot match", "rong"] {
                assert!(!verdict.contains(word), "{verdict}");
            }
        }
    }

    #[test]
    fn mtools_finds_the_files_by_name() {
        let Some(mdir) = ci::tool("mdir") else { return };
        let disk = made(512, "1.10.0", 1246 * MIB).unwrap();
        let (_dir, path) = written(&disk.slice(MIB..MIB + 1101 * MIB));
        let listing = output(Command::new(mdir).args(["-/", "-b", "-i"]).arg(&path).arg("::"));
        for name in ["/EFI/Linux/Talos-v1.13.0.efi", "/EFI/boot/BOOTX64.efi", "/loader/loader.conf"] {
            assert!(listing.contains(name), "{listing}");
        }
    }

    #[test]
    fn disks_before_1_8_have_room_for_data() {
        let Some(sgdisk) = ci::tool("sgdisk") else { return };
        for sector_size in [512, 4096] {
            let disk = made(sector_size, "1.7.0", 1246 * MIB).unwrap();
            // sgdisk takes files to have sectors of 512 bytes.
            if sector_size == 512 {
                let (_dir, path) = written(&disk);
                let table = output(Command::new(&sgdisk).arg("-p").arg("-v").arg(&path));
                assert!(table.contains("STATE") && table.contains("EPHEMERAL"), "{table}");
                assert!(table.contains("No problems found"), "{table}");
            }
        }
    }

    #[test]
    fn meta_lies_behind_the_efi_partition() {
        let disk = made(4096, "1.13.0", 2246 * MIB).unwrap();
        let start = MIB + 2101 * MIB;
        assert_eq!(read_all(&disk.slice(start..start + 512), &HashMap::new(), 512).unwrap(), [7; 512]);
    }

    #[test]
    fn a_disk_that_is_too_small_says_so() {
        let error = made(512, "1.13.0", 500 * MIB).unwrap_err();
        assert!(matches!(error, Error::Gpt(gpt::Error::OutOfBounds { .. })), "{error}");
    }

    #[test]
    fn a_uki_beyond_4_gib_says_so() {
        let error = disk(Disk {
            len: 9000 * MIB,
            sector_size: 512,
            quirks: Quirks::newest(),
            boot: BootFiles {
                arch: Arch::Arm64,
                systemd_boot: ExtentMap::new(),
                uki: ExtentMap::zeros(4096 * MIB),
                uki_name: "x",
                loader_conf: String::new(),
            },
            meta: ExtentMap::new(),
        })
        .unwrap_err();
        assert!(matches!(error, Error::Fat(fat::Error::FileTooLarge { .. })), "{error}");
        assert_eq!(error.exit_code(), 7);
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
