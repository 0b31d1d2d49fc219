//! What holds for every body and every schematic.

use std::collections::{BTreeMap, HashSet};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use schematics::{
    Bootloader, Customization, DiskImage, Error, Meta, Overlay, QuoteStyle, Scalar, Schematic, SecureBoot,
    SystemExtensions, Text, Timestamp, Value,
};

/// Pieces of which awkward strings are made.
const PIECES: &[&str] = &[
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "\r",
    "\r\n",
    "\0",
    "\x01",
    "\x1B",
    "\x7F",
    "\u{85}",
    "\u{A0}",
    "\u{2028}",
    "\u{2029}",
    "\u{FEFF}",
    "\u{FFFE}",
    "\u{FFFF}",
    "\u{10FFFF}",
    "😀",
    "é",
    "a",
    "b",
    "-",
    "- ",
    "---",
    "...",
    ":",
    ": ",
    "#",
    " #",
    "?",
    "? ",
    ",",
    "[",
    "]",
    "{",
    "}",
    "&",
    "*",
    "!",
    "|",
    ">",
    "'",
    "\"",
    "%",
    "@",
    "`",
    "~",
    "=",
    "<<",
    "\\",
    "0",
    "1",
    "9",
    "0x",
    "0o",
    "_",
    "+",
    ".",
    "e",
    "e5",
    ".inf",
    "true",
    "null",
    "yes",
    "off",
    "y",
    "2001-01-01",
    "T",
    "12",
    ":59",
    "|4-",
    "|-",
    "!!binary ",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        8 => vec(prop::sample::select(PIECES), 0..6).prop_map(|pieces| Text::from(pieces.concat())),
        1 => any::<String>().prop_map(Text::from),
        1 => vec(any::<u8>(), 0..90).prop_map(Text::from),
    ]
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        6 => text().prop_map(Scalar::from),
        1 => Just(Scalar::Null),
        1 => any::<bool>().prop_map(Scalar::from),
        1 => any::<i64>().prop_map(Scalar::from),
        1 => any::<u64>().prop_map(|number| Scalar::Integer(number.into())),
        1 => any::<f64>().prop_map(Scalar::from),
        1 => (-2_000_000..2_000_000_i32).prop_map(|number| Scalar::from(f64::from(number) / 2.0)),
        1 => (0..10_000_u32, 1..13_u32, 1..29_u32).prop_map(|(year, month, day)| {
            Scalar::Timestamp(Timestamp::parse(&format!("{year:04}-{month}-{day}")).expect("a date"))
        }),
    ]
}

/// Keys that differ in quotes or tags only are refused, because the reference cannot read them back.
fn name(key: &Scalar) -> String {
    let item = Value::Sequence(vec![Value::Scalar(key.clone())]);
    let options = BTreeMap::from([(Text::from("k"), item)]);
    let overlay = Some(Overlay { options, ..Overlay::default() });
    let canonical = Schematic { overlay, ..Schematic::default() }.canonical();
    let written = canonical.split_once("- ").map_or("", |(_, item)| item).trim_start_matches("!!binary ");
    match (key, written) {
        (Scalar::Text(text), _) if text.as_str().is_ok() => text.to_string(),
        // Long bytes are a literal, whose lines keep their breaks.
        (_, written) if written.starts_with("|\n") => {
            let lines = written.lines().skip(1).take_while(|line| line.starts_with("    "));
            lines.flat_map(|line| [line.trim(), "\n"]).collect()
        }
        (_, written) => written.lines().next().unwrap_or_default().to_owned(),
    }
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_map(Value::Scalar).prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Sequence),
            btree_map(scalar(), inner, 0..5).prop_map(|mut entries| {
                let mut names = HashSet::new();
                entries.retain(|key, _| names.insert(name(key)));
                Value::Mapping(entries)
            }),
        ]
    })
}

