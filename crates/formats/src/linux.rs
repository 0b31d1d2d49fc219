//! Linux kernel images: which release they are.
//!
//! Reads x86 bzImage, arm64 Image, EFI zboot and a gzipped Image. Does not boot, change or verify them.
//!
//!   bzImage      0x1f1: setup sectors   0x202: HdrS   0x20e: version, relative to 0x200, ended by NUL
//!   Image        0x38: ARM\x64          somewhere: the banner, `Linux version <release> (…`
//!   EFI zboot    4: zimg   8: payload offset   12: payload length   24: compression   → an Image
//!
//! Source: Linux, `Documentation/arch/x86/boot.rst`, `Documentation/arch/arm64/booting.rst`,
//! `drivers/firmware/efi/libstub/zboot-header.S`.

use std::io::{self, BufRead, Read};

use liblzma::stream::Stream;

/// The longest release: `__NEW_UTS_LEN`, what `uname` returns.
const RELEASE_LEN_MAX: usize = 64;
/// How far a compressed kernel is unpacked in search of its banner: several times the largest in Debian
/// (38 MB), few enough that a bomb does no harm.
const UNPACKED_LEN_MAX: u64 = 256 << 20;
/// What an xz decoder may allocate: kernels are compressed with dictionaries of up to 128 MiB.
const XZ_MEMORY_MAX: u64 = 160 << 20;
/// What precedes the release in `linux_banner`.
const BANNER: &[u8] = b"Linux version ";
/// What is unpacked at a time.
const CHUNK_LEN: usize = 256 << 10;

/// Why the release of a kernel cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes begin as no kernel image does.
    #[error("neither an x86 bzImage nor an arm64 Image, EFI zboot or gzipped Image")]
    Format,
    /// The image ends before what its header points to.
    #[error("the kernel has {len} bytes and ends within its {part}")]
    Truncated {
        /// What is cut off.
        part: &'static str,
        /// The length of the image.
        len: usize,
    },
    /// The version lies behind the setup code.
    #[error("the kernel version is at `{offset:#x}`, behind {sectors} sectors of setup code")]
    VersionOffset {
        /// Where it is, relative to 0x200.
        offset: u16,
        /// The length of the setup code in sectors of 512 bytes.
        sectors: u8,
    },
    /// What stands in place of a release is none.
    #[error("`{text}` is not a kernel release")]
    Release {
        /// What stands there, at most 64 bytes of it, escaped.
        text: String,
    },
    /// An EFI zboot image is compressed in a way that is not read here.
    #[error("the kernel is compressed with `{name}`; gzip, zstd, xz and lzma are read")]
    Compression {
        /// The compression, as the header names it, escaped.
        name: String,
    },
    /// The payload does not unpack.
    #[error("unpacking the kernel")]
    Unpack(#[source] io::Error),
    /// The payload unpacks to more than any kernel.
    #[error("the kernel unpacks to more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: u64,
    },
}

/// The release of `kernel`, as `uname -r` prints it on the machine that boots it; none where it says none.
///
/// # Errors
/// All of [`Error`].
pub fn release(kernel: &[u8]) -> Result<Option<String>, Error> {
    if kernel.get(0x202..0x206) == Some(b"HdrS") {
        setup_release(kernel)
    } else if kernel.starts_with(b"MZ") && kernel.get(4..8) == Some(b"zimg") {
        zboot_release(kernel)
    } else if kernel.get(0x38..0x3c) == Some(b"ARM\x64") {
        banner_release(kernel)
    } else if kernel.starts_with(b"\x1f\x8b") {
        banner_release(flate2::bufread::GzDecoder::new(kernel))
    } else {
        Err(Error::Format)
    }
}

/// From the setup header of a bzImage.
fn setup_release(kernel: &[u8]) -> Result<Option<String>, Error> {
    let truncated = || Error::Truncated { part: "setup code", len: kernel.len() };
    let offset = kernel.get(0x20e..0x210).ok_or_else(truncated)?;
    let offset = u16::from_le_bytes([offset[0], offset[1]]);
    if offset == 0 {
        return Ok(None);
    }
    let sectors = match kernel[0x1f1] {
        0 => 4, // as kernels older than the field have
        sectors => sectors,
    };
    if usize::from(offset) > usize::from(sectors) * 0x200 {
        return Err(Error::VersionOffset { offset, sectors });
    }
    let text = kernel.get(usize::from(offset) + 0x200..).ok_or_else(truncated)?;
    let text = &text[..text.len().min(RELEASE_LEN_MAX + 1)];
    let end = text.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(text.len());
    match as_release(&text[..end]) {
        Some(release) => Ok(Some(release)),
        None => Err(Error::Release { text: text[..end.min(RELEASE_LEN_MAX)].escape_ascii().to_string() }),
    }
}

