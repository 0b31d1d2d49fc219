//! Zstandard frames around maps, without a compressor.
