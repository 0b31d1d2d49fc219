//! Byte ranges of a representation.
//!
//! Decides which bytes of a representation a `Range` field asks for, and joins several of them to one
//! multipart body. Pure: knows neither requests nor stores. Does not decide whether the field applies at all
//! (`If-Range`, the method): see `precondition` and `representation`.
//!
//!   --b CRLF fields CRLF CRLF │ slice │ CRLF --b CRLF fields CRLF CRLF │ slice │ CRLF --b-- CRLF
//!   inline                      map     inline                           map     inline
//!
//! Source: RFC 9110 §14 (range requests), §15.3.7 (206), RFC 2046 §5.1 (multipart).

use std::ops::Range;

use extent::ExtentMap;

/// The most ranges of one request; more are answered with the whole representation, as RFC 9110 §14.2 allows.
///
/// A range costs a search in the map and about 200 bytes of part header. 256 is what the clients that ask for
/// many ranges (zchunk, zsync) use at most; a header full of one-byte ranges gets no further.
pub const MAX_RANGES: usize = 256;

/// What of a representation is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: the field is malformed, of another unit, or asks for too much work (200).
    Whole,
    /// These bytes, at least one (206).
    One(Range<u64>),
    /// These bytes, at least two ranges in the order asked for, none of which overlap (206, multipart).
    Many(Vec<Range<u64>>),
    /// Nothing: no range begins before the end (416).
    Unsatisfiable,
}

/// One element of a byte range set, before the length is known.
#[derive(Clone, Copy)]
enum Spec {
    /// `first-last` or `first-`: inclusive.
    From { first: u64, last: Option<u64> },
    /// `-len`: the last `len` bytes.
    Suffix { len: u64 },
}

/// What the value `field` of a `Range` field selects of `len` bytes.
///
/// A field that is not understood is ignored, not refused: that is what RFC 9110 §14.2 lets servers do and what
/// clients expect. Overlapping ranges select the whole, so that no answer is longer than the representation and
/// its part headers.
pub fn select(field: &str, len: u64) -> Selection {
    let Some(specs) = parse(field) else { return Selection::Whole };
    let mut ranges: Vec<Range<u64>> = specs.iter().filter_map(|spec| spec.within(len)).collect();
    if len == 0 && specs.iter().any(|spec| matches!(spec, Spec::Suffix { len } if *len > 0)) {
        // Satisfiable, says §14.1.2, but `Content-Range` cannot say "no bytes".
        return Selection::Whole;
    }
    match ranges.len() {
        0 => Selection::Unsatisfiable,
        1 => Selection::One(ranges.remove(0)),
        _ if overlap(&ranges) => Selection::Whole,
        _ => Selection::Many(ranges),
    }
}

/// The body of a multipart answer: the slices `ranges` of `map`, each behind its header, with `boundary`
/// between them.
///
/// The boundary must not occur in the bytes; one made of [`ExtentMap::id`] cannot, short of a collision.
pub fn multipart(map: &ExtentMap, ranges: &[Range<u64>], media_type: &str, boundary: &str) -> ExtentMap {
    let mut body = ExtentMap::new();
    for (index, range) in ranges.iter().enumerate() {
        let separator = if index == 0 { "" } else { "\r\n" };
        let content_range = content_range(range, map.len());
        body.push_inline(format!(
            "{separator}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {content_range}\r\n\r\n"
        ));
        body.append(map.slice(range.clone()));
    }
    body.push_inline(format!("\r\n--{boundary}--\r\n"));
    body
}

/// The value of `Content-Range` for `range` of `len` bytes.
pub fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

/// The elements of a byte range set; none where the field is malformed, of another unit or too long.
fn parse(field: &str) -> Option<Vec<Spec>> {
    let (unit, set) = field.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    // Empty elements of a list are skipped (RFC 9110 §5.6.1.2).
    for element in set.split(',').map(|e| e.trim_matches([' ', '\t'])).filter(|e| !e.is_empty()) {
        if specs.len() == MAX_RANGES {
            return None;
        }
        specs.push(Spec::parse(element)?);
    }
    (!specs.is_empty()).then_some(specs)
}

