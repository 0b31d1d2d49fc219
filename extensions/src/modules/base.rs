//! The base: the root file system in its initramfs, and the modules in that.
//!
//! `backhand` reads the squashfs. Measured against `unsquashfs` 4.5 on Debian's kernels (4 025 files, 397 MB; 4 232
//! files, 94 MB, already compressed): 2.6 and 2.2 s against 1.0 and 1.0 s, nearly all of it spent making files.
//! A second and a half, once for a base and its extensions, is no reason to need another program at run time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, Write as _};

use backhand::{FilesystemReader, InnerNode, SquashfsFileReader};
use extent::{Blobs, ExtentMap, TreePath, read_at};
use formats::cpio;
use liblzma::stream::Stream;

use super::map_reader::MapReader;
use super::scratch::{MODULE_LEN_MAX, Scratch};
use super::{Module, module_name};
use crate::Error;

/// The root file system in the initramfs.
const ROOTFS: &str = "rootfs.sqsh";
/// How far an initramfs is unpacked: twice what one archive can hold as a file.
const UNPACKED_LEN_MAX: u64 = 8 << 30;
/// What an xz decoder may allocate; the largest preset needs 65 MiB.
const XZ_MEMORY_MAX: u64 = 160 << 20;
/// The longest text beside the modules; that of Debian has 170 KB.
const TEXT_LEN_MAX: u64 = 64 << 20;
/// What is read at a time.
const CHUNK_LEN: usize = 256 << 10;

/// The modules of a base.
pub(super) struct Base {
    rootfs: FilesystemReader<'static>,
    release: String,
    /// The files of the release by path below its directory.
    files: BTreeMap<String, SquashfsFileReader>,
}

impl Base {
    /// Finds the root file system in `initramfs` and in it the one release below `modules`.
    pub fn open(
        initramfs: &ExtentMap,
        blobs: &dyn Blobs,
        modules: &TreePath,
        scratch: &Scratch,
    ) -> Result<Self, Error> {
        let mut file = scratch.file()?;
        find_rootfs(initramfs, blobs, &mut |data| copy(data, &mut file, scratch))?;
        file.rewind().map_err(|error| scratch.failed(error))?;
        let rootfs =
            FilesystemReader::from_reader(BufReader::with_capacity(CHUNK_LEN, file)).map_err(unreadable)?;
        let mut releases = vec![];
        let mut files = BTreeMap::new();
        for node in rootfs.files() {
            // What is not UTF-8 is no module of any kernel.
            let Some(path) = node.fullpath.to_str() else { continue };
            let relative = path.trim_start_matches('/').strip_prefix(modules.as_str());
            let Some(relative) = relative.and_then(|rest| rest.strip_prefix('/')) else { continue };
            match &node.inner {
                InnerNode::Dir(_) if !relative.contains('/') => releases.push(relative.to_owned()),
                InnerNode::File(file) => drop(files.insert(relative.to_owned(), file.clone())),
                _ => {}
            }
        }
        releases.sort();
        let [release] = &releases[..] else {
            return Err(Error::Releases { path: modules.clone(), found: releases });
        };
        if !is_release(release) {
            return Err(Error::Rootfs {
                reason: format!("`{}` is no kernel release", release.escape_debug()),
            });
        }
        let release = release.clone();
        let below = format!("{release}/");
        let files =
            files.into_iter().filter_map(|(path, file)| Some((path.strip_prefix(&below)?.to_owned(), file)));
        let files = files.filter(|(path, _)| TreePath::parse(path).is_ok()).collect();
        Ok(Self { rootfs, release, files })
    }

    /// The kernel that the modules are for.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The paths of the modules.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str).filter(|path| module_name(path).is_some())
    }

    /// The contents of those `shown` modules that are from the base.
    pub fn contents<'a>(
        &'a self,
        shown: &'a BTreeMap<String, Module<'a>>,
    ) -> impl Iterator<Item = Result<(String, Vec<u8>), Error>> + 'a {
        let of_base = shown.iter().filter(|(_, module)| module.content.is_none());
        of_base.filter_map(|(path, _)| Some((path, self.files.get(path)?))).map(|(path, file)| {
            let content = self.content(file, MODULE_LEN_MAX)?;
            Ok((path.clone(), content))
        })
    }

    /// The content of a file beside the modules; empty where there is none.
    pub fn text(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.files.get(name).map_or(Ok(vec![]), |file| self.content(file, TEXT_LEN_MAX))
    }

    fn content(&self, file: &SquashfsFileReader, max: u64) -> Result<Vec<u8>, Error> {
        let mut content = vec![];
        let reader = self.rootfs.file(file).reader_checked().map_err(unreadable)?;
        reader.take(max + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 > max {
            return Err(Error::TooLarge { what: "bytes in one file", max });
        }
        Ok(content)
    }
}

