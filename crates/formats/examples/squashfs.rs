//! Packs a directory, to be measured beside `mksquashfs`.
//!
//!     squashfs DIR OUT [--level N] [--threads N] [--xz PRESET] [--block BYTES] [--mtime SECONDS]
//!
//! Everything belongs to root; extended attributes are left out.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use extent::{Blobs, Digest, ExtentMap, Kind, Node, Tree, TreePath};
use formats::squashfs::{self, Compression, Options};

type Failure = Box<dyn std::error::Error>;

/// Files by the digest of their path: a name for the bytes that costs no reading.
#[derive(Default)]
struct Files(HashMap<Digest, PathBuf>);

impl Blobs for Files {
    fn read_at(&self, digest: &Digest, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let path = self.0.get(digest).ok_or(io::ErrorKind::NotFound)?;
        File::open(path)?.read_exact_at(buf, offset)
    }
}

fn main() -> Result<(), Failure> {
    let mut options = Options::new(Compression::Zstd { level: 15 });
    let mut paths = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--level" => options.compression = Compression::Zstd { level: value()?.parse()? },
            "--xz" => options.compression = Compression::Xz { preset: value()?.parse()? },
            "--threads" => options.threads = value()?.parse()?,
            "--block" => options.block_size = value()?.parse()?,
            "--mtime" => options.mtime = value()?.parse()?,
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    let [directory, image] = &paths[..] else {
        return Err("usage: squashfs DIR OUT [--level N] [--threads N] [--xz PRESET] [--block BYTES]".into());
    };

    let (mut tree, mut files) = (Tree::new(), Files::default());
    add(directory, &mut String::new(), &mut tree, &mut files, &mut HashMap::new())?;
    let len = squashfs::write(&tree, &options, &files, &mut File::create(image)?)?;
    println!("{len}");
    Ok(())
}

/// Adds `source`, whose path in the tree is `path`.
fn add(
    source: &Path,
    path: &mut String,
    tree: &mut Tree,
    files: &mut Files,
    links: &mut HashMap<(u64, u64), TreePath>,
) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(source)?;
    let kind = metadata.file_type();
    let name = TreePath::parse(path)?;
    let device = || {
        let number = metadata.rdev();
        let major = u32::try_from(number >> 8 & 0xfff)?;
        Ok::<_, Failure>((major, u32::try_from(number & 0xff | number >> 12 & 0xf_ff00)?))
    };
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(source)?.to_str().ok_or("a target is not UTF-8")?.to_owned())
    } else if kind.is_file() {
        if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
            Kind::HardLink(first.clone())
        } else {
            if metadata.nlink() > 1 {
                links.insert((metadata.dev(), metadata.ino()), name.clone());
            }
            let digest = Digest::of(source.as_os_str().as_bytes());
            files.0.insert(digest, source.to_owned());
            Kind::File(ExtentMap::blob(digest, 0, metadata.len()))
        }
    } else if kind.is_char_device() {
        let (major, minor) = device()?;
        Kind::CharDevice { major, minor }
    } else if kind.is_block_device() {
        let (major, minor) = device()?;
        Kind::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    };
    let below = kind == Kind::Directory;
    tree.insert(name, Node::new(kind, u16::try_from(metadata.mode() & 0o7777)?))?;
    if below {
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let len = path.len();
            path.push('/');
            path.push_str(entry.file_name().to_str().ok_or("a name is not UTF-8")?);
            add(&entry.path(), path, tree, files, links)?;
            path.truncate(len);
        }
    }
    Ok(())
}
