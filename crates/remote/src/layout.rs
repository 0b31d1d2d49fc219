//! OCI image layouts that come in: a directory, or a tar archive of one.
//!
//! ```text
//! oci-layout                  {"imageLayoutVersion": "1.0.0"}
//! index.json                  descriptors, with names: org.opencontainers.image.ref.name = <repository>:<tag>
//! blobs/sha256/<hex>          manifests, configurations, layers
//! ```
//!
//! Somebody else wrote it. Nothing is unpacked: blobs are read where they lie, by digest, as far as a manifest says that they
//! are long, and are hashed on the way into the store. What is no part of a layout is never opened; a link is refused, for
//! it could lead anywhere.
//!
//! Source: OCI image specification 1.1, image layout.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use extent::{Digest, Kind, Source, TreePath};
use formats::tar;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Deserialize;

use crate::Error;
use crate::error::excerpt;

/// The longest `index.json`: some thirty thousand names. All tags of a store of ten years have less.
const MAX_INDEX_LEN: u64 = 16 << 20;
/// The longest `oci-layout`, which has thirty bytes.
const MAX_VERSION_LEN: u64 = 4 << 10;

/// An image layout that somebody else has made.
#[derive(Debug, Clone)]
pub struct Layout {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    tags: BTreeMap<(String, String), Descriptor>,
}

/// Where the files are.
#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    Archive(Arc<File>, BTreeMap<TreePath, Range>),
}

/// A file within an archive.
#[derive(Debug, Clone, Copy)]
struct Range {
    offset: u64,
    len: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

impl Layout {
    /// The layout at `path`, a directory or an archive. Blobs are not looked at yet.
    ///
    /// # Errors
    /// `BadLayout` with what is wrong; `Archive` for what is no tar archive, or one that is cut off or has names that lead out
    /// of it; `Read`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = reading(&path.display().to_string());
        if fs::metadata(path).map_err(&failed)?.is_dir() {
            return Self::new(Place::Directory(path.to_owned()));
        }
        Self::archive(File::open(path).map_err(&failed)?)
    }

    /// The layout in the archive `file`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn archive(file: File) -> Result<Self, Error> {
        // The tree names ranges of what was read: whose digest that would be is not asked.
        let tree =
            tar::read(&file, Digest::from_bytes([0; 32])).map_err(|source| Error::Archive { source })?;
        let mut files = BTreeMap::new();
        for (path, node) in tree.iter() {
            let content = match &node.kind {
                Kind::Directory => continue,
                Kind::File(content) => content,
                _ => return Err(bad(path.as_str(), "in a layout are files and directories only")),
            };
            let offset = match content.extents() {
                [] => 0,
                [extent] if let Source::Blob { offset, .. } = extent.source => offset,
                _ => return Err(bad(path.as_str(), "a file lies in one piece")),
            };
            files.insert(path.clone(), Range { offset, len: content.len() });
        }
        Self::new(Place::Archive(Arc::new(file), files))
    }

    fn new(place: Place) -> Result<Self, Error> {
        let version: Version = json(&place, "oci-layout", MAX_VERSION_LEN)?;
        if version.image_layout_version != "1.0.0" {
            return Err(bad("oci-layout", "the version of layouts is 1.0.0"));
        }
        let index: ImageIndex = json(&place, "index.json", MAX_INDEX_LEN)?;
        let mut tags = BTreeMap::new();
        for entry in index.manifests() {
            let name = entry.annotations().as_ref().and_then(|all| all.get(ANNOTATION_REF_NAME));
            // An image without a name may be there for another tool.
            let Some((repository, tag)) = name.and_then(|name| name.rsplit_once(':')) else { continue };
            if !store::is_repository(repository) || !store::is_tag(tag) {
                continue;
            }
            let key = (repository.to_owned(), tag.to_owned());
            if tags.insert(key, entry.clone()).is_some_and(|before| before.digest() != entry.digest()) {
                return Err(bad(&format!("{repository}:{tag}"), "a name stands for one image"));
            }
        }
        Ok(Self { inner: Arc::new(Inner { place, tags }) })
    }

    /// The images that have a name, as repository and tag, in the order of names. Signatures are not among them.
    pub fn images(&self) -> impl Iterator<Item = (&str, &str)> {
        let tags = self.inner.tags.keys().map(|(repository, tag)| (repository.as_str(), tag.as_str()));
        tags.filter(|(_, tag)| cosign::signed_by_tag(tag).is_none())
    }

    /// What `tag` of `repository` names.
    pub(crate) fn resolve_tag(&self, repository: &str, tag: &str) -> Option<&Descriptor> {
        self.inner.tags.get(&(repository.to_owned(), tag.to_owned()))
    }

    /// All the bytes of a small blob, which are what its digest says.
    pub(crate) fn bytes(&self, digest: &Digest, what: &'static str, max: u64) -> Result<Bytes, Error> {
        let path = blob_path(digest);
        let bytes = self.inner.place.bytes(&path, what, max)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(Error::DigestMismatch { at: path, expected: *digest, actual });
        }
        Ok(bytes)
    }

    /// The bytes of a blob, as they are.
    pub(crate) fn reader(&self, blob: &store::Descriptor) -> Result<impl Read + Send + use<>, Error> {
        let path = blob_path(&blob.digest);
        let section = self.inner.place.open(&path)?;
        if section.left != blob.len {
            return Err(bad(&path, "a blob has the length that its descriptor says"));
        }
        Ok(section)
    }
}

