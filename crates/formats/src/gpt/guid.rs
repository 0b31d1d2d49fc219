//! GUIDs: parsed, printed, derived.

use std::fmt;
use std::str::FromStr;

use extent::Digest;

/// A GUID, kept in the order of its text.
///
/// On disk the first three groups are little-endian; [`Guid::to_disk`] and [`Guid::from_disk`] swap them.
///
/// Source: UEFI specification 2.10, appendix A; RFC 9562, §4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// A text is not a GUID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a GUID: 8-4-4-4-12 hexadecimal digits")]
pub struct GuidError {
    /// The text, at most 80 characters of it.
    text: String,
}

/// Which byte of the text's order stands at each place on disk.
const MIXED_ENDIAN: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
/// Where the groups of the text begin, in digits.
const GROUPS: [std::ops::Range<usize>; 5] = [0..8, 8..12, 12..16, 16..20, 20..32];

impl Guid {
    /// The GUID that marks an unused entry.
    pub const ZERO: Self = Self([0; 16]);
    /// Type: EFI system partition.
    pub const EFI_SYSTEM: Self = Self(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b_u128.to_be_bytes());
    /// Type: what GRUB calls its BIOS boot partition.
    pub const BIOS_BOOT: Self = Self(0x2168_6148_6449_6e6f_744e_6565_6445_4649_u128.to_be_bytes());
    /// Type: Linux file system data.
    pub const LINUX_DATA: Self = Self(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4_u128.to_be_bytes());

    /// The GUID with these bytes, in the order of its text.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The GUID that `name` stands for: a UUID of version 8 made of a SHA-256, the same wherever it is made.
    ///
    /// The digest is taken of 16 zero bytes (the nil name space) and `name`, as the reference does, so that
    /// its disks and ours have the same GUIDs.
    pub fn derived(name: &[u8]) -> Self {
        let mut named = vec![0; 16];
        named.extend_from_slice(name);
        let digest = Digest::of(&named);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80; // version 8
        bytes[8] = bytes[8] & 0x3f | 0x80; // the RFC's variant
        Self(bytes)
    }

    /// The bytes, in the order of the text.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The bytes as they stand on disk.
    pub fn to_disk(self) -> [u8; 16] {
        MIXED_ENDIAN.map(|place| self.0[place])
    }

    /// The GUID whose bytes on disk are these.
    pub fn from_disk(bytes: [u8; 16]) -> Self {
        Self(MIXED_ENDIAN.map(|place| bytes[place]))
    }
}

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        let wrong = || GuidError { text: text.chars().take(80).collect() };
        let groups: Vec<&str> = text.split('-').collect();
        if groups.len() != GROUPS.len() || groups.iter().zip(&GROUPS).any(|(g, r)| g.len() != r.len()) {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(groups.concat(), &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        f.write_str(&GROUPS.map(|group| &digits[group]).join("-"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_guids_are_those_of_the_reference() {
        for (name, guid) in [
            ("talos-image-disk", "d92d45b3-cde9-8760-be9f-a2a71fac8d11"),
            ("EFI", "bca5174b-0118-8a6a-af0b-2c6e1585acae"),
            ("BIOS", "a2a02ff5-d88d-8e6e-9c95-26b9b6c80bc3"),
            ("BOOT", "24c73076-4092-85dd-9d98-686a2dbf6d81"),
            ("META", "cf04f137-101e-8ec6-9627-fa3f51cdabb8"),
            ("STATE", "f7f88648-df7c-8acb-b4d2-6f124659d923"),
            ("EPHEMERAL", "c5e02400-0e5e-80bc-99ec-53b3e45ad6c4"),
            ("IMAGECACHE", "3b5449bc-c21f-8009-8b51-18945967f8df"),
        ] {
            assert_eq!(Guid::derived(name.as_bytes()).to_string(), guid, "{name}");
        }
    }

    #[test]
    fn the_first_three_groups_are_swapped_on_disk() {
        let guid: Guid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        assert_eq!(hex::encode(guid.to_disk()), "33221100554477668899aabbccddeeff");
        assert_eq!(Guid::from_disk(guid.to_disk()), guid);
    }

    #[test]
    fn a_guid_survives_its_text() {
        for guid in [Guid::EFI_SYSTEM, Guid::BIOS_BOOT, Guid::LINUX_DATA, Guid::ZERO] {
            assert_eq!(guid.to_string().parse(), Ok(guid));
        }
        assert_eq!("C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse(), Ok(Guid::EFI_SYSTEM));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "c12a7328f81f11d2ba4b00a0c93ec93b",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93g",
            "c12a732-8f81f-11d2-ba4b-00a0c93ec93b",
            "{c12a7328-f81f-11d2-ba4b-00a0c93ec93b}",
            "ä12a73-f81f-11d2-ba4b-00a0c93ec93b",
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
    }
}
