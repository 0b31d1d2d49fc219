//! Timestamps.
//!
//!   YYYY-M-D                          midnight UTC
//!   YYYY-M-D h:m:s[.fraction]         UTC; any number of spaces between
//!   YYYY-M-DTh:m:s[.fraction]zone     `T` or `t`; zone `Z` or `±hh:mm`
//!
//! One or two digits for M, D, h, m, s; a fraction after `.` or `,`, cut at nine digits. Anything else is text.
//!
//! Source: yaml.org/type/timestamp.html, in the subset go-yaml reads; RFC 3339 for what is written.

use std::fmt;

/// A point in time, kept in the offset it was written in.
///
/// Ordered by its text, which decides only the order of keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(String);

impl Timestamp {
    /// The timestamp `text` is, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Cursor(text.as_bytes());
        let year = rest.digits(4, 4)?;
        let month = rest.skip(b"-")?.digits(1, 2)?;
        let day = rest.skip(b"-")?.digits(1, 2)?;
        if !(1..=12).contains(&month) || day < 1 || day > days(year, month) {
            return None;
        }
        if rest.0.is_empty() {
            return Some(Self(format!("{year:04}-{month:02}-{day:02}T00:00:00Z")));
        }
        let zoned = rest.0[0] != b' ';
        if zoned {
            rest.skip(b"Tt")?;
        } else {
            while rest.skip(b" ").is_some() {}
        }
        let hour = rest.digits(1, 2)?;
        let minute = rest.skip(b":")?.digits(1, 2)?;
        let second = rest.skip(b":")?.digits(1, 2)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let fraction = rest.fraction();
        let zone = if zoned { rest.zone()? } else { "Z".to_owned() };
        rest.0.is_empty().then(|| {
            Self(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"))
        })
    }

    /// The RFC 3339 text, as short as it can be.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// One byte of `any`.
    fn skip(&mut self, any: &[u8]) -> Option<&mut Self> {
        let (first, rest) = self.0.split_first()?;
        any.contains(first).then(|| {
            self.0 = rest;
            self
        })
    }

    /// A number of `least` to `most` digits, as many as there are.
    fn digits(&mut self, least: usize, most: usize) -> Option<u32> {
        let count = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(count);
        self.0 = rest;
        (count >= least).then(|| number.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
    }

    fn fraction(&mut self) -> String {
        let digits = match self.0 {
            [b'.' | b',', rest @ ..] => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
            _ => 0,
        };
        if digits == 0 {
            return String::new();
        }
        let written: String = self.0[1..=digits.min(9)].iter().copied().map(char::from).collect();
        self.0 = &self.0[digits + 1..];
        match written.trim_end_matches('0') {
            "" => String::new(),
            digits => format!(".{digits}"),
        }
    }

    fn zone(&mut self) -> Option<String> {
        if self.skip(b"Z").is_some() {
            return Some("Z".to_owned());
        }
        let sign = *self.0.first()?;
        let hours = self.skip(b"+-")?.digits(2, 2)?;
        let minutes = self.skip(b":")?.digits(2, 2)?;
        // 60 minutes carry. 25 hours (`24:60`) could be written but not be read again.
        let total = hours * 60 + minutes;
        (hours <= 24 && minutes <= 60 && total < 25 * 60).then(|| match total {
            0 => "Z".to_owned(),
            _ => format!("{}{:02}:{:02}", char::from(sign), total / 60, total % 60),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_as_rfc_3339() {
        for (text, expected) in [
            ("2001-01-01", Some("2001-01-01T00:00:00Z")),
            ("2001-1-2", Some("2001-01-02T00:00:00Z")),
            ("2000-02-29", Some("2000-02-29T00:00:00Z")),
            ("1900-02-29", None),
            ("2001-13-01", None),
            ("2001-04-31", None),
            ("2001-00-01", None),
            ("0000-01-01", Some("0000-01-01T00:00:00Z")),
            ("2001-12-14t21:59:43.10-05:00", Some("2001-12-14T21:59:43.1-05:00")),
            ("2001-12-14T21:59:43Z", Some("2001-12-14T21:59:43Z")),
            ("2001-12-14T1:2:3,5Z", Some("2001-12-14T01:02:03.5Z")),
            ("2001-12-14 21:59:43.1234567899", Some("2001-12-14T21:59:43.123456789Z")),
            ("2001-12-14   21:59:43", Some("2001-12-14T21:59:43Z")),
            ("2001-12-14 21:59:43.10 -5", None),
            ("2001-12-14T21:59:43", None),
            ("2001-12-14T21:59:43z", None),
            ("2001-12-14T24:00:00Z", None),
            ("2001-12-14T21:59:43+00:00", Some("2001-12-14T21:59:43Z")),
            ("2001-12-14T21:59:43+05:60", Some("2001-12-14T21:59:43+06:00")),
            ("2001-12-14T21:59:43+24:00", Some("2001-12-14T21:59:43+24:00")),
            ("2001-12-14T21:59:43+24:60", None),
            ("2001-12-14T21:59:43.Z", None),
            ("2001-12-14T21:59:43.000Z", Some("2001-12-14T21:59:43Z")),
            ("20011-12-14", None),
            ("201-12-14", None),
            ("2001-12-14 ", None),
            ("2001-12", None),
            ("", None),
        ] {
            assert_eq!(Timestamp::parse(text).as_ref().map(Timestamp::as_str), expected, "{text}");
        }
    }
}
