//! Compressors: one block in, one smaller block out.
//!
//! A compressor belongs to one thread and keeps its memory from block to block; what it puts out depends on the
//! block alone.
//!
//! Source: Linux `fs/squashfs/{zstd,xz}_wrapper.c`; squashfs-tools 4.5.1 for the options and the xz check.

use std::io;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

use super::{Error, Options};

/// A compressor and its effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Zstandard.
    Zstd {
        /// From 1 to 22.
        level: i32,
    },
    /// The xz container around LZMA2, with a dictionary as long as a block.
    Xz {
        /// From 0 to 9; 6 is what squashfs-tools uses.
        preset: u32,
    },
}

const ZSTD_LEVEL_MAX: i32 = 22;
const XZ_PRESET_MAX: u32 = 9;
/// From this level on a block is tried at level 1 first: what that cannot shrink, the higher levels do not either,
/// and they search long. Of 356 blocks of `.ko.xz` modules, a third of the time at level 18, the sum shrank by
/// 0.03 %; of plain files level 1 shrank every block, in 1.5 % of the time. Below, trying costs more than it saves.
const ZSTD_LEVEL_TRIED: i32 = 16;
/// The level that squashfs-tools means when a zstd file system has no options.
const ZSTD_LEVEL_DEFAULT: i32 = 15;
/// Set in the header of a metadata block that is not compressed.
const STORED: u16 = 0x8000;

impl Compression {
    pub(super) fn check(self) -> Result<(), Error> {
        let (level, min, max) = match self {
            Self::Zstd { level } => (i64::from(level), 1, i64::from(ZSTD_LEVEL_MAX)),
            Self::Xz { preset } => (i64::from(preset), 0, i64::from(XZ_PRESET_MAX)),
        };
        if (min..=max).contains(&level) { Ok(()) } else { Err(Error::Level { level, min, max }) }
    }

    /// The number of the compressor in the superblock.
    pub(super) const fn id(self) -> u16 {
        match self {
            Self::Xz { .. } => 4,
            Self::Zstd { .. } => 6,
        }
    }

    /// The metadata block of options behind the superblock: empty where the options are the compressor's
    /// defaults, as for an xz dictionary as long as a block. Never compressed: readers need it to set up.
    pub(super) fn option_block(self) -> Vec<u8> {
        match self {
            Self::Zstd { level } if level != ZSTD_LEVEL_DEFAULT => {
                let mut block = (STORED | 4).to_le_bytes().to_vec();
                block.extend_from_slice(&level.to_le_bytes());
                block
            }
            Self::Zstd { .. } | Self::Xz { .. } => Vec::new(),
        }
    }
}

/// How a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Compressed,
    /// As it is: compressing did not make it smaller.
    Raw,
}

/// A compressor at work.
pub(super) enum Compressor {
    Zstd {
        zstd: zstd::bulk::Compressor<'static>,
        /// At level 1, for a level that is worth a try first.
        first: Option<zstd::bulk::Compressor<'static>>,
    },
    Xz(Filters),
    /// Leaves blocks as they are.
    Stored,
}

impl Compressor {
    /// The compressor of `options` for blocks of at most `block_len` bytes.
    pub(super) fn of(options: &Options, block_len: u32) -> Result<Self, Error> {
        if options.stored { Ok(Self::Stored) } else { Self::new(options.compression, block_len) }
    }

    fn new(compression: Compression, block_len: u32) -> Result<Self, Error> {
        match compression {
            Compression::Zstd { level } => {
                let at = |level| zstd::bulk::Compressor::new(level).map_err(Error::Compress);
                let first = (level >= ZSTD_LEVEL_TRIED).then(|| at(1)).transpose()?;
                Ok(Self::Zstd { zstd: at(level)?, first })
            }
            Compression::Xz { preset } => {
                let mut options = LzmaOptions::new_preset(preset).map_err(xz_error)?;
                options.dict_size(block_len);
                let mut filters = Filters::new();
                filters.lzma2(&options);
                Ok(Self::Xz(filters))
            }
        }
    }

    /// Puts the stored form of `block` into `out`, in place of what is there.
    pub(super) fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<Form, Error> {
        out.clear();
        let complete = match self {
            Self::Zstd { zstd, first } => {
                out.reserve(zstd::zstd_safe::compress_bound(block.len()));
                let shrinks = match first {
                    Some(first) => {
                        first.compress_to_buffer(block, out).map_err(Error::Compress)? < block.len()
                    }
                    None => true,
                };
                if shrinks {
                    zstd.compress_to_buffer(block, out).map_err(Error::Compress)?;
                }
                shrinks
            }
            Self::Xz(filters) => {
                // Linux decodes CRC32 and no other check. No room for more than the block: a longer stream is
                // of no use.
                let mut stream = Stream::new_stream_encoder(filters, Check::Crc32).map_err(xz_error)?;
                out.reserve(block.len());
                stream.process_vec(block, out, Action::Finish).map_err(xz_error)? == Status::StreamEnd
            }
            Self::Stored => false,
        };
        if complete && out.len() < block.len() {
            return Ok(Form::Compressed);
        }
        out.clear();
        out.extend_from_slice(block);
        Ok(Form::Raw)
    }
}

fn xz_error(error: liblzma::stream::Error) -> Error {
    Error::Compress(io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_written_unless_they_are_the_defaults() {
        assert_eq!(Compression::Zstd { level: 18 }.option_block(), [4, 0x80, 18, 0, 0, 0]);
        assert!(Compression::Zstd { level: 15 }.option_block().is_empty());
        assert!(Compression::Xz { preset: 9 }.option_block().is_empty());
    }

    #[test]
    fn levels_outside_the_range_are_refused() {
        for (compression, known) in [
            (Compression::Zstd { level: 0 }, false),
            (Compression::Zstd { level: 1 }, true),
            (Compression::Zstd { level: 22 }, true),
            (Compression::Zstd { level: 23 }, false),
            (Compression::Zstd { level: -1 }, false),
            (Compression::Xz { preset: 0 }, true),
            (Compression::Xz { preset: 9 }, true),
            (Compression::Xz { preset: 10 }, false),
            (Compression::Xz { preset: u32::MAX }, false),
        ] {
            assert_eq!(compression.check().is_ok(), known, "{compression:?}");
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let zstd = [1, 3, 9, 15, 16, 22].map(|level| Compression::Zstd { level });
        for compression in zstd.into_iter().chain([Compression::Xz { preset: 0 }]) {
            let mut compressor = Compressor::new(compression, 4096).unwrap();
            let mut out = vec![9];
            let dense: Vec<u8> = extent::Digest::of(b"dense").as_bytes().to_vec();
            assert_eq!(compressor.compress(&dense, &mut out).unwrap(), Form::Raw, "{compression:?}");
            assert_eq!(out, dense);
            assert_eq!(compressor.compress(&[7; 4096], &mut out).unwrap(), Form::Compressed);
            assert!(out.len() < 100, "{compression:?}: {}", out.len());
        }
    }
}
