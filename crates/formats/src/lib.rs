//! Formats: pure functions from a tree or a map to a map of extents.
//!
//! No I/O, no clock, no randomness, no environment: time is a parameter, and the same input gives the same
//! description on any machine. What a format must look into arrives as `&[u8]`; what it merely carries
//! arrives as an [`extent::ExtentMap`]. Only [`squashfs`], which compresses, is handed the bytes of others.

pub mod cpio;
pub mod fat;
pub mod gpt;
pub mod linux;
pub mod pe;
pub mod squashfs;
pub mod tar;
pub mod zstd;