/// From the payload of an EFI zboot image.
fn zboot_release(kernel: &[u8]) -> Result<Option<String>, Error> {
    let truncated = |part| Error::Truncated { part, len: kernel.len() };
    let header = kernel.get(..56).ok_or(truncated("zboot header"))?;
    let word = |offset: usize| {
        let word = header[offset..][..4].try_into().expect("four bytes");
        usize::try_from(u32::from_le_bytes(word)).unwrap_or(usize::MAX)
    };
    let payload = kernel.get(word(8)..).and_then(|rest| rest.get(..word(12)));
    let payload = payload.ok_or(truncated("payload"))?;
    let name = &header[24..];
    let name = &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())];
    let xz = |stream: Result<Stream, liblzma::stream::Error>| {
        stream
            .map(|stream| liblzma::bufread::XzDecoder::new_stream(payload, stream))
            .map_err(|error| Error::Unpack(error.into()))
    };
    match name {
        b"gzip" => banner_release(flate2::bufread::GzDecoder::new(payload)),
        b"zstd" => banner_release(zstd::Decoder::with_buffer(payload).map_err(Error::Unpack)?),
        b"xzkern" => banner_release(xz(Stream::new_stream_decoder(XZ_MEMORY_MAX, 0))?),
        b"lzma" => banner_release(xz(Stream::new_lzma_decoder(XZ_MEMORY_MAX))?),
        _ => Err(Error::Compression { name: name.escape_ascii().to_string() }),
    }
}

/// From the banner, wherever in `image` it is. Unpacks no further, and keeps little more than a chunk.
fn banner_release(image: impl Read) -> Result<Option<String>, Error> {
    // One byte more than allowed tells a kernel of that length from one beyond.
    let mut image = io::BufReader::with_capacity(CHUNK_LEN, image.take(UNPACKED_LEN_MAX + 1));
    let longest = BANNER.len() + RELEASE_LEN_MAX + b" (".len();
    let mut window = Vec::with_capacity(CHUNK_LEN + longest);
    let mut unpacked = 0;
    loop {
        let chunk = image.fill_buf().map_err(Error::Unpack)?;
        let len = chunk.len();
        window.extend_from_slice(chunk);
        image.consume(len);
        unpacked += len as u64;
        if let Some(release) = find_banner(&window) {
            return Ok(Some(release));
        }
        if len == 0 {
            return Ok(None);
        }
        if unpacked > UNPACKED_LEN_MAX {
            return Err(Error::TooLarge { max: UNPACKED_LEN_MAX });
        }
        // A banner that the chunk cuts off is found whole in the next window.
        window.drain(..window.len().saturating_sub(longest));
    }
}

/// The release of the first whole banner in `window`.
fn find_banner(window: &[u8]) -> Option<String> {
    let mut rest = window;
    loop {
        let at = rest.iter().position(|&byte| byte == BANNER[0])?;
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix(BANNER) {
            let end = after.iter().take(RELEASE_LEN_MAX + 1).position(|&byte| byte == b' ');
            // Messages mention Linux versions too: the banner goes on with who built it.
            if let Some(end) = end
                && after[end..].starts_with(b" (")
                && let Some(release) = as_release(&after[..end])
            {
                return Some(release);
            }
        }
        rest = &rest[1..];
    }
}

