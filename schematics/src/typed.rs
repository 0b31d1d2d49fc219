//! What a single node is: a scalar by its tag, its quotes and its text.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::document::{Kind, Node, Tag};
use crate::error::{Error, excerpt};
use crate::resolve::{Resolved, plain};
use crate::text::Text;
use crate::value::Scalar;

/// Go's decoder asks for padding, and does not look at the bits behind the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// The type of a scalar by its tag, quotes and text, and the text (of `!!binary`: the bytes). `None`: no scalar.
pub(crate) fn typed_text(node: &Node) -> Result<Option<(Resolved, Text)>, Error> {
    let Kind::Scalar { text, plain: unquoted } = &node.kind else {
        return Ok(None);
    };
    let resolved = match node.tag {
        Tag::Absent if *unquoted => plain(text),
        Tag::Absent | Tag::Str | Tag::Foreign => Resolved::Text,
        Tag::Merge => Resolved::Merge,
        Tag::Binary => {
            let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            let bytes = BASE64.decode(digits).map_err(|_| wrong_tag(node))?;
            return Ok(Some((Resolved::Text, Text::from(bytes))));
        }
        Tag::Int | Tag::Float | Tag::Bool | Tag::Null | Tag::Timestamp => match (node.tag, plain(text)) {
            (Tag::Int, resolved @ Resolved::Integer(_))
            | (Tag::Float, resolved @ Resolved::Float(_))
            | (Tag::Bool, resolved @ Resolved::Bool(_))
            | (Tag::Null, resolved @ Resolved::Null)
            | (Tag::Timestamp, resolved @ Resolved::Timestamp(_)) => resolved,
            #[allow(clippy::cast_precision_loss)] // what `!!float` asks for
            (Tag::Float, Resolved::Integer(number)) => Resolved::Float(number.get() as f64),
            _ => return Err(wrong_tag(node)),
        },
    };
    Ok(Some((resolved, Text::from(text.as_str()))))
}

/// Nothing at all, where a key should be.
pub(crate) fn is_missing(node: &Node) -> bool {
    node.tag == Tag::Absent && matches!(&node.kind, Kind::Scalar { text, plain: true } if text.is_empty())
}

/// Null, of whatever spelling.
pub(crate) fn is_null(node: &Node) -> Result<bool, Error> {
    Ok(matches!(typed_text(node)?, Some((Resolved::Null, _))))
}

/// A single value with its type; `None` is a `<<`.
pub(crate) fn typed(node: &Node) -> Result<Option<Scalar>, Error> {
    let Some((resolved, text)) = typed_text(node)? else {
        return Err(Error::ComplexKey { place: node.place });
    };
    Ok(match resolved {
        Resolved::Null => Some(Scalar::Null),
        Resolved::Bool(value) => Some(Scalar::Bool(value)),
        Resolved::Integer(number) => Some(Scalar::Integer(number)),
        Resolved::Float(number) => Some(Scalar::from(number)),
        Resolved::Timestamp(time) => Some(Scalar::Timestamp(time)),
        Resolved::Text => Some(Scalar::Text(text)),
        Resolved::Merge => None,
    })
}

/// The whole number a float is.
pub(crate) fn whole(number: f64) -> Option<u64> {
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked right here
    (number.fract() == 0.0 && (0.0..BEYOND).contains(&number)).then_some(number as u64)
}

fn wrong_tag(node: &Node) -> Error {
    Error::WrongTag { place: node.place, text: source(node), tag: node.tag.name() }
}

/// The error for a node that should have been `expected`.
pub(crate) fn wrong(node: &Node, expected: &'static str) -> Error {
    let found = match &node.kind {
        Kind::Sequence(_) => "a list".to_owned(),
        Kind::Mapping(_) => "a mapping".to_owned(),
        Kind::Scalar { text, plain: false } => format!("the string `{}`", excerpt(text)),
        Kind::Scalar { .. } | Kind::Alias(_) => format!("`{}`", source(node)),
    };
    Error::WrongType { place: node.place, expected, found }
}

/// The source text of a scalar, as an error shows it.
pub(crate) fn source(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar { text, .. } => excerpt(text),
        _ => String::new(),
    }
}