/// Copies `data`, part of an initramfs, to `file`; which of the two fails makes the error.
fn copy(data: &mut dyn Read, file: &mut File, scratch: &Scratch) -> Result<(), Error> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        match data.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(len) => file.write_all(&chunk[..len]).map_err(|error| scratch.failed(error))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Initramfs(cpio::Error::Read(error))),
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::Rootfs { reason: error.to_string().chars().take(500).collect() }
}

/// Whether `name` can be a release: it becomes a path and an argument.
fn is_release(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+_~-".contains(&byte);
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(allowed)
}

/// Gives the root file system in `initramfs` to `found`.
///
/// An initramfs is a run of members, each of them archives, plain or compressed, with zeros between.
fn find_rootfs(
    initramfs: &ExtentMap,
    blobs: &dyn Blobs,
    found: &mut dyn FnMut(&mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Initramfs(cpio::Error::Read(error));
    let mut offset = 0;
    let mut unpacked = 0;
    while let Some(start) = skip_zeros(initramfs, blobs, offset).map_err(failed)? {
        let mut magic = [0; 6];
        let len = usize::try_from(initramfs.len() - start).map_or(6, |rest| rest.min(6));
        read_at(initramfs, start, &mut magic[..len], blobs).map_err(failed)?;
        let mut input = BufReader::with_capacity(CHUNK_LEN, MapReader::new(initramfs, blobs, start));
        let mut member = |member: &mut dyn Read| scan(member, &mut unpacked, found);
        let done = match magic {
            [b'0', b'7', b'0', b'7', ..] => {
                // A plain member goes on to the first byte that is neither zero nor of an archive.
                let mut reader = cpio::Reader::new(&mut input);
                entries(&mut reader, found)?
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let decoder = zstd::Decoder::with_buffer(&mut input).map_err(failed)?;
                member(&mut decoder.single_frame())?
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY_MAX, 0).map_err(|e| failed(e.into()))?;
                member(&mut liblzma::bufread::XzDecoder::new_stream(&mut input, stream))?
            }
            [0x1f, 0x8b, ..] => member(&mut flate2::bufread::GzDecoder::new(&mut input))?,
            _ => return Err(Error::Member { offset: start }),
        };
        if done {
            return Ok(());
        }
        offset = input.get_ref().offset() - input.buffer().len() as u64;
    }
    Err(Error::NoRootfs { name: ROOTFS })
}

/// Looks through an unpacked member, to its end if need be; says whether the root file system was there.
fn scan(
    member: &mut dyn Read,
    unpacked: &mut u64,
    found: &mut dyn FnMut(&mut dyn Read) -> Result<(), Error>,
) -> Result<bool, Error> {
    let mut limited = BufReader::with_capacity(CHUNK_LEN, member.take(UNPACKED_LEN_MAX - *unpacked));
    if entries(&mut cpio::Reader::new(&mut limited), found)? {
        return Ok(true);
    }
    // Behind the archives: whatever it is, the next member begins after it.
    io::copy(&mut limited, &mut io::sink()).map_err(|error| Error::Initramfs(cpio::Error::Read(error)))?;
    let left = limited.get_ref().limit();
    *unpacked = UNPACKED_LEN_MAX - left;
    if left == 0 {
        return Err(Error::TooLarge { what: "bytes of initramfs", max: UNPACKED_LEN_MAX });
    }
    Ok(false)
}

/// Looks through archives; says whether the root file system was there.
fn entries(
    reader: &mut cpio::Reader<impl BufRead>,
    found: &mut dyn FnMut(&mut dyn Read) -> Result<(), Error>,
) -> Result<bool, Error> {
    while let Some((name, _)) = reader.next_entry().map_err(Error::Initramfs)? {
        if name.strip_prefix(b"./").unwrap_or(&name) == ROOTFS.as_bytes() {
            found(reader)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the first byte from `offset` on is that is not zero.
fn skip_zeros(map: &ExtentMap, blobs: &dyn Blobs, mut offset: u64) -> io::Result<Option<u64>> {
    let mut input = BufReader::with_capacity(4096, MapReader::new(map, blobs, offset));
    loop {
        let buffer = input.fill_buf()?;
        let len = buffer.len();
        if len == 0 {
            return Ok(None);
        }
        if let Some(zeros) = buffer.iter().position(|&byte| byte != 0) {
            return Ok(Some(offset + zeros as u64));
        }
        offset += len as u64;
        input.consume(len);
    }
}
