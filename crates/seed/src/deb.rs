//! Debian packages: `.deb` files read as trees.
//!
//! Unpacks the data member of a package and gives its files as ranges of it. Needs neither dpkg nor root, runs
//! no maintainer script and reads no control member: what the archive's signed lists say is what counts.
//!
//! ```text
//! │ "!<arch>\n" │ debian-binary "2.0\n" │ control.tar.* │ data.tar[.gz|.xz|.zst] │     (ar members)
//!                                                        └── decompressed: the scratch blob of the tree
//! ```
//!
//! Source: deb(5), dpkg 1.21.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use extent::{Source, Tree};

use crate::scratch::Scratch;

/// Why a package file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// It is no archive, or one that is cut off.
    #[error("it is no whole archive")]
    Archive(#[source] io::Error),
    /// Its first member does not say that it is a package of a known format.
    #[error("it is no package of format 2")]
    Format,
    /// It has no data member.
    #[error("it has no `data.tar` member")]
    NoData,
    /// Its data member is compressed in a way that no package of these suites uses.
    #[error("its member `{member}` is compressed in an unknown way")]
    Compression {
        /// The member's name.
        member: String,
    },
    /// Its data member is corrupt or cut off.
    #[error("its member `{member}` is corrupt")]
    Corrupt {
        /// The member's name.
        member: String,
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
    /// Its data member is far larger than any package.
    #[error("its member `{member}` has more than {max} bytes")]
    TooLarge {
        /// The member's name.
        member: String,
        /// The limit.
        max: u64,
    },
    /// What the data member holds is no archive of files, or one that reaches outside.
    #[error("its files cannot be read")]
    Files(#[source] formats::tar::Error),
    /// The scratch space cannot be written.
    #[error("unpacking it to the scratch space")]
    Scratch(#[source] io::Error),
}

/// Decompressed length that no package of a base system comes near: the largest, a kernel, has 0.45 GB. Keeps a
/// package that was made to fill the disk from doing so.
const DATA_LEN_MAX: u64 = 4 << 30;
/// Memory for a decoder: the presets of xz need up to 65 MiB, the windows of `zstd --ultra` 128 MiB.
const DECODER_MEMORY_MAX: u64 = 256 << 20;
/// Binary logarithm of the largest zstd window that is accepted.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Source: deb(5).
const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
/// Name 16, time 12, owner 6, group 6, mode 8, length 10, all in text, and two bytes of magic.
const AR_HEADER_LEN: usize = 60;
/// The only first member of a package is a few bytes long.
const VERSION_LEN_MAX: u64 = 64;

/// Unpacks the package file at `path` into `scratch`.
pub(crate) fn unpack(path: &Path, scratch: &Scratch) -> Result<Tree, DebError> {
    let file = std::fs::File::open(path).map_err(DebError::Archive)?;
    unpack_from(BufReader::with_capacity(1 << 18, file), scratch, DATA_LEN_MAX)
}

pub(crate) fn unpack_from(mut input: impl Read, scratch: &Scratch, max: u64) -> Result<Tree, DebError> {
    let mut magic = [0; AR_MAGIC.len()];
    input.read_exact(&mut magic).map_err(DebError::Archive)?;
    if magic != *AR_MAGIC {
        return Err(DebError::Format);
    }
    let mut is_first = true;
    while let Some((name, len)) = member(&mut input)? {
        // An archive that is cut off inside a member would read as one that ends there.
        let mut content = Whole { left: len, input: input.by_ref().take(len) };
        if std::mem::take(&mut is_first) {
            check_format(&name, &mut content)?;
        } else if let Some(suffix) = name.strip_prefix("data.tar") {
            return data(content, &name, suffix, scratch, max);
        }
        io::copy(&mut content, &mut io::sink()).map_err(DebError::Archive)?;
        io::copy(&mut input.by_ref().take(len % 2), &mut io::sink()).map_err(DebError::Archive)?;
    }
    Err(if is_first { DebError::Format } else { DebError::NoData })
}

/// The next member's name and length; none at the end.
///
/// Of the forms that archives have, packages use the oldest only: no long names, no symbol table.
fn member(input: &mut impl Read) -> Result<Option<(String, u64)>, DebError> {
    let mut header = Vec::with_capacity(AR_HEADER_LEN);
    input.take(AR_HEADER_LEN as u64).read_to_end(&mut header).map_err(DebError::Archive)?;
    if header.is_empty() {
        return Ok(None);
    }
    if header.len() < AR_HEADER_LEN {
        return Err(DebError::Archive(io::ErrorKind::UnexpectedEof.into()));
    }
    let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_end().to_owned();
    match text(48..58).parse() {
        Ok(len) if header[58..] == *b"`\n" => Ok(Some((text(0..16).trim_end_matches('/').to_owned(), len))),
        _ => Err(DebError::Archive(io::ErrorKind::InvalidData.into())),
    }
}

fn check_format(name: &str, member: impl Read) -> Result<(), DebError> {
    let mut version = Vec::new();
    member.take(VERSION_LEN_MAX).read_to_end(&mut version).map_err(DebError::Archive)?;
    if name == "debian-binary" && version.starts_with(b"2.") { Ok(()) } else { Err(DebError::Format) }
}

fn data(member: impl Read, name: &str, suffix: &str, scratch: &Scratch, max: u64) -> Result<Tree, DebError> {
    let corrupt = |source| DebError::Corrupt { member: name.to_owned(), source };
    let mut decoder: Box<dyn Read + '_> = match suffix {
        "" => Box::new(member),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
        ".xz" => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(DECODER_MEMORY_MAX, flags);
            let stream = stream.map_err(|error| corrupt(error.into()))?;
            Box::new(liblzma::read::XzDecoder::new_stream(member, stream))
        }
        ".zst" => {
            let mut decoder = zstd::stream::read::Decoder::new(member).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            Box::new(decoder)
        }
        _ => return Err(DebError::Compression { member: name.chars().take(80).collect() }),
    };

    let mut writer = scratch.begin(max).map_err(DebError::Scratch)?;
    let mut buf = vec![0; 1 << 18];
    loop {
        match decoder.read(&mut buf) {
            Ok(0) => break,
            Ok(n) => writer.write_all(&buf[..n]).map_err(|source| match source.kind() {
                io::ErrorKind::FileTooLarge => DebError::TooLarge { member: name.to_owned(), max },
                _ => DebError::Scratch(source),
            })?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(corrupt(error)),
        }
    }
    let blob = scratch.finish(writer);
    let Some(extent) = blob.extents().first() else {
        return Err(corrupt(io::ErrorKind::UnexpectedEof.into()));
    };
    let Source::Blob { digest, .. } = extent.source else { unreachable!("a scratch blob is a blob") };
    let tar = crate::scratch::reader(&blob, scratch);
    formats::tar::read(BufReader::with_capacity(1 << 18, tar), digest).map_err(DebError::Files)
}

/// A reader that calls an early end an error.
struct Whole<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        if n == 0 && self.left > 0 && !buf.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use extent::read_all;
    use proptest::prelude::*;

    use super::*;

    /// A scratch, and the directory that it is in.
    fn scratch() -> (tempfile::TempDir, Scratch) {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        (dir, scratch)
    }

    /// An archive of the members `(name, content)`.
    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = AR_MAGIC.to_vec();
        for (name, content) in members {
            let len = content.len();
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{len:<10}`\n", 0, 0, 0, 100_644).bytes());
            bytes.extend(*content);
            bytes.extend(vec![b'\n'; len % 2]);
        }
        bytes
    }

    /// A package with the data member `suffix`, and `control.tar` before it.
    fn deb(suffix: &str, data: &[u8]) -> Vec<u8> {
        ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (&format!("data.tar{suffix}"), data)])
    }

    /// A tar archive of the regular files `(path, content)`, whose paths may be anything.
    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// A whole package of the regular files `(path, content)`.
    pub(crate) fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
        deb(".xz", &compress(".xz", &tar(files)))
    }

    fn compress(suffix: &str, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match suffix {
            "" => out.extend(bytes),
            ".gz" => {
                let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap();
            }
            ".xz" => {
                let mut encoder = liblzma::write::XzEncoder::new(&mut out, 1);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap();
            }
            ".zst" => out = zstd::encode_all(bytes, 3).unwrap(),
            _ => unreachable!(),
        }
        out
    }

    const SUFFIXES: [&str; 4] = ["", ".gz", ".xz", ".zst"];

    #[test]
    fn every_compression_gives_the_same_tree() {
        let (_dir, scratch) = scratch();
        let tar = tar(&[("./usr/bin/a", b"alpha"), ("./etc/b", b"beta")]);
        let mut trees = Vec::new();
        for suffix in SUFFIXES {
            let deb = deb(suffix, &compress(suffix, &tar));
            let tree = unpack_from(&*deb, &scratch, DATA_LEN_MAX).unwrap();
            assert_eq!(read_all(tree.content("usr/bin/a").unwrap(), &scratch, 100).unwrap(), b"alpha");
            assert_eq!(read_all(tree.content("etc/b").unwrap(), &scratch, 100).unwrap(), b"beta");
            trees.push(tree);
        }
        assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_package_that_is_cut_off_anywhere_is_refused() {
        let (_dir, scratch) = scratch();
        let tar = tar(&[("./a", &[7; 3000]), ("./b", &[8; 100])]);
        for suffix in SUFFIXES {
            let whole = deb(suffix, &compress(suffix, &tar));
            for len in (0..whole.len() - 1).step_by(13) {
                let result = unpack_from(&whole[..len], &scratch, DATA_LEN_MAX);
                assert!(result.is_err(), "{len} bytes of a package with `data.tar{suffix}`");
            }
        }
    }

    #[test]
    fn a_corrupt_data_member_is_refused() {
        let (_dir, scratch) = scratch();
        let tar = tar(&[("./a", &[7; 3000])]);
        for suffix in [".gz", ".xz"] {
            let mut data = compress(suffix, &tar);
            let middle = data.len() / 2;
            data[middle] ^= 0x40;
            let result = unpack_from(&*deb(suffix, &data), &scratch, DATA_LEN_MAX);
            assert!(matches!(result, Err(DebError::Corrupt { .. })), "{suffix}: {result:?}");
        }
        let result = unpack_from(&*deb(".xz", b"not xz at all"), &scratch, DATA_LEN_MAX);
        assert!(matches!(result, Err(DebError::Corrupt { .. })), "{result:?}");
    }

    #[test]
    fn a_package_that_fills_the_disk_is_stopped() {
        let (_dir, scratch) = scratch();
        let tar = tar(&[("./a", &vec![0; 8 << 20])]);
        for suffix in SUFFIXES {
            let deb = deb(suffix, &compress(suffix, &tar));
            let result = unpack_from(&*deb, &scratch, 1 << 20);
            assert!(matches!(result, Err(DebError::TooLarge { max: 1_048_576, .. })), "{suffix}: {result:?}");
        }
    }

    #[test]
    fn files_that_would_lie_outside_are_refused() {
        let (_dir, scratch) = scratch();
        for path in ["../a", "./usr/../../a", "./a/./b"] {
            let deb = deb("", &tar(&[(path, b"x")]));
            assert!(matches!(unpack_from(&*deb, &scratch, DATA_LEN_MAX), Err(DebError::Files(_))), "{path}");
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let (_dir, scratch) = scratch();
        let check = |bytes: &[u8]| unpack_from(bytes, &scratch, DATA_LEN_MAX);
        assert!(matches!(check(b""), Err(DebError::Archive(_))));
        assert!(matches!(check(b"<html><body>not found</body></html>"), Err(DebError::Format)));
        assert!(matches!(check(&ar(&[])), Err(DebError::Format)));
        assert!(matches!(check(&ar(&[("debian-binary", b"3.0\n")])), Err(DebError::Format)));
        assert!(matches!(check(&ar(&[("control.tar", b"2.0\n")])), Err(DebError::Format)));
        assert!(matches!(check(&ar(&[("debian-binary", b"2.0\n")])), Err(DebError::NoData)));
        assert!(matches!(check(&deb(".bz2", b"BZh9")), Err(DebError::Compression { .. })));
        assert!(matches!(check(&deb("", b"")), Err(DebError::Corrupt { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..400usize, flip in 1..=255u8) {
            let (_dir, scratch) = scratch();
            let _ = unpack_from(&*bytes, &scratch, 1 << 20);
            let mut package = deb(".zst", &compress(".zst", &tar(&[("./a", b"x")])));
            let at = at % package.len();
            package[at] ^= flip;
            let _ = unpack_from(&*package, &scratch, 1 << 20);
        }
    }
}