/// `text`, if it can be a release: it becomes part of paths and of the `.uname` section.
fn as_release(text: &[u8]) -> Option<String> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b".+_~-".contains(byte);
    let valid =
        (1..=RELEASE_LEN_MAX).contains(&text.len()) && text[0].is_ascii_digit() && text.iter().all(allowed);
    valid.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    const RELEASE: &str = "6.12.107+deb13-arm64";

    fn bz_image(sectors: u8, offset: u16, text: &[u8]) -> Vec<u8> {
        let mut kernel = vec![0; 0x1400];
        kernel[0x1f1] = sectors;
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&offset.to_le_bytes());
        let at = usize::from(offset) + 0x200;
        if let Some(place) = kernel.get_mut(at..at + text.len()) {
            place.copy_from_slice(text);
        }
        kernel
    }

    /// An Image whose banner begins at `at`, behind a message that looks like one.
    fn image(at: usize) -> Vec<u8> {
        let mut kernel = b"MZ@\xfa".to_vec();
        kernel.resize(0x38, 0);
        kernel.extend_from_slice(b"ARM\x64");
        kernel.extend_from_slice(b"Linux version 2.6 or later is needed\0Linux version %s (x\0");
        kernel.resize(at, 0x90);
        kernel.extend_from_slice(format!("Linux version {RELEASE} (debian-kernel@lists)\n\0").as_bytes());
        kernel.resize(kernel.len() + 1000, 0);
        kernel
    }

    fn zboot(name: &str, payload: &[u8]) -> Vec<u8> {
        let mut kernel = b"MZ\0\0zimg".to_vec();
        kernel.extend_from_slice(&0x40u32.to_le_bytes());
        kernel.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        kernel.resize(24, 0);
        kernel.extend_from_slice(name.as_bytes());
        kernel.resize(0x40, 0);
        kernel.extend_from_slice(payload);
        kernel.extend_from_slice(b"behind the payload");
        kernel
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn a_bz_image_says_its_release_in_the_setup_header() {
        let text = b"6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP\0";
        let release_of = |kernel: &[u8]| release(kernel);
        let found = release_of(&bz_image(8, 0x400, text)).unwrap();
        assert_eq!(found.as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(release_of(&bz_image(0, 0x400, b"6.1\0")).unwrap().as_deref(), Some("6.1"));
        assert_eq!(release_of(&bz_image(8, 0, b"")).unwrap(), None);
        assert!(matches!(
            release_of(&bz_image(1, 0x201, text)),
            Err(Error::VersionOffset { offset: 0x201, sectors: 1 })
        ));
        assert!(matches!(release_of(&bz_image(255, 0x2000, text)), Err(Error::Truncated { .. })));
        for wrong in [&b"../../etc\0"[..], b"\0", b" 6.1", b"x6.1\0", &[b'6'; 65], b"6.1\n.uname\0"] {
            let error = release_of(&bz_image(8, 0x400, wrong)).unwrap_err();
            assert!(matches!(error, Error::Release { .. }), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn an_image_says_its_release_in_its_banner_wherever_it_is() {
        // Around the ends of the chunks that are searched.
        for at in [0x100, CHUNK_LEN - 90, CHUNK_LEN - 20, CHUNK_LEN - 1, CHUNK_LEN, 3 * CHUNK_LEN + 7] {
            assert_eq!(release(&image(at)).unwrap().as_deref(), Some(RELEASE), "{at}");
        }
        let silent = &image(0x1000)[..0x1000];
        assert_eq!(release(silent).unwrap(), None);
    }

    #[test]
    fn a_compressed_image_is_unpacked() {
        let image = image(1 << 20);
        let mut xz = liblzma::write::XzEncoder::new(vec![], 1);
        xz.write_all(&image).unwrap();
        let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
        let lzma = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
        let mut lzma = liblzma::write::XzEncoder::new_stream(vec![], lzma);
        lzma.write_all(&image).unwrap();
        let kernels = [
            gzip(&image),
            zboot("gzip", &gzip(&image)),
            zboot("zstd", &zstd::encode_all(&image[..], 1).unwrap()),
            zboot("xzkern", &xz.finish().unwrap()),
            zboot("lzma", &lzma.finish().unwrap()),
        ];
        for kernel in kernels {
            assert_eq!(release(&kernel).unwrap().as_deref(), Some(RELEASE));
        }
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        assert!(matches!(release(b""), Err(Error::Format)));
        assert!(matches!(release(&[0; 4096]), Err(Error::Format)));
        let lz4 = zboot("lz4", b"");
        assert!(matches!(release(&lz4), Err(Error::Compression { name }) if name == "lz4"));
        assert!(matches!(release(&lz4[..40]), Err(Error::Truncated { part: "zboot header", .. })));
        let mut beyond = lz4.clone();
        beyond[8..12].fill(0xff);
        assert!(matches!(release(&beyond), Err(Error::Truncated { part: "payload", .. })));
        let half = gzip(&image(1 << 20));
        assert!(matches!(release(&half[..half.len() / 2]), Err(Error::Unpack(_))));
    }

    #[test]
    fn a_bomb_is_not_unpacked_whole() {
        let mut bomb = zstd::Encoder::new(vec![], 1).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..=(UNPACKED_LEN_MAX >> 20) {
            bomb.write_all(&zeros).unwrap();
        }
        let kernel = zboot("zstd", &bomb.finish().unwrap());
        assert!(kernel.len() < 1 << 20);
        assert!(matches!(release(&kernel), Err(Error::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 0..5u8, mut bytes in prop::collection::vec(any::<u8>(), 0..0x400)) {
            let marks: &[(usize, &[u8])] = match kind {
                0 => &[(0x202, b"HdrS")],
                1 => &[(0, b"MZ"), (4, b"zimg"), (24, b"zstd\0")],
                2 => &[(0x38, b"ARM\x64"), (0x40, BANNER)],
                3 => &[(0, b"\x1f\x8b\x08")],
                _ => &[],
            };
            for (at, mark) in marks {
                if let Some(place) = bytes.get_mut(*at..at + mark.len()) {
                    place.copy_from_slice(mark);
                }
            }
            let _ = release(&bytes);
        }
    }
}
