//! What a download is called.
//!
//! The name may come from the query and is hostile: nothing in it can end the header field, leave the directory
//! that a client saves to, or make one extension look like another.
//!
//! Source: RFC 6266 (Content-Disposition), RFC 8187 (the extended notation), RFC 5987 before it.

use std::fmt::Write as _;

/// The longest file name in bytes: `NAME_MAX` of Linux, and what Windows and macOS allow in UTF-16 units.
const MAX_NAME_LEN: usize = 255;

/// The value of `Content-Disposition` for a download that the client asks to be called `asked`, else `name`.
///
/// Visible ASCII throughout. A name that is not plain is given twice: reduced to ASCII for old clients, and in
/// full in the extended notation, which clients prefer.
pub fn attachment(asked: Option<&str>, name: &str) -> String {
    let name = asked.and_then(safe).or_else(|| safe(name)).unwrap_or_else(|| "download".to_owned());
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut value = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        value.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if is_attr_char(byte) {
                value.push(char::from(byte));
            } else {
                write!(value, "%{byte:02X}").expect("writing to a string does not fail");
            }
        }
    }
    value
}

/// `name` as one component of a path, without what deceives or controls; none if nothing is left of it.
fn safe(name: &str) -> Option<String> {
    let mut safe = String::new();
    for c in name.chars() {
        let c = if c.is_control() || deceives(c) || matches!(c, '/' | '\\') { '_' } else { c };
        if safe.len() + c.len_utf8() > MAX_NAME_LEN {
            break;
        }
        safe.push(c);
    }
    let safe = safe.trim();
    // A leading dot hides a file; `.` and `..` are no files at all.
    let visible = safe.trim_start_matches('.');
    (!visible.is_empty()).then(|| visible.to_owned())
}

/// Characters that reorder or hide the text around them (Unicode UAX 9 §2, UTR 36 §2.5): `gpj.exe` is not a picture.
fn deceives(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What a quoted file name holds that every client reads alike: no quote, no backslash (RFC 6266 appendix D: some
/// take the escape as part of the name), no percent sign (some decode it).
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%')
}

/// `attr-char` of RFC 8187 §3.2.1.
fn is_attr_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_quoted_and_given_in_full_where_ascii_does_not_do() {
        let table = [
            (None, r#"attachment; filename="metal-amd64.raw.zst""#),
            (Some(""), r#"attachment; filename="metal-amd64.raw.zst""#),
            (Some(".."), r#"attachment; filename="metal-amd64.raw.zst""#),
            (Some("disk one; (2).raw"), r#"attachment; filename="disk one; (2).raw""#),
            (Some("a\"b"), r#"attachment; filename="a_b"; filename*=UTF-8''a%22b"#),
            (Some("a\\b"), r#"attachment; filename="a_b""#),
            (Some("100%41.raw"), r#"attachment; filename="100_41.raw"; filename*=UTF-8''100%2541.raw"#),
            (Some("../../etc/passwd"), r#"attachment; filename="_.._etc_passwd""#),
            (Some("a\r\nSet-Cookie: x=1"), r#"attachment; filename="a__Set-Cookie: x=1""#),
            (Some("\0"), r#"attachment; filename="_""#),
            (Some("na\u{ef}ve.raw"), r#"attachment; filename="na_ve.raw"; filename*=UTF-8''na%C3%AFve.raw"#),
            (Some("exe.\u{202e}war.efi"), r#"attachment; filename="exe._war.efi""#),
            (Some(".bashrc"), r#"attachment; filename="bashrc""#),
            (Some("'x'*"), r#"attachment; filename="'x'*""#),
        ];
        for (asked, expected) in table {
            assert_eq!(attachment(asked, "metal-amd64.raw.zst"), expected, "{asked:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_breaks_the_field(name in any::<String>()) {
            let value = attachment(Some(&name), "x");
            prop_assert!(axum::http::HeaderValue::from_str(&value).is_ok());
            prop_assert!(value.bytes().all(|b| (b' '..=b'~').contains(&b)));
            let quoted = value.strip_prefix("attachment; filename=\"").unwrap();
            let (plain, rest) = quoted.split_once('"').unwrap();
            prop_assert!(!plain.contains(['\\', '/']));
            prop_assert!(plain.len() <= MAX_NAME_LEN && !plain.is_empty() && !plain.starts_with('.'));
            prop_assert!(rest.is_empty() || rest.starts_with("; filename*=UTF-8''"));
            prop_assert!(!rest.contains('"'));
        }
    }
}
