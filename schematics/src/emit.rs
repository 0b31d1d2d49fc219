//! Canonical YAML: where everything stands.
//!
//!   key: value                          4 columns a level; a list stands 4 columns under its key
//!   key:
//!       - item                          what is in an item begins 2 columns behind the dash,
//!       - key: value                    so a mapping there is not on a multiple of 4,
//!         key:
//!           key: value                  and what is under it is again
//!       - - item
//!       - |-
//!         text                          a literal: where a nested collection would begin
//!   ? key of more than 128 bytes, or with a line break
//!   :   - item
//!
//! One LF at the end; lines are never folded; `{}` and `[]` when empty. How a string is written is `scalar`'s business.
//!
//! Source: go-yaml v4.0.0-rc.6, observed.

use crate::scalar::{QuoteStyle, Written, is_break, is_multiline, written};
use crate::text::Text;

/// What is to be written.
pub(crate) enum Item<'a> {
    /// A string.
    Text(&'a Text),
    /// Any other scalar, as it is written.
    Bare(String),
    /// A list.
    Sequence(Vec<Item<'a>>),
    /// A mapping in the order of its entries.
    Mapping(Vec<(Item<'a>, Item<'a>)>),
}

impl From<&'static str> for Item<'_> {
    fn from(name: &'static str) -> Self {
        Self::Bare(name.to_owned())
    }
}

/// The canonical YAML of `root`, or nothing when it is longer than `max` bytes.
pub(crate) fn document(root: &Item<'_>, quotes: QuoteStyle, max: usize) -> Option<String> {
    let mut writer = Writer { out: String::new(), column: 0, fresh: true, separate: true, quotes, max };
    writer.node(root, 0, Parent::Nothing)?;
    writer.indent(0);
    (writer.out.len() <= max).then_some(writer.out)
}

/// The longest key that stands before its colon; a longer one has a `?` of its own.
const MAX_SIMPLE_KEY_LEN: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    Nothing,
    Sequence,
    Mapping,
}

/// The column at which something begins under a parent at `column`.
pub(crate) fn below(column: usize, sequence: bool) -> usize {
    if sequence { column + 2 } else { (column + 4) / 4 * 4 }
}

struct Writer {
    out: String,
    column: usize,
    /// Nothing but indentation and indicators on this line.
    fresh: bool,
    /// The last character separates.
    separate: bool,
    quotes: QuoteStyle,
    max: usize,
}

impl Writer {
    /// Writes what stands under a parent at column `at`. `None`: the text has become too long.
    fn node(&mut self, item: &Item<'_>, at: usize, parent: Parent) -> Option<()> {
        if self.out.len() > self.max {
            return None;
        }
        let at = match parent {
            Parent::Nothing => 0,
            Parent::Sequence => below(at, true),
            Parent::Mapping => below(at, false),
        };
        match item {
            Item::Bare(text) => self.word(text),
            Item::Text(text) => match written(text, self.quotes) {
                Written::Inline(line) => self.scalar(&line, at),
                Written::Literal { binary, text } => self.literal(binary, &text, at)?,
            },
            Item::Sequence(items) if items.is_empty() => self.word("[]"),
            Item::Mapping(entries) if entries.is_empty() => self.word("{}"),
            Item::Sequence(items) => {
                for item in items {
                    self.indent(at);
                    self.indicator('-');
                    self.node(item, at, Parent::Sequence)?;
                }
            }
            Item::Mapping(entries) => {
                for (key, value) in entries {
                    self.indent(at);
                    if let Some(key) = simple_key(key, self.quotes) {
                        self.word(&key);
                        self.raw(":");
                    } else {
                        self.indicator('?');
                        self.node(key, at, Parent::Mapping)?;
                        self.indent(at);
                        self.indicator(':');
                    }
                    self.separate = false;
                    self.node(value, at, Parent::Mapping)?;
                }
            }
        }
        Some(())
    }

    /// Goes to column `at`, on a new line unless this one has nothing on it that would be in the way.
    fn indent(&mut self, at: usize) {
        if !self.fresh || self.column > at || self.column == at && !self.separate {
            self.line_feed();
        }
        while self.column < at {
            self.raw(" ");
        }
        self.separate = true;
    }

    /// `-`, `?` or `:` at the beginning of a line; more indentation may follow.
    fn indicator(&mut self, indicator: char) {
        self.raw(indicator.encode_utf8(&mut [0; 4]));
        self.separate = false;
    }

    fn word(&mut self, word: &str) {
        if !self.separate {
            self.raw(" ");
        }
        self.raw(word);
        self.fresh = false;
        self.separate = false;
    }

    /// A scalar on one line in the eyes of YAML 1.2. Where YAML 1.1 sees a line break in single quotes, the reference
    /// goes on at column `at`.
    fn scalar(&mut self, line: &str, at: usize) {
        if !line.contains(is_break) {
            return self.word(line);
        }
        if !self.separate {
            self.raw(" ");
        }
        let mut after_break = false;
        for (offset, character) in line.char_indices() {
            if is_break(character) {
                self.push_break(character);
            } else {
                // The closing quote stays where it is.
                if after_break && offset + 1 < line.len() {
                    self.indent(at);
                }
                self.raw(character.encode_utf8(&mut [0; 4]));
                self.fresh = false;
            }
            after_break = is_break(character);
        }
        self.fresh = false;
        self.separate = false;
    }

    /// `|`, hints, and the text at column `at`.
    ///
    /// The indentation hint is the reference's, always 4 and often wrong; `mend` knows.
    fn literal(&mut self, binary: bool, text: &str, at: usize) -> Option<()> {
        if binary {
            self.word("!!binary");
        }
        self.word("|");
        if text.starts_with(' ') {
            self.raw("4");
        }
        let mut ending = text.chars().rev();
        match (ending.next().is_some_and(is_break), ending.next().is_none_or(is_break)) {
            (false, _) => self.raw("-"),
            (true, true) => self.raw("+"),
            (true, false) => {}
        }
        self.line_feed();
        self.separate = true;
        let mut at_break = true;
        for character in text.chars() {
            if is_break(character) {
                self.push_break(character);
            } else {
                if at_break {
                    // Deep down, indentation is what makes a text long.
                    if self.out.len() > self.max {
                        return None;
                    }
                    self.indent(at);
                }
                self.raw(character.encode_utf8(&mut [0; 4]));
                self.fresh = false;
            }
            at_break = is_break(character);
        }
        Some(())
    }

    fn push_break(&mut self, character: char) {
        if character == '\n' {
            return self.line_feed();
        }
        self.out.push(character);
        self.column = 0;
        self.fresh = true;
    }

    fn line_feed(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.fresh = true;
    }

    fn raw(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }
}

/// The key on one line, when it may stand there.
fn simple_key(key: &Item<'_>, quotes: QuoteStyle) -> Option<String> {
    match key {
        Item::Bare(text) => Some(text.clone()),
        Item::Text(text) => {
            // A tag counts, quotes and escapes do not.
            let (len, multiline) = match text.as_str() {
                Ok(plain) => (plain.len(), is_multiline(plain)),
                Err(_) => ("!!binary".len() + text.as_bytes().len().div_ceil(3) * 4, false),
            };
            match written(text, quotes) {
                Written::Inline(line) if len <= MAX_SIMPLE_KEY_LEN && !multiline => Some(line),
                Written::Inline(_) | Written::Literal { .. } => None,
            }
        }
        Item::Sequence(_) | Item::Mapping(_) => None,
    }
}
