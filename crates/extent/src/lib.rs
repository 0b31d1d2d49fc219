//! Extents: byte strings described by where their bytes are.
//!
//! Three types that every room shares. A [`Digest`] names bytes, an [`ExtentMap`] describes them and a
//! [`Tree`] gives them paths. Knows no format and does no I/O; the one trait, [`Blobs`], says how bytes
//! are looked up by those who have them.
//!
//!   Tree ──fat32──▶ ExtentMap ──gpt──▶ ExtentMap ──zstd──▶ ExtentMap ──HTTP Range──▶ ExtentMap

mod blobs;
mod digest;
mod map;
mod tree;

pub use blobs::{Blobs, read_all, read_at};
pub use digest::{Digest, DigestError, MapId};
pub use map::{Extent, ExtentMap, Source};
pub use tree::{Kind, Node, Tree, TreeError, TreePath};
