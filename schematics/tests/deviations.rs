//! Where we differ from the reference on purpose, and what a client is told.

use schematics::{Scalar, Schematic, Text, Value};

#[test]
fn what_the_reference_refuses_without_need_is_accepted() {
    for (body, canonical) in [
        ("customization: {bootloader: auto}", "customization: {}\n"),
        ("customization: {bootloader: AUTO}", "customization: {}\n"),
        (r#"{"owner": "a\/b"}"#, "owner: a/b\ncustomization: {}\n"),
        (r#"{"owner": "\ud83d\ude00"}"#, "owner: \"\\U0001F600\"\ncustomization: {}\n"),
        ("{\"owner\"\n:\n\"a\"}", "owner: a\ncustomization: {}\n"),
        ("%YAML 1.2\n---\nowner: a\n", "owner: a\ncustomization: {}\n"),
        ("owner: 2001-01-01", "owner: \"2001-01-01\"\ncustomization: {}\n"),
        ("owner: 2001-1-1 1:2:3", "owner: \"2001-1-1 1:2:3\"\ncustomization: {}\n"),
        (
            "customization: {extraKernelArgs: [2001-01-01T00:00:00Z]}",
            "customization:\n    extraKernelArgs:\n        - \"2001-01-01T00:00:00Z\"\n",
        ),
        (
            "overlay: {options: {2001-01-01: a}}",
            "overlay:\n    image: \"\"\n    name: \"\"\n    options:\n        \"2001-01-01\": a\ncustomization: {}\n",
        ),
        // It drops the value of such a key.
        (
            "overlay: {options: {x: {.nan: a}}}",
            "overlay:\n    image: \"\"\n    name: \"\"\n    options:\n        x:\n            .nan: a\ncustomization: {}\n",
        ),
        // It counts in 64 bits, and overflows.
        (
            "overlay: {options: {a20000000000000000000: 1, a3: 2}}",
            "overlay:\n    image: \"\"\n    name: \"\"\n    options:\n        a3: 2\n        a20000000000000000000: 1\ncustomization: {}\n",
        ),
    ] {
        assert_eq!(
            Schematic::parse(body.as_bytes()).map(|read| read.canonical()).as_deref(),
            Ok(canonical),
            "{body}"
        );
    }
}

/// The reference's emitter gives literals in lists a hint that is wrong, and indents behind U+2028; it cannot read back
/// the first, nor YAML 1.2 the second.
#[test]
fn canonical_forms_that_yaml_reads_otherwise_are_read_back() {
    for (body, canonical) in [
        (r#"[" a\nb"]"#, "|4-\n           a\n          b\n"),
        (r#"["  a\n  b"]"#, "|4-\n            a\n            b\n"),
        (r#"["\n a\nb\n"]"#, "|\n\n           a\n          b\n"),
        (r#"["  a\n# c"]"#, "|4-\n            a\n          # c\n"),
        (r#"["a\u2028b"]"#, "'a\u{2028}          b'\n"),
        (r#"["a\u2028'"]"#, "'a\u{2028}          '''\n"),
        (r#"["a\nb\u2028c"]"#, "|-\n          a\n          b\u{2028}          c\n"),
        (r#"["a\n\u2028\nb"]"#, "|-\n          a\n\u{2028}\n          b\n"),
    ] {
        let schematic =
            Schematic::parse(format!("customization: {{extraKernelArgs: {body}}}").as_bytes()).expect(body);
        let written = schematic.canonical();
        assert_eq!(written, format!("customization:\n    extraKernelArgs:\n        - {canonical}"), "{body}");
        assert_eq!(Schematic::parse(written.as_bytes()), Ok(schematic), "{body}");
    }
}

#[test]
fn a_refusal_says_where_and_what_to_do() {
    for (body, message) in [
        ("", "the body holds no YAML document; the empty schematic is `{}`"),
        ("something:", "line 1, column 1: unknown field `something` in the schematic"),
        (
            "customization:\n  extraKernelArg: []\n",
            "line 2, column 3: unknown field `extraKernelArg` in `customization`; did you mean `extraKernelArgs`?",
        ),
        (
            "Customization: {}",
            "line 1, column 1: unknown field `Customization` in the schematic; did you mean `customization`?",
        ),
        (
            "customization:\n  meta:\n  - {key: 12, valeu: x}\n",
            "line 3, column 15: unknown field `valeu` in `meta`; did you mean `value`?",
        ),
        ("~: a", "line 1, column 1: unknown field `~` in the schematic"),
        (": a", "line 1, column 1: a key is missing before `:`"),
        ("overlay: {options: {: a}}", "line 1, column 21: a key is missing before `:`"),
        ("owner: a\nowner: b\n", "line 2, column 1: key `owner` is already defined at line 1"),
        // `0x10` and `"16"` differ, what is written for them does not.
        (
            "overlay: {options: {x: {0x10: a, '16': b}}}",
            "line 1, column 34: key `16` is already defined at line 1",
        ),
        ("overlay: {options: {? [a] : b}}", "line 1, column 23: a key must be a single value"),
        ("overlay: {options: <<}", "line 1, column 20: expected a mapping, found `<<`"),
        ("overlay: {options: {<<: a}}", "line 1, column 25: `<<` takes a mapping or a list of mappings"),
        ("owner: [a]", "line 1, column 8: expected a string, found a list"),
        ("customization: a", "line 1, column 16: expected a mapping, found `a`"),
        (
            "customization: {meta: [{key: '1'}]}",
            "line 1, column 30: expected a whole number, unquoted, found the string `1`",
        ),
        (
            "customization: {meta: [{key: 256}]}",
            "line 1, column 30: `256` is not a whole number from 0 to 255",
        ),
        (
            "customization: {meta: [{key: 0.5}]}",
            "line 1, column 30: `0.5` is not a whole number from 0 to 255",
        ),
        (
            "customization: {secureboot: {includeWellKnownCertificates: 'true'}}",
            "line 1, column 60: expected `true` or `false`, unquoted, found the string `true`",
        ),
        (
            "customization: {bootloader: sdboot}",
            "line 1, column 29: `sdboot` is no boot loader, these are: `none`, `auto`, `dual-boot`, `sd-boot`, `grub`; did you mean `sd-boot`?",
        ),
        ("owner: !!int a", "line 1, column 14: `a` is not what its tag `!!int` says"),
        ("owner: !!binary '!'", "line 1, column 17: `!` is not what its tag `!!binary` says"),
        ("owner: *a", "line 1, column 8: while parsing node, found unknown anchor"),
        ("owner: 'a", "line 1, column 8: unclosed quote"),
        ("\tcustomization: {}", "line 1, column 2: a tab stands where spaces must indent"),
        (
            "owner: a\x01",
            "line 1, column 9: control character `\\x01` must be written as an escape in double quotes",
        ),
        ("owner: {? \"\\e[31m\\n\" : a}", "line 1, column 8: expected a string, found a mapping"),
        ("\"\\e[31m\\n\": a", "line 1, column 1: unknown field `\\u{1b}[31m\\n` in the schematic"),
    ] {
        let error = Schematic::parse(body.as_bytes()).expect_err(body);
        assert_eq!(error.to_string(), message, "{body:?}");
        assert_eq!(error.place().is_some(), message.starts_with("line"), "{body:?}");
    }
}

#[test]
fn bytes_travel_in_binary_scalars() {
    let body =
        b"customization: {extraKernelArgs: [!!binary aGk=, !!binary /w==], meta: [{value: !!binary AP8=}]}";
    let schematic = Schematic::parse(body).expect("a schematic");
    let args = &schematic.customization.extra_kernel_args;
    assert_eq!(args[0].as_str(), Ok("hi"));
    assert!(args[1].as_str().is_err());
    assert_eq!(args[1].as_bytes(), [0xFF]);
    assert_eq!(
        schematic.canonical(),
        "customization:\n    extraKernelArgs:\n        - hi\n        - !!binary /w==\n    meta:\n        - key: 0\n          value: !!binary AP8=\n"
    );
}

#[test]
fn options_keep_their_types() {
    let body = b"overlay: {options: {b: true, i: 0x10, f: 1.5, w: 2.0, t: 2001-01-01, s: yes, n: ~, l: [1], m: {1: a}}}";
    let overlay = Schematic::parse(body).expect("a schematic").overlay.expect("an overlay");
    let option = |name: &str| overlay.options.get(&Text::from(name)).cloned();
    assert_eq!(option("b"), Some(Value::from(true)));
    assert_eq!(option("i"), Some(Value::from(16)));
    assert_eq!(option("f"), Some(Value::from(1.5)));
    assert_eq!(option("w"), Some(Value::from(2)));
    assert_eq!(option("s"), Some(Value::from("yes")));
    assert_eq!(option("n"), Some(Value::Scalar(Scalar::Null)));
    assert_eq!(option("l"), Some(Value::Sequence(vec![Value::from(1)])));
    assert_eq!(option("m"), Some(Value::Mapping([(Scalar::from(1), Value::from("a"))].into())));
    assert!(matches!(option("t"), Some(Value::Scalar(Scalar::Timestamp(_)))));
    assert_eq!(option("x"), None);
}