impl Place {
    fn open(&self, path: &str) -> Result<Section, Error> {
        let missing = || Error::NotFound { at: path.to_owned() };
        match self {
            Self::Archive(file, files) => {
                let range =
                    TreePath::parse(path).ok().and_then(|path| files.get(&path)).ok_or_else(missing)?;
                Ok(Section { file: Arc::clone(file), offset: range.offset, left: range.len })
            }
            Self::Directory(dir) => {
                let mut options = OpenOptions::new();
                // Neither follow a link nor wait for who writes a pipe.
                options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
                let file = match options.open(dir.join(path)) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
                    Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                        return Err(bad(path, "in a layout are files and directories only"));
                    }
                    Err(error) => return Err(reading(path)(error)),
                };
                let metadata = file.metadata().map_err(reading(path))?;
                if !metadata.is_file() {
                    return Err(bad(path, "in a layout are files and directories only"));
                }
                Ok(Section { file: Arc::new(file), offset: 0, left: metadata.len() })
            }
        }
    }

    fn bytes(&self, path: &str, what: &'static str, max: u64) -> Result<Bytes, Error> {
        let section = self.open(path)?;
        let len = section.left;
        if len > max {
            return Err(Error::TooLong { at: path.to_owned(), what, max });
        }
        let mut bytes = Vec::new();
        section.take(len).read_to_end(&mut bytes).map_err(reading(path))?;
        Ok(bytes.into())
    }
}

/// A part of a file, read from its beginning.
struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let count = self.file.read_at(&mut buf[..len], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn json<T: for<'de> Deserialize<'de>>(place: &Place, path: &str, max: u64) -> Result<T, Error> {
    let bytes = match place.bytes(path, "document of a layout", max) {
        Err(Error::NotFound { .. }) => return Err(bad(path, "a layout has it at its top")),
        other => other?,
    };
    let digest = Digest::of(&bytes);
    serde_json::from_slice(&bytes).map_err(|source| Error::Malformed {
        what: "document of a layout",
        digest,
        source,
    })
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn bad(at: &str, wanted: &'static str) -> Error {
    Error::BadLayout { at: excerpt(at), wanted }
}

fn reading(at: &str) -> impl Fn(io::Error) -> Error + use<> {
    let at = excerpt(at);
    move |source| Error::Read { at: at.clone(), source }
}
