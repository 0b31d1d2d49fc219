//! Squashfs 4.0 file systems.
