//! What is asked for: the schematic, its canonical YAML and its id.
//!
//! Reads YAML or JSON strictly and writes the one canonical form whose SHA-256 names the schematic. Both follow the
//! reference to the byte, because ids are computed by other programs too and outlive servers. Checks nothing that
//! depends on a version or a catalogue: that is for whoever makes the image.
//!
//!   body ──document──▶ nodes ──decode──▶ Schematic ──emit──▶ canonical YAML ──SHA-256──▶ SchematicId
//!            │            └── resolve: what `012`, `yes`, `1e3` are ──┐ │
//!            └── granit-parser                        scalar: quotes ─┘ └ mend: reading it back
//!
//! Where the reference is wrong we are right:
//!
//! * `bootloader: auto` is accepted and leaves no trace; JSON's `\/` and surrogate pairs are accepted.
//! * An unquoted date in a string field, or as the name of an option, is its text.
//! * A canonical form it cannot read back is read as what it was written for; keys whose canonical forms are the same
//!   (`0x10` and `"16"`) are refused.
//! * A null key in the schematic's own fields, a missing key, and `<<` where a mapping or a number belongs are refused,
//!   not ignored.
//! * Keys with more than 18 digits in a row are ordered by their numbers; an option's key `.nan` keeps its value.
//!
//! The parser knows YAML 1.2: U+0085, U+2028 and U+2029 in a body break no lines, text in quotes must be indented, and
//! a tab after `- ` is space. The reference's is older in all three.
//!
//! Source: `factory-behaviour` §1; go-yaml v4.0.0-rc.6 run on the same input.

mod bootloader;
mod decode;
mod document;
mod emit;
mod error;
mod id;
mod mend;
mod order;
mod resolve;
mod scalar;
mod schematic;
mod text;
mod timestamp;
mod typed;
mod value;

pub use bootloader::Bootloader;
pub use error::{Error, Place};
pub use id::SchematicId;
pub use scalar::QuoteStyle;
pub use schematic::{Customization, DiskImage, Meta, Overlay, Schematic, SecureBoot, SystemExtensions};
pub use text::Text;
pub use value::{Float, Integer, Scalar, Timestamp, Value};

/// The longest body, and the longest canonical form: what is accepted can be read back. An embedded machine
/// configuration of some hundred kilobytes is the largest thing anyone has asked for.
pub const MAX_LEN: usize = 1 << 20;

/// The deepest nesting of lists and mappings, aliases expanded. The schematic's own fields need five levels; reading
/// and writing recurse, and every level of indentation makes the canonical form longer.
pub const MAX_DEPTH: usize = 128;

/// The most values in a document, which bounds the memory for a body of `[,,,,,`.
pub const MAX_NODES: usize = 1 << 16;

/// The most that aliases may add: a byte for each byte of text and one for each value, counted as often as they are
/// looked at. A "billion laughs" body of 1 KiB would expand to gigabytes.
pub const MAX_ALIASED_LEN: usize = 1 << 18;
