//! What an image consists of: its indexes and manifests, and the blobs that these list.
//!
//! ```text
//! index ─┬─ index …                      at most 4 deep, 256 manifests, 32 MiB of them
//!        └─ manifest ─┬─ configuration
//!                     └─ layers          at most 512
//! ```
//!
//! Source: OCI image specification 1.1, image index, image manifest; Docker image manifest version 2, schema 2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use extent::Digest;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::source::Source;

/// Indexes within indexes. Real images have one; two where an index of platforms lies in one of variants.
const MAX_DEPTH: u32 = 4;
/// Manifests of one image. The largest in use, with attestations for each platform, have thirty.
const MAX_MANIFESTS: usize = 256;
/// Bytes of all manifests of one image: they are held in memory until the end.
const MAX_MANIFESTS_LEN: u64 = 32 << 20;
/// Layers of one manifest. Overlay file systems take 128, and so do the tools that make layers.
const MAX_LAYERS: usize = 512;

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A platform that an image is for, as indexes name them: `linux`, `arm64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The operating system, as Go names it.
    pub os: String,
    /// The architecture, as Go names it.
    pub architecture: String,
}

/// All of an image.
#[derive(Debug)]
pub(crate) struct Image {
    /// The descriptor of the top manifest.
    pub top: Descriptor,
    /// Manifests and indexes, the top first.
    pub manifests: Vec<Document>,
    /// Configurations and layers.
    pub blobs: BTreeMap<Digest, u64>,
    /// Bytes of manifests that came over the network.
    pub fetched: u64,
}

/// A manifest or an index.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
}

/// What decides whether it is a manifest or an index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

#[expect(clippy::large_enum_variant, reason = "it lives for a moment")]
pub(crate) enum Parsed {
    Index(ImageIndex),
    Manifest(ImageManifest),
}

impl Document {
    /// What names it.
    pub(crate) fn descriptor(&self) -> Descriptor {
        let blob = store::Descriptor { digest: self.digest, len: self.bytes.len() as u64 };
        blob.oci(self.media_type.clone())
    }
}

impl Image {
    /// All of the image whose manifest or index has the digest `top`; of an index only `platforms` if there are any.
    pub(crate) async fn read(
        source: Source<'_>,
        top: Digest,
        platforms: &[Platform],
        max_len: u64,
    ) -> Result<Self, Error> {
        let mut seen = BTreeSet::from([top]);
        let mut queue = VecDeque::from([(top, None::<Descriptor>, 0)]);
        let mut manifests: Vec<Document> = Vec::new();
        let mut blobs = BTreeMap::new();
        let (mut len, mut total, mut fetched) = (0, 0_u64, 0);
        let bad = |digest, wanted| Error::BadManifest { digest, wanted };
        while let Some((digest, descriptor, depth)) = queue.pop_front() {
            let (bytes, said, came) = source.manifest(digest).await?;
            fetched += came;
            len += bytes.len() as u64;
            if len > MAX_MANIFESTS_LEN {
                return Err(bad(top, "all manifests of an image have at most 32 MiB"));
            }
            if descriptor.as_ref().is_some_and(|descriptor| descriptor.size() != bytes.len() as u64) {
                return Err(bad(digest, "it has the length that its index says"));
            }
            let said = descriptor.map(|descriptor| descriptor.media_type().to_string()).or(said);
            let (parsed, media_type) = parse(digest, &bytes, said)?;
            manifests.push(Document { digest, media_type, bytes });
            match parsed {
                Parsed::Index(index) => {
                    if depth == MAX_DEPTH {
                        return Err(bad(top, "indexes are at most 4 deep"));
                    }
                    let chosen = if depth == 0 {
                        choose(digest, &index, platforms)?
                    } else {
                        index.manifests().clone()
                    };
                    for child in chosen {
                        let name = sha256(digest, &child)?;
                        if !seen.insert(name) {
                            continue;
                        }
                        if seen.len() > MAX_MANIFESTS {
                            return Err(bad(top, "an image has at most 256 manifests"));
                        }
                        queue.push_back((name, Some(child), depth + 1));
                    }
                }
                Parsed::Manifest(manifest) => {
                    if manifest.layers().len() > MAX_LAYERS {
                        return Err(bad(digest, "it has at most 512 layers"));
                    }
                    for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
                        let name = sha256(digest, blob)?;
                        match blobs.insert(name, blob.size()) {
                            None => total = total.saturating_add(blob.size()),
                            Some(size) if size == blob.size() => {}
                            Some(_) => return Err(bad(digest, "a blob has one length, whoever lists it")),
                        }
                    }
                    if total > max_len {
                        return Err(bad(top, "an image has no more bytes than are allowed here"));
                    }
                }
            }
        }
        Ok(Self { top: manifests[0].descriptor(), manifests, blobs, fetched })
    }

    /// The length of all blobs.
    pub(crate) fn blobs_len(&self) -> u64 {
        self.blobs.values().sum()
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// The digest in `descriptor`, which `parent` has.
pub(crate) fn sha256(parent: Digest, descriptor: &Descriptor) -> Result<Digest, Error> {
    let wanted = "digests are `sha256:` and 64 lower-case hexadecimal digits";
    descriptor.digest().as_ref().parse().map_err(|_| Error::BadManifest { digest: parent, wanted })
}

fn choose(digest: Digest, index: &ImageIndex, platforms: &[Platform]) -> Result<Vec<Descriptor>, Error> {
    if platforms.is_empty() {
        return Ok(index.manifests().clone());
    }
    let is = |descriptor: &Descriptor, wanted: &Platform| {
        descriptor.platform().as_ref().is_some_and(|platform| {
            platform.os().to_string() == wanted.os
                && platform.architecture().to_string() == wanted.architecture
        })
    };
    let has = |wanted: &&Platform| index.manifests().iter().any(|descriptor| is(descriptor, wanted));
    if let Some(missing) = platforms.iter().find(|wanted| !has(wanted)) {
        return Err(Error::NoPlatform { digest, platform: missing.to_string() });
    }
    let wanted = |descriptor: &&Descriptor| platforms.iter().any(|platform| is(descriptor, platform));
    Ok(index.manifests().iter().filter(wanted).cloned().collect())
}

/// The media type of the manifest or index `bytes`, whose digest is `digest`: what it says that it is, else what whoever led
/// to it `said` (a registry, a descriptor), if it can be that, else OCI's for its shape.
///
/// Source: OCI image specification 1.1, where `mediaType` should be in a manifest and need not.
///
/// # Errors
/// `Malformed` and `BadManifest` where it is no manifest and no index of an image.
pub fn media_type(digest: Digest, bytes: &[u8], said: Option<String>) -> Result<MediaType, Error> {
    parse(digest, bytes, said).map(|(_, media_type)| media_type)
}

/// The document and its media type. `said` is what the registry or the index above says that it is.
pub(crate) fn parse(
    digest: Digest,
    bytes: &[u8],
    said: Option<String>,
) -> Result<(Parsed, MediaType), Error> {
    let bad = |wanted| Error::BadManifest { digest, wanted };
    let malformed = |what| move |source| Error::Malformed { what, digest, source };
    let shape: Shape = serde_json::from_slice(bytes).map_err(malformed("manifest"))?;
    // One document that is read as an index by some and as a manifest by others is two images.
    let is_index = match (shape.manifests.is_some(), shape.layers.is_some() || shape.config.is_some()) {
        (true, false) => true,
        (false, true) => false,
        _ => return Err(bad("it has either `manifests` or `config` and `layers`")),
    };
    let (oci, docker) = if is_index {
        (MediaType::ImageIndex, DOCKER_LIST)
    } else {
        (MediaType::ImageManifest, DOCKER_MANIFEST)
    };
    let known = |text: &str| text == oci.as_ref() || text == docker;
    let media_type = match shape.media_type {
        Some(text) if known(&text) => MediaType::from(text.as_str()),
        Some(_) => {
            return Err(bad("its `mediaType` is that of an image's index or manifest, whichever it is"));
        }
        None => said.filter(|said| known(said)).map_or(oci, |said| MediaType::from(said.as_str())),
    };
    let parsed = if is_index {
        Parsed::Index(serde_json::from_slice(bytes).map_err(malformed("index"))?)
    } else {
        Parsed::Manifest(serde_json::from_slice(bytes).map_err(malformed("manifest"))?)
    };
    Ok((parsed, media_type))
}

#[cfg(test)]
mod tests {
    use store::Store;

    use super::*;

    fn descriptor(media_type: &str, digest: Digest, size: u64) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    }

    fn index(children: &[String]) -> String {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","))
    }

    fn manifest(layers: &[String]) -> String {
        let config = descriptor("application/vnd.oci.image.config.v1+json", Digest::of(b"{}"), 2);
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","))
    }

    async fn read(store: &Store, top: &str) -> Result<Image, Error> {
        let top = store.put_bytes(top.as_bytes()).unwrap().digest;
        Image::read(Source::store(store), top, &[], 1000).await
    }

    #[tokio::test]
    async fn hostile_images_are_refused_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let layer = |digest, size| descriptor("application/vnd.oci.image.layer.v1.tar", digest, size);
        let x = Digest::of(b"x");
        let many: Vec<_> = (0..300).map(|i: u32| layer(Digest::of(&i.to_le_bytes()), 1)).collect();
        let twice = [many.clone(), many.clone()].concat();
        let sha512 = layer(x, 1).replace("sha256:", "sha512:");
        for (text, reason) in [
            (r#"{"schemaVersion":2}"#.to_owned(), "either"),
            (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(), "either"),
            (r#"{"schemaVersion":2,"mediaType":"x","manifests":[]}"#.to_owned(), "mediaType"),
            (
                manifest(&[]).replacen('{', "{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",", 1),
                "mediaType",
            ),
            (manifest(&[layer(x, 1), layer(x, 2)]), "one length"),
            (manifest(&[layer(x, 1001)]), "allowed"),
            (manifest(&[layer(x, u64::MAX), layer(Digest::of(b"y"), u64::MAX)]), "allowed"),
            (manifest(&twice), "512"),
            (index(&many), "256"),
            (manifest(&[sha512]), "malformed"),
            ("[]".to_owned(), "malformed"),
            ("{".to_owned(), "malformed"),
            ("[".repeat(100_000), "malformed"),
            (index(&[layer(store.put_bytes(manifest(&[]).as_bytes()).unwrap().digest, 1)]), "length"),
        ] {
            let error = read(&store, &text).await.unwrap_err();
            let shown = error.to_string();
            assert!(shown.contains(reason), "{shown} for {}", &text[..text.len().min(200)]);
        }
    }

    #[tokio::test]
    async fn indexes_are_at_most_four_deep_and_each_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut text = manifest(&[]);
        for depth in 1..=5 {
            let digest = store.put_bytes(text.as_bytes()).unwrap().digest;
            let child = descriptor("application/vnd.oci.image.index.v1+json", digest, text.len() as u64);
            // Listed ten times at each depth: ten thousand paths and one image.
            text = index(&vec![child; 10]);
            match read(&store, &text).await {
                Ok(image) => assert_eq!((image.manifests.len(), image.blobs.len()), (depth + 1, 1)),
                Err(error) => assert!(depth == 5 && error.to_string().contains("4 deep"), "{depth} {error}"),
            }
        }
        assert!(read(&store, &text).await.is_err());
    }
}
