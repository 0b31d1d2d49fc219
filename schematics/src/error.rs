//! Why a body is no schematic.

use std::fmt;

/// A position in the body; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a body is no schematic. Every variant is the client's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no YAML document: an empty body, or comments only. (The reference answers `EOF`.)
    #[error("the body holds no YAML document; the empty schematic is `{{}}`")]
    Empty,
    /// The body, or the canonical YAML of what it says, is longer than [`crate::MAX_LEN`].
    #[error("{what} is longer than {max} bytes")]
    TooLong {
        /// `the body` or `the canonical form`.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The body is not UTF-8, nor UTF-16 with a byte order mark.
    #[error("the body is not UTF-8: the sequence at byte {offset} is invalid")]
    Encoding {
        /// Where the first wrong sequence begins.
        offset: usize,
    },
    /// A control character stands unescaped.
    #[error("{place}: control character `\\x{code:02X}` must be written as an escape in double quotes")]
    ControlCharacter {
        /// Where.
        place: Place,
        /// Its code point.
        code: u32,
    },
    /// The body is not YAML.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where the parser gave up.
        place: Place,
        /// What it says.
        problem: String,
    },
    /// Lists and mappings are nested deeper than [`crate::MAX_DEPTH`].
    #[error("{place}: nested deeper than {max} levels")]
    TooDeep {
        /// Where.
        place: Place,
        /// The limit.
        max: usize,
    },
    /// The document has more than [`crate::MAX_NODES`] values.
    #[error("{place}: more than {max} values")]
    TooMany {
        /// Where the first one too many begins.
        place: Place,
        /// The limit.
        max: usize,
    },
    /// Expanding aliases would add more than [`crate::MAX_ALIASED_LEN`].
    #[error("{place}: aliases expand to more than {max} bytes")]
    AliasBomb {
        /// The alias that would exceed it.
        place: Place,
        /// The limit.
        max: usize,
    },
    /// An alias stands inside the value it names.
    #[error("{place}: the alias stands inside its own anchor")]
    AliasLoop {
        /// The alias.
        place: Place,
    },
    /// A mapping has a key that is not known there.
    #[error("{place}: unknown field `{field}` in {parent}{}", suggestion(*.nearest))]
    UnknownField {
        /// The key.
        place: Place,
        /// Its text.
        field: String,
        /// The mapping.
        parent: &'static str,
        /// The known name most like it, when one is like it.
        nearest: Option<&'static str>,
    },
    /// A mapping has a key twice.
    #[error("{place}: key `{key}` is already defined at line {first}")]
    DuplicateKey {
        /// The second occurrence.
        place: Place,
        /// Its text.
        key: String,
        /// The line of the first occurrence.
        first: usize,
    },
    /// A key is a list or a mapping.
    #[error("{place}: a key must be a single value")]
    ComplexKey {
        /// The key.
        place: Place,
    },
    /// There is nothing before a colon.
    #[error("{place}: a key is missing before `:`")]
    MissingKey {
        /// Where it should be.
        place: Place,
    },
    /// A value is of another type than its field.
    #[error("{place}: expected {expected}, found {found}")]
    WrongType {
        /// The value.
        place: Place,
        /// What the field takes.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A number is too small, too large or no whole number.
    #[error("{place}: `{number}` is not a whole number from 0 to {max}")]
    OutOfRange {
        /// The number.
        place: Place,
        /// Its source text.
        number: String,
        /// The largest number the field takes.
        max: u64,
    },
    /// A text is none of the names its field takes.
    #[error("{place}: `{name}` is no {kind}, these are: {names}{}", suggestion(*.nearest))]
    UnknownName {
        /// The text.
        place: Place,
        /// The text itself.
        name: String,
        /// What it should name.
        kind: &'static str,
        /// All names.
        names: &'static str,
        /// The one most like it, when one is like it.
        nearest: Option<&'static str>,
    },
    /// A scalar is not what its tag says.
    #[error("{place}: `{text}` is not what its tag `{tag}` says")]
    WrongTag {
        /// The scalar.
        place: Place,
        /// Its text.
        text: String,
        /// The tag.
        tag: &'static str,
    },
    /// A merge key has another value than a mapping or a list of mappings.
    #[error("{place}: `<<` takes a mapping or a list of mappings")]
    WrongMerge {
        /// The value.
        place: Place,
    },
}

impl Error {
    /// Where in the body, when it is one place.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Empty | Self::TooLong { .. } | Self::Encoding { .. } => None,
            Self::ControlCharacter { place, .. }
            | Self::Syntax { place, .. }
            | Self::TooDeep { place, .. }
            | Self::TooMany { place, .. }
            | Self::AliasBomb { place, .. }
            | Self::AliasLoop { place }
            | Self::UnknownField { place, .. }
            | Self::DuplicateKey { place, .. }
            | Self::ComplexKey { place }
            | Self::MissingKey { place }
            | Self::WrongType { place, .. }
            | Self::OutOfRange { place, .. }
            | Self::UnknownName { place, .. }
            | Self::WrongTag { place, .. }
            | Self::WrongMerge { place } => Some(*place),
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// As much of a foreign text as an error message carries, on one line.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == MAX_CHARS {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The name of `names` most like `text`, when one is like it.
///
/// Jaro-Winkler, because people get the beginning of a name right; 0.8 refuses names that merely share letters.
pub(crate) fn nearest(text: &str, names: &[&'static str]) -> Option<&'static str> {
    const LIKE: f64 = 0.8;
    let text = excerpt(text).to_lowercase();
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&text, &name.to_lowercase()), *name))
        .filter(|(similarity, _)| *similarity >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_strangers_are_not() {
        let names = ["extraKernelArgs", "systemExtensions", "meta"];
        for (text, expected) in [
            ("extraKernelArg", Some("extraKernelArgs")),
            ("extra_kernel_args", Some("extraKernelArgs")),
            ("SystemExtensions", Some("systemExtensions")),
            ("metal", Some("meta")),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, &names), expected, "{text}");
        }
    }
}
