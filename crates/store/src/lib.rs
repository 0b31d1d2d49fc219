//! The blob store: what the bytes of an image are fetched from.
//!
//! A directory that is an OCI image layout, with three things more: facts about blobs, derivations, and
//! files that are being written. Knows no image format and does not plan; it has bytes, by digest. Nothing in
//! it is ever changed: files are written under a temporary name, made durable and renamed, so that `kill -9` or
//! a power cut at any moment leaves nothing half visible, and any number of processes may share a directory.
//!
//! ```text
//! oci-layout             the version of the layout
//! index.json             references: (repository, tag) → descriptor
//! blobs/sha256/<hex>     blobs, named by their digests
//! facts/sha256/<hex>     what was learnt of large blobs while they came in; may be deleted
//! derivations/<name>/    outputs of real work by what decided them; may be deleted
//! scratch/<room>/        what a room keeps between runs and can do without; may be deleted
//! tmp/                   files alive while somebody locks them: what has no name yet, and locks by name
//! ```
//!
//! Synchronous, but for [`Store::stream`].
//!
//! Source: OCI image specification 1.1, image layout.

mod derivations;
mod error;
mod facts;
mod files;
mod ingest;
mod list;
mod part;
mod place;
mod references;
mod scrub;
mod store;
mod stream;
mod temp;
mod verify;
mod write;

pub use error::Error;
pub use facts::Facts;
pub use part::FilePart;
pub use place::{VARIABLE, default_dir};
pub use references::{is_repository, is_tag};
pub use scrub::{DiskUsage, Scrub};
pub use store::{Descriptor, Store};
pub use stream::{Chunks, Part};

/// The version of OCI image layouts.
pub(crate) const LAYOUT_VERSION: &str = "1.0.0";