impl Spec {
    fn parse(element: &str) -> Option<Self> {
        let (first, last) = element.split_once('-')?;
        match (first, last) {
            ("", len) => Some(Self::Suffix { len: position(len)? }),
            (first, "") => Some(Self::From { first: position(first)?, last: None }),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Self::From { first, last: Some(last) })
            }
        }
    }

    /// The bytes of `len` that this selects; none if there are none.
    fn within(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => first..last.map_or(len, |last| last.saturating_add(1).min(len)),
            Self::Suffix { len: suffix } => len.saturating_sub(suffix)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

/// A number of digits only. One that exceeds 64 bits lies behind every end, so it is as good as the largest.
fn position(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether any two of `ranges` share a byte.
fn overlap(ranges: &[Range<u64>]) -> bool {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::body::Bytes;
    use extent::{Digest, read_all};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_field_selects_what_the_rfc_says() {
        use Selection::{Many, One, Unsatisfiable, Whole};
        // A list of one range is not a typo for its numbers here.
        #[allow(clippy::single_range_in_vec_init)]
        let table: &[(&str, u64, Selection)] = &[
            ("bytes=0-499", 10_000, One(0..500)),
            ("bytes=500-999", 10_000, One(500..1000)),
            ("bytes=-500", 10_000, One(9500..10_000)),
            ("bytes=9500-", 10_000, One(9500..10_000)),
            ("bytes=0-0,-1", 10_000, Many(vec![0..1, 9999..10_000])),
            ("bytes= 0-999, 4500-5499, -1000", 10_000, Many(vec![0..1000, 4500..5500, 9000..10_000])),
            // the last position is clipped, a suffix may exceed the whole
            ("bytes=9999-20000", 10_000, One(9999..10_000)),
            ("bytes=-20000", 10_000, One(0..10_000)),
            ("bytes=0-", 10_000, One(0..10_000)),
            // descending and touching ranges are kept as asked for
            ("bytes=10-19,0-9", 10_000, Many(vec![10..20, 0..10])),
            // what lies behind the end is left out while something is left
            ("bytes=20000-,5-6", 10_000, One(5..7)),
            ("bytes=10000-", 10_000, Unsatisfiable),
            ("bytes=-0", 10_000, Unsatisfiable),
            ("bytes=10000-10001,-0", 10_000, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10_000, Unsatisfiable),
            ("bytes=5-99999999999999999999999", 10_000, One(5..10_000)),
            ("bytes=-99999999999999999999999", 10_000, One(0..10_000)),
            ("bytes=0-18446744073709551615", u64::MAX, One(0..u64::MAX)),
            // overlaps would make the answer longer than the whole
            ("bytes=0-9,5-14", 10_000, Whole),
            ("bytes=0-,-1", 10_000, Whole),
            ("bytes=0-0,0-0", 10_000, Whole),
            // the unit in any case, and lists with holes
            ("BYTES=1-2", 10_000, One(1..3)),
            ("bytes=,1-2,,", 10_000, One(1..3)),
            // not understood: ignored
            ("bytes=", 10_000, Whole),
            ("bytes=,", 10_000, Whole),
            ("bytes", 10_000, Whole),
            ("", 10_000, Whole),
            ("bytes=5-4", 10_000, Whole),
            ("bytes=a-b", 10_000, Whole),
            ("bytes=+1-2", 10_000, Whole),
            ("bytes=1 - 2", 10_000, Whole),
            ("bytes=-", 10_000, Whole),
            ("bytes=--1", 10_000, Whole),
            ("bytes=1-2-3", 10_000, Whole),
            ("bytes=1-2;3-4", 10_000, Whole),
            ("bytes=0x1-2", 10_000, Whole),
            ("lines=1-2", 10_000, Whole),
            ("bytes=1-2,x", 10_000, Whole),
            // nothing has no first byte
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
        ];
        for (field, len, expected) in table {
            assert_eq!(&select(field, *len), expected, "`{field}` of {len} bytes");
        }
    }

    #[test]
    fn too_many_ranges_select_the_whole() {
        let field = |count: usize| {
            let ranges: Vec<String> = (0..count).map(|i| format!("{0}-{0}", i * 2)).collect();
            format!("bytes={}", ranges.join(","))
        };
        assert!(matches!(select(&field(MAX_RANGES), 1 << 20), Selection::Many(r) if r.len() == MAX_RANGES));
        assert_eq!(select(&field(MAX_RANGES + 1), 1 << 20), Selection::Whole);
    }

    fn blob() -> Bytes {
        (0..=255u8).cycle().take(5000).collect()
    }

    prop_compose! {
        fn any_map()(parts in prop::collection::vec((0..3u8, 1..400u64), 1..8)) -> ExtentMap {
            let mut map = ExtentMap::new();
            for (kind, len) in parts {
                match kind {
                    0 => map.push_inline(vec![7; usize::try_from(len).unwrap()]),
                    1 => map.push_zeros(len),
                    _ => map.append(ExtentMap::blob(Digest::of(&blob()), len, len)),
                }
            }
            map
        }
    }

    fn bytes_of(map: &ExtentMap) -> Vec<u8> {
        read_all(map, &HashMap::from([(Digest::of(&blob()), blob())]), u64::MAX).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_selected_is_the_slice_of_the_bytes(map in any_map(), a in 0..2000u64, b in 0..2000u64) {
            let whole = bytes_of(&map);
            let (first, last) = (a.min(b), a.max(b));
            match select(&format!("bytes={first}-{last}"), map.len()) {
                Selection::One(range) => {
                    let end = usize::try_from(last + 1).unwrap().min(whole.len());
                    prop_assert_eq!(bytes_of(&map.slice(range)), &whole[usize::try_from(first).unwrap()..end]);
                }
                Selection::Unsatisfiable => prop_assert!(first >= map.len()),
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn a_multipart_body_carries_the_slices(map in any_map(), cuts in prop::collection::btree_set(0..3000u64, 4..12)) {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let asked: Vec<String> =
                cuts.chunks_exact(2).map(|pair| format!("{}-{}", pair[0], pair[1] - 1)).collect();
            let field = format!("bytes={}", asked.join(", "));
            if let Selection::Many(ranges) = select(&field, map.len()) {
                let (whole, boundary) = (bytes_of(&map), map.id().hex());
                let body = multipart(&map, &ranges, "application/octet-stream", &boundary);
                let bytes = bytes_of(&body);
                prop_assert_eq!(bytes.len() as u64, body.len());
                let mut expected = Vec::new();
                for (i, range) in ranges.iter().enumerate() {
                    let lead = if i == 0 { "" } else { "\r\n" };
                    expected.extend_from_slice(
                        format!(
                            "{lead}--{boundary}\r\nContent-Type: application/octet-stream\r\n\
                             Content-Range: bytes {}-{}/{}\r\n\r\n", range.start, range.end - 1, whole.len()
                        ).as_bytes(),
                    );
                    expected.extend_from_slice(
                        &whole[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()],
                    );
                }
                expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
                prop_assert_eq!(bytes, expected);
            }
        }

        #[test]
        fn no_answer_is_longer_than_the_whole_and_its_headers(field in "bytes=[-0-9,]{0,80}", len in 0..200u64) {
            match select(&field, len) {
                Selection::One(range) => prop_assert!(range.start < range.end && range.end <= len),
                Selection::Many(ranges) => {
                    prop_assert!(ranges.iter().all(|r| r.start < r.end && r.end <= len));
                    prop_assert!(ranges.iter().map(|r| r.end - r.start).sum::<u64>() <= len);
                }
                Selection::Whole | Selection::Unsatisfiable => {}
            }
        }

        #[test]
        fn no_field_panics(field in ".{0,60}", len in any::<u64>()) {
            select(&field, len);
        }
    }
}
