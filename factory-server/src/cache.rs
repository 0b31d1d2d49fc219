//! How long others may keep an answer.
//!
//! What a digest names never changes. What a tag or a catalogue decides may change when the store is seeded anew, so it
//! is asked for again, cheaply, by its entity tag.
//!
//! Source: RFC 9111 §5.2 (Cache-Control), RFC 5861 (stale answers), RFC 8246 (immutable).

/// Of what a digest in its address names.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Of what is decided by tags and catalogues. A cache that serves stale bytes serves whole ones: the entity tag keeps
/// the parts of one download together.
pub const CATALOGUE: &str = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400";
/// Of errors: the next request may find it mended.
pub const NEVER: &str = "no-store";
