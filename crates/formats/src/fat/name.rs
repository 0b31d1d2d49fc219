//! Names of a directory's entries: the long one as given, and the short alias that every entry must have.

use std::collections::{HashMap, HashSet};

use extent::TreePath;

use super::Error;

/// The names of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Eight characters and three, padded with spaces.
    pub short: [u8; 11],
    /// The name in UCS-2, unless the short one says it already.
    pub long: Option<Vec<u16>>,
}

/// What a short name may hold besides capital letters and digits.
///
/// Source: FAT specification 1.03, §6.1 and §7.
const SHORT_PUNCTUATION: &[u8] = b"$%'-_@~`!(){}^#&";
const LONG_FORBIDDEN: &str = "\"*/:<>?\\|";

/// The names of the entries of one directory, in the order of `paths`.
///
/// A short name depends on the names beside it and on nothing else.
pub(super) fn names(paths: &[&TreePath]) -> Result<Vec<Name>, Error> {
    let mut folded = HashMap::with_capacity(paths.len());
    for path in paths {
        check(path)?;
        if let Some(other) = folded.insert(fold(path.name()), path) {
            return Err(Error::NameClash { path: (*path).clone(), other: (*other).clone() });
        }
    }
    // Who needs no numeric tail comes first: a tail must not take a name that somebody has.
    let exact: Vec<Option<[u8; 11]>> = paths.iter().map(|path| exact(path.name())).collect();
    let mut taken: HashSet<[u8; 11]> = exact.iter().flatten().copied().collect();
    let mut next = HashMap::new();
    let short_names = paths.iter().zip(exact).map(|(path, exact)| {
        exact.unwrap_or_else(|| {
            let (base, extension) = basis(path.name());
            // Where the search went on for the last one, else a thousand like names cost half a million steps.
            let number = next.entry((base[..base.len().min(6)].to_vec(), extension)).or_insert(1);
            loop {
                let short = with_tail(&base, extension, *number);
                *number += 1;
                if taken.insert(short) {
                    return short;
                }
            }
        })
    });
    let named = short_names.zip(paths).map(|(short, path)| {
        let said = shown(&short) == path.name();
        Name { short, long: (!said).then(|| path.name().encode_utf16().collect()) }
    });
    Ok(named.collect())
}

/// Refuses what a long name cannot hold.
fn check(path: &TreePath) -> Result<(), Error> {
    let name = path.name();
    let wrong = |c: char| !(' '..'\u{ffff}').contains(&c) || LONG_FORBIDDEN.contains(c);
    // Readers drop dots and spaces at the end, so such a name could not be found again.
    if name.contains(wrong) || name.ends_with(['.', ' ']) {
        return Err(Error::Name { path: path.clone() });
    }
    Ok(())
}

/// Equal for names that a reader takes for the same.
fn fold(name: &str) -> String {
    name.chars()
        .map(|c| {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(single), None) => single,
                _ => c,
            }
        })
        .collect()
}

