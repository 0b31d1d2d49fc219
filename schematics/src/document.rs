//! The first document of a body, as a tree of nodes that know where they stand.
//!
//! The parser is granit-parser, at its event level: it knows YAML's syntax, we know what go-yaml makes of it (which a
//! finished value would no longer tell: `012`, `1.50`, null, quoted or not, merge keys, where an anchor ends).
//!
//!   body ──decode──▶ text ──granit──▶ events ──▶ nodes[…]   an arena; children and aliases are indices into it
//!
//! Nothing recurses here, so nothing overflows; the depth and the number of nodes are bounded as they are read.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};

use crate::error::{Error, Place};
use crate::{MAX_DEPTH, MAX_LEN, MAX_NODES};

/// An index into [`Document`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

/// The nodes of one document.
pub(crate) struct Document {
    nodes: Vec<Node>,
}

/// A node.
pub(crate) struct Node {
    pub place: Place,
    pub tag: Tag,
    pub kind: Kind,
}

/// What a node consists of.
pub(crate) enum Kind {
    Scalar { text: String, plain: bool },
    Sequence(Vec<NodeId>),
    Mapping(Vec<(NodeId, NodeId)>),
    Alias(NodeId),
}

/// The tags that mean something; all others leave a scalar a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Absent,
    Str,
    Int,
    Float,
    Bool,
    Null,
    Timestamp,
    Binary,
    Merge,
    Foreign,
}

impl Document {
    /// The node everything is below.
    pub(crate) const ROOT: NodeId = NodeId(0);

    /// Reads the first document of `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let options = granit_parser::options! {
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let mut nodes = Vec::new();
        let mut anchors: HashMap<usize, NodeId> = HashMap::new();
        // The collections that are open, each with the children it has so far.
        let mut open: Vec<(NodeId, Vec<NodeId>)> = Vec::new();
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| syntax(&error))?;
            let place = place(&span);
            let (tag, anchor, kind) = match event {
                Event::StreamEnd => return Err(Error::Empty),
                Event::DocumentEnd => return Ok(Self { nodes }),
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some((NodeId(id), children)) = open.pop() {
                        match &mut nodes[id] {
                            Node { kind: Kind::Sequence(items), .. } => *items = children,
                            Node { kind: Kind::Mapping(entries), .. } => {
                                *entries = children.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                            }
                            Node { kind: Kind::Scalar { .. } | Kind::Alias(_), .. } => {}
                        }
                    }
                    continue;
                }
                Event::Scalar(value, style, anchor, tag) => {
                    let mut value = value.into_owned();
                    if is_cut_off(text, &span, style) && value.ends_with('\n') {
                        value.pop();
                    } else if style == ScalarStyle::Plain && span.is_empty() {
                        // The parser says `~` for what is not there; behind `!!str` it is the empty string.
                        value.clear();
                    }
                    (tag, anchor, Kind::Scalar { text: value, plain: style == ScalarStyle::Plain })
                }
                Event::SequenceStart(style, anchor, tag) => {
                    refuse_tabs(text, &span, style)?;
                    (tag, anchor, Kind::Sequence(Vec::new()))
                }
                Event::MappingStart(style, anchor, tag) => {
                    refuse_tabs(text, &span, style)?;
                    (tag, anchor, Kind::Mapping(Vec::new()))
                }
                Event::Alias(anchor) => {
                    let unknown = || Error::Syntax { place, problem: "the alias names no anchor".to_owned() };
                    (None, 0, Kind::Alias(*anchors.get(&anchor).ok_or_else(unknown)?))
                }
                _ => continue,
            };
            if nodes.len() == MAX_NODES {
                return Err(Error::TooMany { place, max: MAX_NODES });
            }
            let id = NodeId(nodes.len());
            if let Some((_, siblings)) = open.last_mut() {
                siblings.push(id);
            }
            if matches!(kind, Kind::Sequence(_) | Kind::Mapping(_)) {
                if open.len() == MAX_DEPTH {
                    return Err(Error::TooDeep { place, max: MAX_DEPTH });
                }
                open.push((id, Vec::new()));
            }
            if anchor != 0 {
                anchors.insert(anchor, id);
            }
            nodes.push(Node { place, tag: tag.map_or(Tag::Absent, |tag| meaning(&tag)), kind });
        }
        Err(Error::Empty)
    }

    /// The node `id`.
    pub(crate) fn node(&self, NodeId(id): NodeId) -> &Node {
        &self.nodes[id]
    }
}

