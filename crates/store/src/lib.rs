//! The blob store: what the bytes of an image are fetched from.