fn overlay() -> impl Strategy<Value = Option<Overlay>> {
    (text(), text(), btree_map(text(), value(), 0..5)).prop_map(|(image, name_, mut options)| {
        let mut names = HashSet::new();
        options.retain(|key, _| names.insert(name(&Scalar::Text(key.clone()))));
        let overlay = Overlay { image, name: name_, options };
        (overlay != Overlay::default()).then_some(overlay)
    })
}

fn schematic() -> impl Strategy<Value = Schematic> {
    let meta = (any::<u8>(), text()).prop_map(|(key, value)| Meta { key, value });
    let bootloader = prop::sample::select(vec![
        Bootloader::None,
        Bootloader::DualBoot,
        Bootloader::SdBoot,
        Bootloader::Grub,
    ]);
    let customization = (
        text(),
        vec(text(), 0..4),
        vec(meta, 0..3),
        vec(text(), 0..3),
        bootloader,
        (text(), any::<bool>()),
        prop_oneof![Just(0), any::<u64>()],
    )
        .prop_map(
            |(config, args, meta, extensions, bootloader, (enroll_keys, well_known), sector_size)| {
                Customization {
                    embedded_machine_configuration: config,
                    extra_kernel_args: args,
                    meta,
                    system_extensions: SystemExtensions { official_extensions: extensions },
                    bootloader,
                    secureboot: SecureBoot { enroll_keys, include_well_known_certificates: well_known },
                    disk_image: DiskImage { sector_size },
                }
            },
        );
    (text(), overlay(), customization).prop_map(|(owner, overlay, customization)| Schematic {
        owner,
        overlay,
        customization,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_canonical_form_is_read_as_the_schematic_it_was_written_for(schematic in schematic()) {
        for quotes in [QuoteStyle::Single, QuoteStyle::Double] {
            let canonical = schematic.canonical_with(quotes);
            let again = Schematic::parse(canonical.as_bytes());
            prop_assert_eq!(again.as_ref(), Ok(&schematic), "{}", canonical);
        }
    }

    #[test]
    fn the_id_is_a_function_of_what_is_asked_for(schematic in schematic()) {
        let again = Schematic::parse(schematic.canonical().as_bytes()).expect("canonical");
        prop_assert_eq!(schematic.id(), again.id());
        prop_assert_eq!(schematic.canonical(), again.canonical());
        prop_assert_eq!(schematic.id().to_string().parse(), Ok(schematic.id()));
    }

    #[test]
    fn no_bytes_panic(body in vec(any::<u8>(), 0..200)) {
        stands_by_its_word(&body)?;
    }

    #[test]
    fn no_text_of_awkward_pieces_panics(pieces in vec(prop::sample::select(PIECES), 0..40)) {
        stands_by_its_word(format!("owner: {}", pieces.concat()).as_bytes())?;
        stands_by_its_word(pieces.concat().as_bytes())?;
    }

    #[test]
    fn no_damaged_schematic_panics(
        schematic in schematic(),
        damage in vec((any::<prop::sample::Index>(), prop::sample::select(PIECES), 0..4_usize), 1..4),
    ) {
        let mut body = schematic.canonical();
        for (at, piece, cut) in damage {
            let boundaries: Vec<usize> = body.char_indices().map(|(at, _)| at).chain([body.len()]).collect();
            let from = at.index(boundaries.len());
            let to = boundaries[(from + cut).min(boundaries.len() - 1)];
            body.replace_range(boundaries[from]..to, piece);
        }
        stands_by_its_word(body.as_bytes())?;
    }
}

/// What is accepted is named by a form that is accepted as the same; what is refused says why.
fn stands_by_its_word(body: &[u8]) -> Result<(), TestCaseError> {
    match Schematic::parse(body) {
        Ok(schematic) => {
            let canonical = schematic.canonical();
            prop_assert_eq!(Schematic::parse(canonical.as_bytes()), Ok(schematic), "{}", canonical);
        }
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            prop_assert!(!error.to_string().contains(['\n', '\0']), "{}", error);
            if let Error::Syntax { place, .. } = error {
                prop_assert!(place.line > 0 && place.column > 0);
            }
        }
    }
    Ok(())
}
