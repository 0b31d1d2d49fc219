//! What is in a directory: entries of 32 bytes.

use super::name::Name;

/// Length of an entry in bytes.
pub(super) const ENTRY_LEN: u64 = 32;
/// UTF-16 units in one entry of a long name.
const LONG_UNITS: usize = 13;

/// Attribute: the file may not be changed.
pub(super) const READ_ONLY: u8 = 0x01;
/// Attribute: the entry is the volume's label.
pub(super) const VOLUME_ID: u8 = 0x08;
/// Attribute: the entry is a directory.
pub(super) const DIRECTORY: u8 = 0x10;
/// Attribute: the file has changed since it was last archived, which is to say never.
pub(super) const ARCHIVE: u8 = 0x20;
/// All four low attributes: the entry is a part of a long name.
const LONG_NAME: u8 = 0x0f;

/// A moment in FAT's form: local time, which here is UTC, in steps of two seconds from 1980 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    date: u16,
    time: u16,
}

/// What an entry points at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub attributes: u8,
    /// 0 for an empty file and for `..` of a directory in the root.
    pub first_cluster: u32,
    /// Length in bytes; 0 for a directory.
    pub len: u32,
}

impl Time {
    /// The moment `seconds` after 1970; the first there is when it is before 1980.
    pub fn from_unix(seconds: u32) -> Self {
        const EPOCH_1980: u32 = 315_532_800;
        let seconds = seconds.max(EPOCH_1980) - EPOCH_1980;
        let (mut day, second) = (seconds / 86_400, seconds % 86_400);
        // 32 bits end in 2106: every fourth year is a leap year but for 2100.
        let leap = |year: u32| u32::from(year.is_multiple_of(4) && year != 120);
        let mut year = 0;
        while day >= 365 + leap(year) {
            day -= 365 + leap(year);
            year += 1;
        }
        let months = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while day >= months[month] {
            day -= months[month];
            month += 1;
        }
        let month = u32::try_from(month).expect("a month is below 12") + 1;
        let half = |bits: u32| u16::try_from(bits).expect("seven, four and five bits are sixteen");
        Self {
            date: half(year << 9 | month << 5 | (day + 1)),
            time: half((second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2)),
        }
    }
}

/// How many entries a name takes.
pub(super) fn entries(name: &Name) -> u64 {
    let long = name.long.as_ref().map_or(0, |units| units.len().div_ceil(LONG_UNITS));
    1 + u64::try_from(long).expect("a name has at most 255 units")
}

/// Adds the entries of `name`: the parts of the long name, last first, then the entry itself.
pub(super) fn push_named(directory: &mut Vec<u8>, name: &Name, target: Target, time: Time) {
    if let Some(units) = &name.long {
        let sum = checksum(&name.short);
        for (number, part) in (1_u8..).zip(units.chunks(LONG_UNITS)).collect::<Vec<_>>().into_iter().rev() {
            let last = usize::from(number) * LONG_UNITS >= units.len();
            // The name ends with one NUL, where there is room, and then all ones.
            let mut padded = [0xffff; LONG_UNITS];
            padded[..part.len()].copy_from_slice(part);
            if let Some(end) = padded.get_mut(part.len()) {
                *end = 0;
            }
            let bytes = padded.map(u16::to_le_bytes).concat();
            directory.push(number | if last { 0x40 } else { 0 });
            directory.extend(&bytes[..10]);
            directory.extend([LONG_NAME, 0, sum]);
            directory.extend(&bytes[10..22]);
            directory.extend([0, 0]);
            directory.extend(&bytes[22..]);
        }
    }
    push(directory, &name.short, target, time);
}

/// Adds the entry of the short name `short`.
pub(super) fn push(directory: &mut Vec<u8>, short: &[u8; 11], target: Target, time: Time) {
    let cluster = target.first_cluster.to_le_bytes();
    directory.extend(short);
    directory.extend([target.attributes, 0, 0]); // no case bits, no tenths of seconds
    directory.extend(time.time.to_le_bytes()); // made
    directory.extend(time.date.to_le_bytes());
    directory.extend(time.date.to_le_bytes()); // read
    directory.extend(&cluster[2..]);
    directory.extend(time.time.to_le_bytes()); // written
    directory.extend(time.date.to_le_bytes());
    directory.extend(&cluster[..2]);
    directory.extend(target.len.to_le_bytes());
}

/// What ties the parts of a long name to the short one.
///
/// Source: FAT specification 1.03, §7.2.
fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_the_form_of_fat() {
        let at = |y: u16, mo: u16, d: u16, h: u16, mi: u16, s: u16| Time {
            date: (y - 1980) << 9 | mo << 5 | d,
            time: h << 11 | mi << 5 | (s / 2),
        };
        for (seconds, time) in [
            (0, at(1980, 1, 1, 0, 0, 0)),
            (315_532_800, at(1980, 1, 1, 0, 0, 0)),
            (320_716_799, at(1980, 2, 29, 23, 59, 59)),
            (320_716_800, at(1980, 3, 1, 0, 0, 0)),
            (1_426_325_212, at(2015, 3, 14, 9, 26, 52)), // mkfs.vfat --invariant
            (1_559_424_892, at(2019, 6, 1, 21, 34, 52)),
            (1_609_459_199, at(2020, 12, 31, 23, 59, 59)),
            (4_107_542_400, at(2100, 3, 1, 0, 0, 0)),
            (u32::MAX, at(2106, 2, 7, 6, 28, 15)),
        ] {
            assert_eq!(Time::from_unix(seconds), time, "{seconds}");
        }
    }

    #[test]
    fn a_long_name_comes_last_part_first_and_ends_with_nul_and_ones() {
        let long: Vec<u16> = "fourteen chars".encode_utf16().collect();
        let name = Name { short: *b"FOURTE~1   ", long: Some(long) };
        assert_eq!(entries(&name), 3);
        let mut bytes = Vec::new();
        let target = Target { attributes: ARCHIVE, first_cluster: 0x0001_0002, len: 3 };
        push_named(&mut bytes, &name, target, Time::from_unix(1_559_424_892));
        assert_eq!(bytes.len(), 96);
        assert_eq!((bytes[0], bytes[32]), (0x42, 0x01));
        assert_eq!(&bytes[1..11], &[b's', 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bytes[13], checksum(&name.short));
        assert_eq!(&bytes[64..75], b"FOURTE~1   ");
        assert_eq!((&bytes[84..86], &bytes[90..92]), (&[1, 0][..], &[2, 0][..]));

        let exact = Name { short: *b"THIRTE~1   ", long: Some(vec![0x61; 13]) };
        assert_eq!(entries(&exact), 2);
    }
}
