//! Debian versions: `[epoch:]upstream[-revision]`.
//!
//! Source: Debian Policy 4.6.2, §5.6.12.

use std::cmp::Ordering;

/// The order of two versions of one package.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = parts(a);
    let (epoch_b, upstream_b, revision_b) = parts(b);
    digits(epoch_a, epoch_b)
        .then_with(|| part(upstream_a, upstream_b))
        .then_with(|| part(revision_a, revision_b))
}

/// The upstream part of `version`, made fit for a tag: what follows `+` or `~` there tells how Debian
/// repacked the source (`+dfsg`, `+ds`, `~deb12u1`) and is cut off.
pub(crate) fn upstream(version: &str) -> String {
    let (_, upstream, _) = parts(version);
    let fit: String = upstream
        .split(['+', '~'])
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' })
        .collect();
    if fit.is_empty() { "0".to_owned() } else { fit }
}

fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

/// Compares as policy says: runs of other characters by their weight, runs of digits by their number, in turn.
fn part(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (text_a, rest_a) = split(a, |c| !c.is_ascii_digit());
        let (text_b, rest_b) = split(b, |c| !c.is_ascii_digit());
        let (number_a, next_a) = split(rest_a, |c| c.is_ascii_digit());
        let (number_b, next_b) = split(rest_b, |c| c.is_ascii_digit());
        let order = text(text_a, text_b).then_with(|| digits(number_a, number_b));
        if order != Ordering::Equal || (next_a.is_empty() && next_b.is_empty()) {
            return order;
        }
        (a, b) = (next_a, next_b);
    }
}

fn split(text: &str, is: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is(c)).unwrap_or(text.len()))
}

/// `~` before the end, the end before letters, letters before the rest.
fn text(a: &str, b: &str) -> Ordering {
    let weight = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    };
    let (mut a, mut b) = (a.bytes(), b.bytes());
    loop {
        let (x, y) = (a.next(), b.next());
        let order = weight(x).cmp(&weight(y));
        if order != Ordering::Equal || (x.is_none() && y.is_none()) {
            return order;
        }
    }
}

/// Numbers of any length: the longer one is the greater, without leading zeros.
fn digits(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_policy_says() {
        let ascending = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "1.0~rc1-1",
            "1.0-1~bpo1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb12u1",
            "1.0-2",
            "1.0-10",
            "1.0a-1",
            "1.0.1-1",
            "1.2",
            "1.10",
            "6.1.99-1",
            "6.1.192-2",
            "6.12.117-1",
            "1:0.1",
            "2:0",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(compare("1.0-0", "1.0"), Ordering::Equal);
        assert_eq!(compare("0:1.01", "1.1"), Ordering::Equal);
    }

    #[test]
    fn upstream_versions_fit_in_tags() {
        for (version, expected) in [
            ("1:7.2+dfsg-7+deb12u18+b3", "7.2"),
            ("1:10.0.13+ds-0+deb13u1", "10.0.13"),
            ("3.20251111.1~deb13u1", "3.20251111.1"),
            ("2.1.11-1+deb13u2", "2.1.11"),
            ("1.0.20210914-3", "1.0.20210914"),
            ("20250410-2", "20250410"),
            ("6.12.117-1", "6.12.117"),
            ("1.2/3", "1.2-3"),
            ("", "0"),
        ] {
            assert_eq!(upstream(version), expected, "{version}");
        }
    }
}
