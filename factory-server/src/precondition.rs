//! Preconditions: whether a representation is sent at all, and whether in part.
//!
//! Compares entity tags only: what a description stands for has no date of its own, so a date in `If-Range`
//! never matches and the date fields are not evaluated.
//!
//! Source: RFC 9110 §8.8.3 (entity tags), §13 (conditional requests; §13.2.2 is the order of evaluation).

use std::fmt;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE};

/// A strong entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

/// What the preconditions of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there were none.
    Proceed,
    /// The client has it already (304).
    NotModified,
    /// The client has something else (412).
    Failed,
}

impl ETag {
    /// The tag of a description or of bytes, by their hexadecimal name.
    pub fn of(name: impl fmt::Display) -> Self {
        Self(name.to_string().replace(|c: char| !c.is_ascii_alphanumeric() && c != ':', "-"))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// What `If-Match` and `If-None-Match` of a GET or HEAD request say about the representation tagged `etag`.
pub fn evaluate(headers: &HeaderMap, etag: &ETag) -> Outcome {
    // Strong comparison for If-Match, weak for If-None-Match (§13.1.1, §13.1.2).
    if let Some(any) = matches(headers, &IF_MATCH, etag, false)
        && !any
    {
        return Outcome::Failed;
    }
    match matches(headers, &IF_NONE_MATCH, etag, true) {
        Some(true) => Outcome::NotModified,
        _ => Outcome::Proceed,
    }
}

/// Whether a `Range` field applies: there is no `If-Range`, or it names `etag` by strong comparison.
pub fn range_applies(headers: &HeaderMap, etag: &ETag) -> bool {
    let mut fields = headers.get_all(IF_RANGE).iter();
    match (fields.next(), fields.next()) {
        (None, _) => true,
        (Some(field), None) => field.as_bytes().trim_ascii() == etag.to_string().as_bytes(),
        (Some(_), Some(_)) => false,
    }
}

/// Whether any field `name` lists `etag` or `*`; none where there is no such field.
fn matches(headers: &HeaderMap, name: &HeaderName, etag: &ETag, weak: bool) -> Option<bool> {
    let mut fields = headers.get_all(name).iter().peekable();
    fields.peek()?;
    Some(fields.any(|field| lists(field, etag, weak)))
}

/// Whether one field value lists `etag` or is `*`. What follows a malformed element is not read.
fn lists(field: &HeaderValue, etag: &ETag, weak: bool) -> bool {
    let mut rest = field.as_bytes().trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        // Empty elements are skipped (§5.6.1.2).
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let is_weak = rest.starts_with(b"W/");
        if is_weak {
            rest = &rest[2..];
        }
        // An opaque tag may hold commas but no quote; there is no escape in it.
        let Some(after) = rest.strip_prefix(b"\"") else { return false };
        let Some(end) = after.iter().position(|&b| b == b'"') else { return false };
        if &after[..end] == etag.0.as_bytes() && (weak || !is_weak) {
            return true;
        }
        rest = after[end + 1..].trim_ascii_start();
        if !rest.starts_with(b",") {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn preconditions_are_evaluated_in_the_order_of_the_rfc() {
        use Outcome::{Failed, NotModified, Proceed};
        let (m, n) = (&IF_MATCH, &IF_NONE_MATCH);
        let table: &[(&[(&HeaderName, &str)], Outcome)] = &[
            (&[], Proceed),
            (&[(n, "\"a\"")], NotModified),
            (&[(n, "W/\"a\"")], NotModified),
            (&[(n, "*")], NotModified),
            (&[(n, "\"b\", W/\"c\" ,,\t\"a\"")], NotModified),
            (&[(n, "\"b\""), (n, "\"a\"")], NotModified),
            (&[(n, "\"x,\", \"a\"")], NotModified),
            (&[(n, "\"b\"")], Proceed),
            (&[(n, "a")], Proceed),
            (&[(n, "\"a")], Proceed),
            (&[(n, "")], Proceed),
            (&[(n, "\"b\" \"a\"")], Proceed),
            (&[(n, "w/\"a\"")], Proceed),
            (&[(n, "\"A\"")], Proceed),
            (&[(m, "\"a\"")], Proceed),
            (&[(m, "*")], Proceed),
            (&[(m, "\"b\", \"a\"")], Proceed),
            (&[(m, "W/\"a\"")], Failed),
            (&[(m, "\"b\"")], Failed),
            (&[(m, "")], Failed),
            (&[(m, "\"b\""), (n, "\"a\"")], Failed),
            (&[(m, "\"a\""), (n, "\"a\"")], NotModified),
            (&[(n, "\u{e9}\"a\"")], Proceed),
        ];
        for (fields, expected) in table {
            assert_eq!(evaluate(&headers(fields), &ETag::of("a")), *expected, "{fields:?}");
        }
    }

    #[test]
    fn if_range_needs_the_very_tag() {
        let table: &[(&[&str], bool)] = &[
            (&[], true),
            (&["\"a\""], true),
            (&["W/\"a\""], false),
            (&["\"b\""], false),
            (&["\"a\", \"b\""], false),
            (&["*"], false),
            (&["Wed, 21 Oct 2015 07:28:00 GMT"], false),
            (&["\"a\"", "\"a\""], false),
        ];
        for (values, expected) in table {
            let fields: Vec<_> = values.iter().map(|value| (&IF_RANGE, *value)).collect();
            assert_eq!(range_applies(&headers(&fields), &ETag::of("a")), *expected, "{values:?}");
        }
    }

    #[test]
    fn a_tag_is_quoted_and_cannot_break_out() {
        assert_eq!(ETag::of("sha256:ab").to_string(), "\"sha256:ab\"");
        assert_eq!(ETag::of("a\"b\r\n").to_string(), "\"a-b--\"");
    }
}
