//! Bodies, and what the reference makes of them: the canonical form and the id, or a refusal.

use extent::Digest;
use schematics::{QuoteStyle, Schematic};

#[derive(serde::Deserialize)]
struct Row {
    r#in: String,
    out: Option<String>,
    id: Option<String>,
    err: Option<String>,
}

fn check(rows: &str, count: usize) {
    let rows: Vec<Row> = rows.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert_eq!(rows.len(), count);
    for row in rows {
        let read = Schematic::parse(row.r#in.as_bytes());
        match (read, row.err) {
            (Ok(schematic), None) => {
                let out = row.out.expect("a row has `out` or `err`");
                assert_eq!(schematic.canonical(), out, "{:?}", row.r#in);
                if let Some(id) = row.id {
                    assert_eq!(schematic.id().to_string(), id, "{:?}", row.r#in);
                }
                assert_eq!(Schematic::parse(out.as_bytes()), Ok(schematic), "{out:?}");
            }
            (Err(_), Some(_)) => {}
            (Ok(schematic), Some(err)) => panic!("{:?} is {schematic:?}, not {err}", row.r#in),
            (Err(error), None) => panic!("{:?}: {error}", row.r#in),
        }
    }
}

#[test]
fn every_golden_row_is_reproduced() {
    check(include_str!("vectors/schematics.jsonl"), 192);
}

/// Bodies given to go-yaml v4.0.0-rc.6 decoding into the reference's types: every rule of reading and writing with its
/// limits, and what generators of strings, numbers and broken documents came up with.
#[test]
fn every_row_taken_from_the_library_is_reproduced() {
    check(include_str!("vectors/go-yaml.jsonl"), 339);
}

#[test]
fn legacy_words_in_double_quotes_have_the_ids_of_the_older_library() {
    for (body, single, double) in [
        (
            "customization: {secureboot: {enrollKeys: off}}",
            "d8f665fc030589c746e0948aacb3f6009984ffe16082f5f286cfa0ce6213cdfe",
            "27e859ebfe0bd0bb6c9a53595770359cbafaa9fc7ef0059c046435c91e0db8c4",
        ),
        (
            "customization: {extraKernelArgs: ['yes']}",
            "63c43708a9d1973743adc0ad11d2de292a3fe9135b52df5d52118992c05ad216",
            "e9f729a6fd961060d7c998b85bff609ecce5430feb5be799b1e140199dd1a86e",
        ),
    ] {
        let schematic = Schematic::parse(body.as_bytes()).unwrap();
        assert_eq!(schematic.id().to_string(), single);
        let canonical = schematic.canonical_with(QuoteStyle::Double);
        assert_eq!(Digest::of(canonical.as_bytes()).hex(), double);
        assert_eq!(Schematic::parse(canonical.as_bytes()), Ok(schematic));
    }
}