/// The short name that differs from `name` in case only, if there is one.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = |part: &str, max| part.len() <= max && part.bytes().all(|b| short_byte(b).is_some());
    if base.is_empty() || !fits(base, 8) || !fits(extension, 3) {
        return None;
    }
    let mut short = [b' '; 11];
    for (place, byte) in short.iter_mut().zip(base.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    for (place, byte) in short[8..].iter_mut().zip(extension.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    Some(short)
}

/// The capital of `byte` if a short name may hold it.
fn short_byte(byte: u8) -> Option<u8> {
    let upper = byte.to_ascii_uppercase();
    (byte.is_ascii_alphanumeric() || SHORT_PUNCTUATION.contains(&byte)).then_some(upper)
}

/// What a tail is put on: up to eight characters before the last dot and three after it, none of them a space
/// or a dot, `_` for those that a short name cannot hold.
fn basis(name: &str) -> (Vec<u8>, [u8; 3]) {
    let name: String = name.chars().filter(|&c| c != ' ').collect();
    let name = name.trim_start_matches('.');
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let short = |part: &str, max| -> Vec<u8> {
        let chars = part.chars().filter(|&c| c != '.').take(max);
        chars.map(|c| u8::try_from(c).ok().and_then(short_byte).unwrap_or(b'_')).collect()
    };
    let mut padded = [b' '; 3];
    for (place, byte) in padded.iter_mut().zip(short(extension, 3)) {
        *place = byte;
    }
    (short(base, 8), padded)
}

/// The short name `base~number.extension`, the base cut to make room.
fn with_tail(base: &[u8], extension: [u8; 3], number: u32) -> [u8; 11] {
    let tail = format!("~{number}");
    let kept = base.len().min(8 - tail.len());
    let mut short = [b' '; 11];
    short[..kept].copy_from_slice(&base[..kept]);
    short[kept..kept + tail.len()].copy_from_slice(tail.as_bytes());
    short[8..].copy_from_slice(&extension);
    short
}

/// A short name as its readers show it.
fn shown(short: &[u8; 11]) -> String {
    let text = |part: &[u8]| part.iter().map(|&b| char::from(b)).collect::<String>();
    let (base, extension) = (text(&short[..8]), text(&short[8..]));
    match extension.trim_end() {
        "" => base.trim_end().to_owned(),
        extension => format!("{}.{extension}", base.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_names(names_: &[&str]) -> Vec<String> {
        let paths: Vec<TreePath> = names_.iter().map(|name| TreePath::parse(name).unwrap()).collect();
        let paths: Vec<&TreePath> = paths.iter().collect();
        names(&paths).unwrap().iter().map(|name| shown(&name.short)).collect()
    }

    #[test]
    fn short_names_are_made_as_the_specification_says() {
        for (long, short) in [
            ("EFI", "EFI"),
            ("boot", "BOOT"),
            ("BOOTX64.EFI", "BOOTX64.EFI"),
            ("BOOTX64.efi", "BOOTX64.EFI"),
            ("loader.conf", "LOADER~1.CON"),
            ("random-seed", "RANDOM~1"),
            ("Talos-v1.14.0.efi", "TALOS-~1.EFI"),
            (".config", "CONFIG~1"),
            ("a.b.c", "AB~1.C"),
            ("a b", "AB~1"),
            ("a+b", "A_B~1"),
            ("überß", "_BER_~1"),
            ("u-boot.bin", "U-BOOT.BIN"),
            ("noextension", "NOEXTE~1"),
            ("x.long", "X~1.LON"),
            ("bcm2711-rpi-4-b.dtb", "BCM271~1.DTB"),
        ] {
            assert_eq!(short_names(&[long]), [short], "{long}");
        }
    }

    #[test]
    fn a_tail_never_takes_the_name_of_another() {
        assert_eq!(
            short_names(&["loader.conf", "LOADER~1.CON", "loader~2.con", "loader.configuration"]),
            ["LOADER~3.CON", "LOADER~1.CON", "LOADER~2.CON", "LOADER~4.CON"]
        );
    }

    #[test]
    fn ten_thousand_like_names_have_ten_thousand_short_ones() {
        let long: Vec<String> = (0..10_000).map(|i| format!("extension-{i}.conf")).collect();
        let short = short_names(&long.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(short.iter().collect::<HashSet<_>>().len(), 10_000);
        assert_eq!(short[9_999], "EX~10000.CON");
    }

    #[test]
    fn only_a_name_that_is_its_own_short_one_has_no_long_one() {
        for (name, has_long) in [("EFI", false), ("BOOTX64.EFI", false), ("efi", true), ("A.conf", true)] {
            let path = TreePath::parse(name).unwrap();
            assert_eq!(names(&[&path]).unwrap()[0].long.is_some(), has_long, "{name}");
        }
    }

    #[test]
    fn names_that_readers_take_for_the_same_are_refused() {
        for (a, b) in [("EFI", "efi"), ("ä", "Ä"), ("Loader.conf", "loader.CONF")] {
            let paths = [a, b].map(|name| TreePath::parse(name).unwrap());
            let error = names(&[&paths[0], &paths[1]]).unwrap_err();
            assert!(matches!(error, Error::NameClash { .. }), "{a} {b}");
        }
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        for name in ["a:b", "a?", "a\u{1}", "a.", "a ", "a\\b", "\u{1f600}", "\u{ffff}"] {
            let path = TreePath::parse(name).unwrap();
            assert_eq!(names(&[&path]), Err(Error::Name { path }), "{name}");
        }
    }
}
