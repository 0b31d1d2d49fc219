//! Reading back what YAML reads otherwise.
//!
//! The canonical form is the reference's, byte for byte, and its emitter errs in two ways:
//!
//!   hint    `|4` counts from the parent, so it is right only where the text stands 4 columns under it: not in lists,
//!           not in `meta`. And it is missing where the first line is empty and the second begins with a space.
//!   break   U+2028 and U+2029 are ordinary characters since YAML 1.2. It indents after them, in single quotes and in
//!           literals.
//!
//! Such text is rewritten here: literals, whose columns the emitter's own rules give, become double-quoted scalars, and
//! indentation behind a separator goes. This understands nothing but what `emit` writes; the caller accepts the result
//! only when it is written as the very bytes it came from.

use crate::emit::below;
use crate::scalar::{double, is_break};

/// `text` with the same meaning for YAML 1.2 as it has for the reference, if it has the looks of a canonical form that
/// needs it.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let begins = ["owner: ", "overlay:\n", "customization:"].iter().any(|field| text.starts_with(field));
    if !begins || !text.contains(['|', '\u{2028}', '\u{2029}']) {
        return None;
    }
    let mut mended = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if let Some(header) = Header::of(line) {
            let (value, after) = header.literal(after);
            mended.push_str(&line[..header.start]);
            mended.push_str(&double(&value));
            rest = after;
        } else {
            let mut separated = false;
            for character in line.chars() {
                if !(separated && character == ' ') {
                    mended.push(character);
                    separated = is_break(character);
                }
            }
            rest = after;
        }
        mended.push('\n');
    }
    Some(mended)
}

/// The end of a line at which a literal begins.
struct Header {
    /// Where on the line the `|` is.
    start: usize,
    /// Whether the text ends without a line break of its own.
    strip: bool,
    /// The column of the text.
    column: usize,
}

impl Header {
    fn of(line: &str) -> Option<Self> {
        let start = line.rfind('|')?;
        let hints = &line[start + 1..];
        if !matches!(hints, "" | "-" | "+" | "4" | "4-" | "4+") {
            return None;
        }
        // What stands before it: indentation, dashes, `?` or `:` of a long key, and at last perhaps a key.
        let mut column = 0;
        let mut parent = None;
        loop {
            let before = &line[column..start];
            let spaces = before.len() - before.trim_start_matches(' ').len();
            let before = &before[spaces..];
            column += spaces;
            if before.is_empty() {
                break;
            }
            let key = before.strip_suffix(": ").is_some();
            match before.as_bytes() {
                [b'-', b' ', ..] => parent = Some((column, true)),
                [b'?' | b':', b' ', ..] => parent = Some((column, false)),
                _ if key => {
                    parent = Some((column, false));
                    break;
                }
                _ => return None,
            }
            column += 1;
        }
        let (parent, sequence) = parent?;
        Some(Self { start, strip: hints.ends_with('-'), column: below(parent, sequence) })
    }

    /// The text of the literal, and what follows it.
    fn literal<'t>(&self, mut rest: &'t str) -> (String, &'t str) {
        let mut value = String::new();
        while let Some(first) = rest.chars().next() {
            let line = if is_break(first) {
                rest
            } else if rest.len() - rest.trim_start_matches(' ').len() >= self.column {
                &rest[self.column..]
            } else {
                break;
            };
            let end = line.find(is_break).unwrap_or(line.len());
            let with_break = end + line[end..].chars().next().map_or(0, char::len_utf8);
            value.push_str(&line[..with_break]);
            rest = &line[with_break..];
        }
        if self.strip && value.ends_with('\n') {
            value.pop();
        }
        (value, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_and_separators_are_rewritten() {
        for (text, mended) in [
            ("customization: {}\n", None),
            ("# customization: |\n", None),
            (
                "customization:\n    meta:\n        - key: 1\n          value: |4\n              a\n            b\n",
                Some("customization:\n    meta:\n        - key: 1\n          value: \"  a\\nb\\n\"\n"),
            ),
            // The text of a literal is no header, nor is a string that ends like one.
            (
                "owner: |\n    a: |\n     b\ncustomization: {}\n",
                Some("owner: \"a: |\\n b\\n\"\ncustomization: {}\n"),
            ),
            ("owner: a |\ncustomization: {}\n", Some("owner: a |\ncustomization: {}\n")),
            ("owner: !!binary |\n    AA\n", Some("owner: !!binary |\n    AA\n")),
            ("owner: 'a\u{2028}    b'\n", Some("owner: 'a\u{2028}b'\n")),
            (
                "overlay:\n    ? |-\n        a\n        b\n    :   - |\n",
                Some("overlay:\n    ? \"a\\nb\"\n    :   - \"\"\n"),
            ),
        ] {
            assert_eq!(canonical(text).as_deref(), mended, "{text:?}");
        }
    }
}
