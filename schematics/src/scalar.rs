//! How a string is written in canonical YAML.
//!
//!   binary         the bytes are no UTF-8: `!!binary` and base64
//!   literal        holds LF, something visible, no line that ends in a space, nothing unprintable
//!   double         would be read as another type; holds what only an escape can write; LF, but not literal
//!   single         a word or number of YAML 1.1; begins, ends or is parted by what YAML would read otherwise
//!   plain          the rest
//!
//! Source: go-yaml v4.0.0-rc.6, observed.

use std::fmt::Write;

use base64::Engine;

use crate::resolve::{Resolved, plain};
use crate::text::Text;
use crate::value::Scalar;

/// How strings are quoted that only YAML 1.1 reads as something else: `yes`, `off`, `12:30`, `<<`.
///
/// go-yaml quoted them doubly up to v4.0.0-rc.4, singly in rc.5 and rc.6, doubly again in v4.0.0. Ids depend on it.
/// (v4.0.0 also counts the hint of a literal in a list right, and writes text with spaces before a line break as a
/// literal; this switch follows it in neither.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuoteStyle {
    /// `'off'`
    #[default]
    Single,
    /// `"off"`
    Double,
}

/// A string ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written<'a> {
    /// On one line, quotes and all. Holds line breaks of other kinds than LF in single quotes only.
    Inline(String),
    /// A literal block.
    Literal { binary: bool, text: std::borrow::Cow<'a, str> },
}

/// Decides how `text` is written.
pub(crate) fn written(text: &Text, quotes: QuoteStyle) -> Written<'_> {
    let Ok(text) = text.as_str() else {
        let digits = base64_lines(text.as_bytes());
        return if digits.contains('\n') {
            Written::Literal { binary: true, text: digits.into() }
        } else {
            Written::Inline(format!("!!binary {digits}"))
        };
    };
    let shape = Shape::of(text);
    if text.contains('\n') {
        return if shape.literal && text.len() > 1 && text.contains(|c: char| !c.is_whitespace()) {
            Written::Literal { binary: false, text: text.into() }
        } else {
            Written::Inline(double(text))
        };
    }
    Written::Inline(if is_legacy(text) {
        match quotes {
            QuoteStyle::Single => single(text),
            QuoteStyle::Double => double(text),
        }
    } else if plain(text) != Resolved::Text {
        double(text)
    } else if shape.plain {
        text.to_owned()
    } else if shape.single {
        single(text)
    } else {
        double(text)
    })
}

/// The value without quotes and tags, as a reader of the canonical form meets it.
pub(crate) fn name(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Integer(number) => number.get().to_string(),
        Scalar::Float(number) => float(number.get()),
        Scalar::Timestamp(time) => time.to_string(),
        Scalar::Text(text) => text.as_str().map_or_else(|_| base64_lines(text.as_bytes()), str::to_owned),
    }
}

/// Whether `text` holds anything the reference's emitter takes for a line break; such a key is never simple.
pub(crate) fn is_multiline(text: &str) -> bool {
    text.contains(is_break)
}

/// A line break in the eyes of the reference, which are YAML 1.1's.
pub(crate) fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Which forms can carry a string at all.
struct Shape {
    plain: bool,
    single: bool,
    literal: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let is_blank = |c: char| matches!(c, ' ' | '\t');
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut tabs, mut special, mut breaks) = (false, false, false);
        let (mut break_space, mut space_break) = (false, false);
        let mut previous = '\n';
        let mut characters = text.chars().peekable();
        let mut first = true;
        while let Some(character) = characters.next() {
            let before_blank = characters.peek().is_none_or(|next| is_blank(*next));
            indicators |= match character {
                '#' if first => true,
                '#' => is_blank(previous) || is_break(previous) || previous == '\0',
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    first
                }
                '?' | '-' => first && before_blank,
                ':' => before_blank,
                _ => false,
            };
            tabs |= character == '\t';
            special |= character != '\t' && !is_printable(character);
            breaks |= is_break(character);
            break_space |= character == ' ' && is_break(previous) && !first;
            space_break |= is_break(character) && previous == ' ';
            previous = character;
            first = false;
        }
        let ends = |text: &str| text.starts_with(' ') || text.ends_with(' ');
        Self {
            plain: !(indicators || tabs || special || breaks || ends(text)),
            single: !(tabs || special || break_space || space_break),
            literal: !(special || space_break || text.ends_with(' ')),
        }
    }
}

/// What the reference writes as it is: the BMP without controls, surrogates and byte order marks.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{A0}'..='\u{FEFE}' | '\u{FF00}'..='\u{FFFD}')
}

