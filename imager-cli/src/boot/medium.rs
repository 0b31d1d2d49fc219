//! What is booted: a disk image, made plain if it is compressed.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imager::Arch;

use crate::exit::{Exit, Tag as _, refuse};

/// How much of a disk is searched for its boot loader: the tables and directories of an ESP come first.
const SEARCHED_LEN: u64 = 64 << 20;
/// The step of reading and searching; a multiple of a directory entry.
const STEP: usize = 1 << 20;

/// The removable-media boot loaders by their names in a FAT directory entry (UEFI 2.10 §3.5.1.1).
const LOADERS: &[(&[u8; 11], Arch)] = &[(b"BOOTX64 EFI", Arch::Amd64), (b"BOOTAA64EFI", Arch::Arm64)];

/// A disk image that QEMU can read.
pub struct Medium {
    /// The plain image.
    pub path: PathBuf,
    /// 512 or 4096 bytes: where the partition table says it is.
    pub sector_size: u32,
}

impl Medium {
    /// The image at `path`, decompressed into `scratch` as a sparse file if it has to be.
    pub fn open(path: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let opening = || format!("opening `{shown}`");
        let mut file = File::open(path).with_context(opening).exit(Exit::Io)?;
        if file.metadata().with_context(opening).exit(Exit::Io)?.is_dir() {
            return refuse(Exit::Input, format!("`{shown}` is a directory"));
        }
        let mut start = [0; 8];
        let len = read_full(&mut file, &mut start).with_context(opening).exit(Exit::Io)?;
        file.rewind().with_context(opening).exit(Exit::Io)?;
        // Magic numbers: RFC 8878 §3.1.1, the xz file format 1.2 §2.1.1.1, RFC 1952 §2.3.1, QEMU docs/interop/qcow2.
        let path = match &start[..len] {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let plain = scratch.join("disk.raw");
                decompress(file, &plain)
                    .with_context(|| format!("decompressing `{shown}`"))
                    .exit(Exit::Io)?;
                plain
            }
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return refuse(Exit::Unsupported, unsupported(path, "xz")),
            [0x1f, 0x8b, ..] => return refuse(Exit::Unsupported, unsupported(path, "gzip")),
            [b'Q', b'F', b'I', 0xfb, ..] => return refuse(Exit::Unsupported, unsupported(path, "qcow2")),
            _ => path.to_owned(),
        };
        let Some(sector_size) = sector_size(&path).with_context(opening).exit(Exit::Io)? else {
            return refuse(Exit::Input, format!("`{shown}` is not a disk image: it has no partition table"));
        };
        Ok(Self { path, sector_size })
    }

    /// The architecture of the boot loader on the disk; none if no loader is found.
    pub fn arch(&self) -> io::Result<Option<Arch>> {
        let mut file = File::open(&self.path)?.take(SEARCHED_LEN);
        let mut step = vec![0; STEP];
        loop {
            let len = read_full(&mut file, &mut step)?;
            let entries = step[..len].chunks_exact(32);
            let found = entries.filter_map(|entry| LOADERS.iter().find(|(name, _)| entry.starts_with(*name)));
            if let Some((_, arch)) = found.into_iter().next() {
                return Ok(Some(*arch));
            }
            if len < STEP {
                return Ok(None);
            }
        }
    }
}

fn unsupported(path: &Path, form: &str) -> String {
    format!("`{}` is {form}; raw disks and raw disks compressed with zstd can be booted", path.display())
}

/// The sector size of the disk whose partition table lies in its second sector (UEFI 2.10 §5.3.2, the signature); 512
/// for a disk with nothing but a boot record (its last two bytes).
fn sector_size(path: &Path) -> io::Result<Option<u32>> {
    let mut file = File::open(path)?;
    let mut start = [0; 4096 + 8];
    let len = read_full(&mut file, &mut start)?;
    let at =
        |offset: usize, text: &[u8]| start[..len].get(offset..).is_some_and(|rest| rest.starts_with(text));
    Ok(match () {
        () if at(512, b"EFI PART") => Some(512),
        () if at(4096, b"EFI PART") => Some(4096),
        () if at(510, &[0x55, 0xaa]) => Some(512),
        () => None,
    })
}

/// Writes what `compressed` holds to `plain`, leaving holes where it is zero.
fn decompress(compressed: impl Read, plain: &Path) -> io::Result<()> {
    let mut decoder = zstd::Decoder::new(compressed)?;
    let mut file = File::create(plain)?;
    let mut step = vec![0; STEP];
    loop {
        let len = read_full(&mut decoder, &mut step)?;
        if step[..len].iter().all(|&byte| byte == 0) {
            file.seek_relative(i64::try_from(len).expect("a step is short"))?;
        } else {
            io::Write::write_all(&mut file, &step[..len])?;
        }
        if len < STEP {
            let end = file.stream_position()?;
            return file.set_len(end);
        }
    }
}

/// Fills `buf` as far as `input` goes; says how far.
fn read_full(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match input.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
