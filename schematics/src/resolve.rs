//! What a plain scalar is: go-yaml's rules, which are YAML 1.1's numbers without its booleans.
//!
//!   null        empty  ~  null Null NULL
//!   bool        true True TRUE  false False FALSE
//!   integer     1 -1 +1 1_000  0x1f 0X1F  0o17  017  0b101       (all `_` are dropped first)
//!   float       1.5 .5 1. 1e3 08 .inf -.inf .nan, and integers beyond 64 bits
//!   timestamp   see `timestamp`
//!   merge       <<
//!   text        the rest: yes, on, 12:30:45, 0o8, 1e400, …
//!
//! The same rules decide twice: how a scalar is read, and which strings must be quoted when written.
//!
//! Source: go-yaml v4.0.0-rc.6, observed; strconv of Go 1.26 for the numbers.

use crate::timestamp::Timestamp;
use crate::value::Integer;

/// The type and value of a scalar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resolved {
    Null,
    Bool(bool),
    Integer(Integer),
    Float(f64),
    Timestamp(Timestamp),
    /// `<<`: merge the value into the mapping.
    Merge,
    Text,
}

/// What `text` is when it stands unquoted.
pub(crate) fn plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        "-0" => return Resolved::Float(-0.0),
        "<<" => return Resolved::Merge,
        _ => {}
    }
    match text.as_bytes()[0] {
        // Behind a leading dot, underscores must stand between digits.
        b'.' if separates_digits(text) => {
            float(&text.replace('_', "")).map_or(Resolved::Text, Resolved::Float)
        }
        b'+' | b'-' | b'0'..=b'9' => {
            if let Some(timestamp) = Timestamp::parse(text) {
                return Resolved::Timestamp(timestamp);
            }
            let text = text.replace('_', "");
            integer(&text)
                .map(Resolved::Integer)
                .or_else(|| float(&text).map(Resolved::Float))
                .unwrap_or(Resolved::Text)
        }
        _ => Resolved::Text,
    }
}

/// A signed 64-bit integer, or an unsigned one without a sign.
fn integer(text: &str) -> Option<Integer> {
    let (negative, digits) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    // Rust would take a second sign.
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if digits.len() == text.len() || !text.starts_with(['+', '-']) {
        return Some(Integer::from(magnitude));
    }
    let number = i128::from(magnitude) * if negative { -1 } else { 1 };
    i64::try_from(number).ok().map(Integer::from)
}

/// Whether every underscore has a digit on either side.
fn separates_digits(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    text.match_indices('_')
        .all(|(at, _)| is_digit(bytes.get(at.wrapping_sub(1))) && is_digit(bytes.get(at + 1)))
}

/// A finite decimal float: `[-+]? (. d+ | d+ (. d*)?) ([eE] [-+]? d+)?`.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    if let Some(exponent) = exponent {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if exponent.is_empty() || !digits(exponent) {
            return None;
        }
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(number: i64) -> Resolved {
        Resolved::Integer(Integer::from(number))
    }

    #[test]
    fn plain_scalars_are_what_the_reference_takes_them_for() {
        for (text, expected) in [
            ("", Resolved::Null),
            ("~", Resolved::Null),
            ("nULL", Resolved::Text),
            ("True", Resolved::Bool(true)),
            ("yes", Resolved::Text),
            ("<<", Resolved::Merge),
            ("0", int(0)),
            ("+0", int(0)),
            ("-0", Resolved::Float(-0.0)),
            ("-0.0", Resolved::Float(-0.0)),
            ("-1", int(-1)),
            ("+1", int(1)),
            ("1_000", int(1000)),
            ("1_", int(1)),
            ("-_1", int(-1)),
            ("_1", Resolved::Text),
            ("0x1f", int(31)),
            ("-0X1F", int(-31)),
            ("0x", Resolved::Text),
            ("0xg", Resolved::Text),
            ("0x-1", Resolved::Text),
            ("--1", Resolved::Text),
            ("+-1", Resolved::Text),
            ("0o17", int(15)),
            ("0o8", Resolved::Text),
            ("017", int(15)),
            ("0_17", int(15)),
            ("00", int(0)),
            ("08", Resolved::Float(8.0)),
            ("0b101", int(5)),
            ("0b2", Resolved::Text),
            ("9223372036854775808", Resolved::Integer(Integer::from(1_u64 << 63))),
            ("18446744073709551615", Resolved::Integer(Integer::from(u64::MAX))),
            ("+9223372036854775808", Resolved::Float(9_223_372_036_854_775_808.0)),
            ("-9223372036854775808", int(i64::MIN)),
            ("-9223372036854775809", Resolved::Float(-9_223_372_036_854_775_809.0)),
            ("18446744073709551616", Resolved::Float(18_446_744_073_709_551_616.0)),
            ("0xffffffffffffffff", Resolved::Integer(Integer::from(u64::MAX))),
            ("0x1ffffffffffffffff", Resolved::Text),
            ("1.5", Resolved::Float(1.5)),
            ("1.", Resolved::Float(1.0)),
            (".5", Resolved::Float(0.5)),
            ("+.5", Resolved::Float(0.5)),
            ("._5", Resolved::Text),
            (".5_0", Resolved::Float(0.5)),
            (".5__0", Resolved::Text),
            (".5_", Resolved::Text),
            (".5e1_0", Resolved::Float(5e9)),
            (".5_e1", Resolved::Text),
            ("-.5__0_", Resolved::Float(-0.5)),
            ("1_0.5", Resolved::Float(10.5)),
            (".", Resolved::Text),
            ("-", Resolved::Text),
            ("+.", Resolved::Text),
            ("1e3", Resolved::Float(1000.0)),
            ("1e+3", Resolved::Float(1000.0)),
            ("1E-3", Resolved::Float(0.001)),
            ("1e", Resolved::Text),
            ("e1", Resolved::Text),
            (".e1", Resolved::Text),
            ("1e400", Resolved::Text),
            ("1e-400", Resolved::Float(0.0)),
            ("0x1p4", Resolved::Text),
            ("-.INF", Resolved::Float(f64::NEG_INFINITY)),
            ("-.nan", Resolved::Text),
            ("NaN", Resolved::Text),
            ("1.2.3", Resolved::Text),
            ("12:30:45", Resolved::Text),
            ("2001-01-01", Resolved::Timestamp(Timestamp::parse("2001-01-01").unwrap())),
            ("١", Resolved::Text),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
        assert!(matches!(plain(".NaN"), Resolved::Float(number) if number.is_nan()));
    }
}