/// Booleans and base-60 numbers of YAML 1.1, and the merge key.
fn is_legacy(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "off"
            | "Off"
            | "OFF"
            | "<<"
    ) || is_base_60(text)
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (places, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let Some((first, rest)) = places.split_once(':') else { return false };
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && digits(fraction)
        && rest.split(':').all(|place| match place.as_bytes() {
            [unit] | [b'0'..=b'5', unit] => unit.is_ascii_digit(),
            _ => false,
        })
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// In double quotes, everything unprintable escaped.
pub(crate) fn double(text: &str) -> String {
    // The reference looks for a byte order mark at the beginning instead of at the character at hand.
    let marked = text.starts_with('\u{FEFF}');
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if is_printable(character) && !is_break(character) && !matches!(character, '"' | '\\') && !marked {
            quoted.push(character);
            continue;
        }
        quoted.push('\\');
        match character {
            '\0' => quoted.push('0'),
            '\x07' => quoted.push('a'),
            '\x08' => quoted.push('b'),
            '\t' => quoted.push('t'),
            '\n' => quoted.push('n'),
            '\x0B' => quoted.push('v'),
            '\x0C' => quoted.push('f'),
            '\r' => quoted.push('r'),
            '\x1B' => quoted.push('e'),
            '"' => quoted.push('"'),
            '\\' => quoted.push('\\'),
            '\u{85}' => quoted.push('N'),
            '\u{A0}' => quoted.push('_'),
            '\u{2028}' => quoted.push('L'),
            '\u{2029}' => quoted.push('P'),
            _ => {
                let code = u32::from(character);
                let _ = match code {
                    ..=0xFF => write!(quoted, "x{code:02X}"),
                    0x100..=0xFFFF => write!(quoted, "u{code:04X}"),
                    _ => write!(quoted, "U{code:08X}"),
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Base64; from 70 digits on in lines of 70, each with its LF.
fn base64_lines(bytes: &[u8]) -> String {
    const LINE_LEN: usize = 70;
    let digits = base64::engine::general_purpose::STANDARD.encode(bytes);
    if digits.len() < LINE_LEN {
        return digits;
    }
    let mut lines = String::with_capacity(digits.len() + digits.len() / LINE_LEN + 1);
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_LEN));
        lines.push_str(line);
        lines.push('\n');
        rest = after;
    }
    lines
}

/// A float in the shortest form that reads back, as Go's `%g` prints it: an exponent below -4 or from 6 on.
fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    // Of two shortest forms equally near, Go takes the even one; so does rounding to that many digits, but at powers
    // of two the result may read back as the neighbour.
    let shortest = format!("{number:e}");
    let digits = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    let rounded = format!("{number:.*e}", digits.saturating_sub(1));
    let scientific = if rounded.parse() == Ok(number) { rounded } else { shortest };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        for (number, expected) in [
            (1.5, "1.5"),
            (-0.0, "-0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000_001_5, "1.5e-06"),
            (900_719_925_474_099.2, "9.007199254740992e+14"),
            (9_007_199_254_740_993.0, "9.007199254740992e+15"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (123_456_789.125, "1.23456789125e+08"),
            (1e100, "1e+100"),
            (-1e-100, "-1e-100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, ".inf"),
            (f64::NEG_INFINITY, "-.inf"),
            (f64::NAN, ".nan"),
        ] {
            assert_eq!(float(number), expected);
        }
    }

    #[test]
    fn every_string_has_the_form_the_reference_gives_it() {
        for (text, expected) in [
            ("", "\"\""),
            ("a", "a"),
            ("~", "\"~\""),
            ("017", "\"017\""),
            ("2001-01-01", "\"2001-01-01\""),
            ("on", "'on'"),
            ("oN", "oN"),
            ("1:2", "'1:2'"),
            ("+1_:2:59.5_", "'+1_:2:59.5_'"),
            ("1:60", "1:60"),
            ("_1:2", "_1:2"),
            ("1:2:", "'1:2:'"),
            ("<<", "'<<'"),
            ("<", "<"),
            ("a\tb", "\"a\\tb\""),
            ("a\u{7F}\u{85}\u{9F}", "\"a\\x7F\\N\\x9F\""),
            ("\u{A0}", "\u{A0}"),
            ("\u{FEFF}a b", "\"\\uFEFF\\x61\\x20\\x62\""),
            ("a\u{FEFF}b", "\"a\\uFEFFb\""),
            ("a\u{FFFE}\u{FFFD}", "\"a\\uFFFE\u{FFFD}\""),
            ("\u{10FFFF}", "\"\\U0010FFFF\""),
            (" a", "' a'"),
            ("a: 'b'", "'a: ''b'''"),
            ("a:\tb", "\"a:\\tb\""),
            ("-", "'-'"),
            ("-a", "-a"),
            ("---a", "'---a'"),
            ("a\u{2028} b", "\"a\\L b\""),
            ("a\u{2028}", "'a\u{2028}'"),
            ("\n", "\"\\n\""),
            ("\r\n", "\"\\r\\n\""),
            ("a \nb", "\"a \\nb\""),
            ("\"\n\u{1F600}", "\"\\\"\\n\\U0001F600\""),
        ] {
            assert_eq!(
                written(&Text::from(text), QuoteStyle::Single),
                Written::Inline(expected.into()),
                "{text:?}"
            );
        }
        assert_eq!(written(&Text::from("on"), QuoteStyle::Double), Written::Inline("\"on\"".into()));
    }

    #[test]
    fn bytes_are_base64_and_long_ones_are_folded() {
        let short = Text::from(vec![0xFF]);
        assert_eq!(written(&short, QuoteStyle::Single), Written::Inline("!!binary /w==".into()));
        let long = Text::from(vec![0xFF; 53]);
        let Written::Literal { binary: true, text } = written(&long, QuoteStyle::Single) else {
            panic!("not folded");
        };
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [70, 2]);
        let middle = Text::from(vec![0xFF; 51]);
        assert!(
            matches!(written(&middle, QuoteStyle::Single), Written::Inline(line) if line.len() == 9 + 68)
        );
    }
}