/// The text of a body: UTF-8, or UTF-16 that says so in a byte order mark.
pub(crate) fn text(body: &[u8]) -> Result<Cow<'_, str>, Error> {
    if body.len() > MAX_LEN {
        return Err(Error::TooLong { what: "the body", max: MAX_LEN });
    }
    let text: Cow<'_, str> = match body {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes)?.into(),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes)?.into(),
        _ => {
            let text = std::str::from_utf8(body);
            let text = text.map_err(|error| Error::Encoding { offset: error.valid_up_to() })?;
            text.strip_prefix('\u{FEFF}').unwrap_or(text).into()
        }
    };
    refuse_control_characters(&text)?;
    Ok(text)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Error> {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for character in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        text.push(character.map_err(|_| Error::Encoding { offset: 2 + 2 * text.encode_utf16().count() })?);
    }
    if rest.is_empty() { Ok(text) } else { Err(Error::Encoding { offset: 2 + 2 * units.len() }) }
}

/// The characters no YAML stream holds: C0 but tab, LF and CR, and the last two of the BMP. DEL and C1 may stand in
/// quotes for the sake of JSON, and the reference takes them anywhere.
fn refuse_control_characters(text: &str) -> Result<(), Error> {
    let forbidden =
        |c: char| matches!(c, '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F' | '\u{FFFE}' | '\u{FFFF}');
    let Some((offset, character)) = text.char_indices().find(|(_, character)| forbidden(*character)) else {
        return Ok(());
    };
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    Err(Error::ControlCharacter { place: Place { line, column }, code: character.into() })
}

/// Whether the last line of a literal or folded scalar is the last of the body and has no line break. The parser makes
/// up one; the reference does not, and shells that strip the last LF of a body make this common.
fn is_cut_off(text: &str, span: &Span, style: ScalarStyle) -> bool {
    matches!(style, ScalarStyle::Literal | ScalarStyle::Folded)
        && span.end.byte_offset() == Some(text.len())
        && !text.ends_with(['\n', '\r'])
        && span.indent.is_some_and(|indent| span.end.col() > indent)
}

/// Where nothing is indented yet, the parser takes a tab before the first entry for indentation.
fn refuse_tabs(text: &str, span: &Span, style: StructureStyle) -> Result<(), Error> {
    if style == StructureStyle::Flow {
        return Ok(());
    }
    let before = span.start.byte_offset().and_then(|offset| text.get(..offset)).unwrap_or_default();
    let (line, indentation) = before.split_at(before.trim_end_matches([' ', '\t']).len());
    if indentation.contains('\t') && (line.is_empty() || line.ends_with(['\n', '\r'])) {
        let problem = "a tab stands where spaces must indent".to_owned();
        return Err(Error::Syntax { place: place(span), problem });
    }
    Ok(())
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

fn syntax(error: &ScanError) -> Error {
    let place = Place { line: error.marker().line(), column: error.marker().col() + 1 };
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => Error::TooDeep { place, max: MAX_DEPTH },
        _ => Error::Syntax { place, problem: error.info() },
    }
}

fn meaning(tag: &granit_parser::Tag) -> Tag {
    match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
        Some("str") => Tag::Str,
        Some("int") => Tag::Int,
        Some("float") => Tag::Float,
        Some("bool") => Tag::Bool,
        Some("null") => Tag::Null,
        Some("timestamp") => Tag::Timestamp,
        Some("binary") => Tag::Binary,
        Some("merge") => Tag::Merge,
        _ => Tag::Foreign,
    }
}

impl Tag {
    /// The tag as it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Absent | Self::Foreign => "!",
            Self::Str => "!!str",
            Self::Int => "!!int",
            Self::Float => "!!float",
            Self::Bool => "!!bool",
            Self::Null => "!!null",
            Self::Timestamp => "!!timestamp",
            Self::Binary => "!!binary",
            Self::Merge => "!!merge",
        }
    }
}
