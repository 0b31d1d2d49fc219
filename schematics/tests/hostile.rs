//! Bodies made to exhaust the reader, and the limits that keep them from it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use schematics::{Error, MAX_ALIASED_LEN, MAX_DEPTH, MAX_LEN, MAX_NODES, Schematic, Text, Value};

fn error(body: &str) -> Error {
    Schematic::parse(body.as_bytes()).expect_err("refused")
}

/// `options: {x: [[…]]}` with as many lists.
fn lists(depth: usize) -> String {
    format!("overlay: {{options: {{x: {}{}}}}}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn a_body_of_the_greatest_length_is_read_and_one_byte_more_is_not() {
    let body = format!("owner: a #{}", "x".repeat(MAX_LEN - 10));
    assert_eq!(body.len(), MAX_LEN);
    assert!(Schematic::parse(body.as_bytes()).is_ok());
    assert!(matches!(error(&(body + "x")), Error::TooLong { what: "the body", .. }));
}

#[test]
fn a_body_whose_canonical_form_could_not_be_read_back_is_refused() {
    // Two bytes become eleven.
    let body = format!("customization: {{extraKernelArgs: [{}]}}", "a,".repeat(MAX_NODES - 10));
    assert!(Schematic::parse(body.as_bytes()).is_ok());
    let body = format!("owner: \"{}\"", "\\t".repeat(MAX_LEN / 2 - 16));
    assert!(Schematic::parse(body.as_bytes()).is_ok());
    let body = format!("owner: \"{}\"", "😀".repeat(MAX_LEN / 8));
    assert!(matches!(error(&body), Error::TooLong { what: "the canonical form", .. }));
    // 500 columns of indentation for every line.
    let lines = format!("{}\"{}\"{}", "{k: ".repeat(100), "a\\n".repeat(MAX_LEN / 4), "}".repeat(100));
    let body = format!("overlay: {{options: {{x: {lines}}}}}");
    assert!(matches!(error(&body), Error::TooLong { what: "the canonical form", .. }));
}

#[test]
fn nesting_is_read_to_the_greatest_depth_and_no_further() {
    // The schematic, the overlay and the options are three levels.
    let schematic = Schematic::parse(lists(MAX_DEPTH - 3).as_bytes()).expect("deep, but not too deep");
    assert_eq!(Schematic::parse(schematic.canonical().as_bytes()), Ok(schematic));
    for depth in [MAX_DEPTH - 2, MAX_DEPTH, 1000, 100_000] {
        assert!(matches!(error(&lists(depth)), Error::TooDeep { .. }), "{depth}");
    }
    for body in [
        "- ".repeat(1000),
        "? ".repeat(1000),
        "[".repeat(MAX_LEN),
        "{".repeat(MAX_LEN),
        "{a: ".repeat(1000),
        (0..1000).fold(String::new(), |mut body, depth| {
            let _ = writeln!(body, "{}k:", " ".repeat(depth));
            body
        }),
    ] {
        assert!(matches!(error(&body), Error::TooDeep { .. } | Error::Syntax { .. }), "{}", &body[..10]);
    }
}

#[test]
fn aliases_do_not_deepen_what_is_nested() {
    let mut body = "overlay:\n  options:\n    a0: &a0 []\n".to_owned();
    for depth in 1..1000 {
        let _ = writeln!(body, "    a{depth}: &a{depth} [*a{}]", depth - 1);
    }
    assert!(matches!(error(&body), Error::TooDeep { .. } | Error::AliasBomb { .. }));
}

#[test]
fn values_are_counted() {
    let body = format!("customization: {{extraKernelArgs: [{}]}}", ",".repeat(10));
    assert!(matches!(error(&body), Error::Syntax { .. }));
    let body = format!("customization: {{extraKernelArgs: [{}]}}", "a,".repeat(MAX_NODES));
    assert!(matches!(error(&body), Error::TooMany { .. }));
}

#[test]
fn a_billion_laughs_are_not_heard_out() {
    let mut body = "overlay:\n  options:\n    a0: &a0 lol\n".to_owned();
    for level in 1..20 {
        let alias = format!("*a{}", level - 1);
        let _ = writeln!(body, "    a{level}: &a{level} [{}]", vec![alias; 10].join(", "));
    }
    assert!(matches!(error(&body), Error::AliasBomb { max: MAX_ALIASED_LEN, .. }));
    // The same with merge keys, and with one long string.
    let mut body = "overlay:\n  options:\n    a0: &a0 {k: v}\n".to_owned();
    for level in 1..20 {
        let alias = format!("*a{}", level - 1);
        let _ = writeln!(body, "    a{level}: &a{level} {{<<: [{}]}}", vec![alias; 10].join(", "));
    }
    assert!(matches!(error(&body), Error::AliasBomb { .. }));
    let long = "x".repeat(MAX_LEN / 2);
    let body = format!("owner: &a {long}\ncustomization: {{extraKernelArgs: [*a, *a]}}");
    assert!(matches!(error(&body), Error::AliasBomb { .. }));
}

#[test]
fn an_alias_inside_its_anchor_is_refused() {
    for body in [
        "overlay: &a {options: {x: *a}}",
        "overlay: {options: &a {x: {<<: *a}}}",
        "overlay: {options: &a {<<: *a}}",
        "overlay: {options: {x: &a [[*a]]}}",
        "customization: &a {extraKernelArgs: [*a]}",
    ] {
        assert!(
            matches!(error(body), Error::AliasLoop { .. } | Error::WrongType { .. }),
            "{body}: {}",
            error(body)
        );
    }
}

/// Nothing here is quadratic in a way that hurts: a megabyte of anything is dealt with at once.
#[test]
fn long_bodies_of_one_kind_take_no_time() {
    let many = |piece: &str| piece.repeat(MAX_LEN / piece.len() - 30);
    let keys = (0..60_000).fold(String::new(), |mut keys, key| {
        let _ = write!(keys, "{key}a{key}: 1, ");
        keys
    });
    for body in [
        many("a"),
        many(" "),
        many("\n"),
        many("#"),
        many("- a\n"),
        many("a: b\n"),
        many("? a\n"),
        many("&a "),
        many("*a "),
        many("!a "),
        many("!!binary "),
        many("'"),
        many("\""),
        many("\"\\"),
        many("|\n"),
        many("%"),
        many("---\n"),
        many("...\n"),
        many("{}"),
        many(": "),
        many(", "),
        many("\u{2028}"),
        many("\u{85}"),
        format!("owner: |\n{}", many(" a\n")),
        format!("owner: >\n{}", many(" a\n\n")),
        format!("owner: \"{}\"", many("a\n ")),
        format!("owner: \"{}\"", many("\\n")),
        format!("owner: \"{}\"", many("a\\n")),
        format!("owner: \"{}\"", many("a\\L")),
        format!("owner: {}", many("a ")),
        format!("owner: {}", many("1_")),
        format!("owner: {}", many("1:")),
        format!("owner: 1.{}", many("1")),
        format!("overlay: {{options: {{x: 1.{}}}}}", many("1")),
        format!("overlay: {{options: {{x: .1e{}}}}}", many("1")),
        format!("overlay: {{options: {{{keys}}}}}"),
        format!("overlay: {{options: {{x: [{}]}}}}", "{},".repeat(MAX_NODES - 10)),
        format!("owner: &a x\ncustomization: {{extraKernelArgs: [{}]}}", "*a,".repeat(MAX_NODES - 10)),
        format!("customization:\n  extraKernelArgs:\n{}", "  - |4\n      a\n".repeat(20_000)),
        format!(
            "customization:\n    extraKernelArgs:\n{}",
            "        - |4-\n           a\n          b\n".repeat(20_000)
        ),
        format!(
            "customization:\n    extraKernelArgs:\n{}",
            "        - 'a\u{2028}          b'\n".repeat(20_000)
        ),
    ] {
        let body = &body[..body.floor_char_boundary(MAX_LEN)];
        let start = Instant::now();
        let read = Schematic::parse(body.as_bytes());
        let took = start.elapsed();
        let shown: String = body.chars().take(40).collect();
        // Generous: a busy machine, no optimisation to speak of.
        assert!(took < Duration::from_secs(5), "{shown:?} took {took:?}");
        if let Ok(schematic) = read {
            assert_eq!(Schematic::parse(schematic.canonical().as_bytes()), Ok(schematic), "{shown:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    assert_eq!(Schematic::parse(b"owner: \xFFa"), Err(Error::Encoding { offset: 7 }));
    assert_eq!(Schematic::parse(b"\xEF\xBB\xBFowner: \xFFa"), Err(Error::Encoding { offset: 10 }));
    assert_eq!(Schematic::parse(b"\xFF\xFEa"), Err(Error::Encoding { offset: 2 }));
    assert_eq!(Schematic::parse(b"\xFE\xFF\x00a\xD8\x00\x00a"), Err(Error::Encoding { offset: 4 }));
    let Err(Error::ControlCharacter { place, code: 1 }) = Schematic::parse(b"# \r\n#\n a\x01") else {
        panic!("a control character");
    };
    assert_eq!((place.line, place.column), (3, 3));
}

#[test]
fn utf_16_with_a_byte_order_mark_is_text() {
    let body = "owner: é😀";
    let expected = Schematic { owner: Text::from("é😀"), ..Schematic::default() };
    let little: Vec<u8> =
        [0xFEFF].into_iter().chain(body.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = [0xFEFF].into_iter().chain(body.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    assert_eq!(Schematic::parse(&little), Ok(expected.clone()));
    assert_eq!(Schematic::parse(&big), Ok(expected));
}

#[test]
fn deep_values_are_dropped_compared_and_written_without_overflow() {
    let schematic = Schematic::parse(lists(MAX_DEPTH - 3).as_bytes()).expect("deep");
    let copy = schematic.clone();
    assert_eq!(copy, schematic);
    let options = schematic.overlay.expect("an overlay").options;
    let mut value = options.get(&Text::from("x")).expect("the option");
    let mut depth = 1;
    while let Value::Sequence(items) = value {
        let Some(inner) = items.first() else { break };
        value = inner;
        depth += 1;
    }
    assert_eq!(depth, MAX_DEPTH - 3);
}
