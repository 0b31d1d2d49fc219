//! What goes wrong.

mod kind;
mod words;

use std::io;
use std::sync::Arc;

use extent::Digest;

use self::words::{did_you_mean, listed, nearest_versions};
use crate::profile::OutputKind;
use crate::sources::Wanted;
use crate::{Arch, Version};

pub use self::kind::ErrorClass;
pub(crate) use self::words::{nearest, shown};

/// Why there is no answer.
///
/// Texts from outside are cut to 80 characters. The words are the reference's where it has words for
/// the case; clients match on them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the name of an architecture.
    #[error("invalid architecture: {text:?}")]
    Arch {
        /// The text.
        text: String,
    },
    /// Not a semantic version.
    #[error("invalid version {text:?}: {reason}, as in `v13.1.0`")]
    Version {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a platform and an architecture with a dash between.
    #[error("invalid platform-arch: {text:?}")]
    PlatformArch {
        /// The text.
        text: String,
    },
    /// Not the name of a platform.
    #[error("invalid platform: {text:?}{}", did_you_mean(nearest))]
    Platform {
        /// The text.
        text: String,
        /// The names that are near.
        nearest: Vec<String>,
    },
    /// Not the path of an asset.
    #[error("invalid profile path: {path:?}")]
    Path {
        /// The path, without what it is packed with.
        path: String,
    },
    /// Not a value of the field.
    #[error("invalid {field} value {value:?}: it is one of {}", listed(allowed))]
    Value {
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
        /// What there is.
        allowed: Vec<&'static str>,
    },
    /// Not a built-in profile.
    #[error("there is no profile `{name}`{}", did_you_mean(nearest))]
    UnknownProfile {
        /// The name.
        name: String,
        /// The names that are near.
        nearest: Vec<String>,
    },
    /// Something without which a profile means nothing.
    #[error("{what} is missing")]
    Missing {
        /// What it is.
        what: &'static str,
    },
    /// Something that the output has no place for.
    #[error("`{kind}` output takes no {what}")]
    NotAllowed {
        /// What it is.
        what: &'static str,
        /// The output.
        kind: OutputKind,
    },
    /// Something that this version cannot do.
    #[error("{what} is not supported for {distribution} version {version}")]
    NotSupported {
        /// What it is.
        what: &'static str,
        /// The distribution by name.
        distribution: &'static str,
        /// The version.
        version: Version,
    },
    /// A disk longer than offsets can say.
    #[error("a disk of {len} bytes is longer than the {max} there can be")]
    DiskTooLarge {
        /// The length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// META values that do not fit their partition.
    #[error("the META values need {len} bytes, more than the {max} of their block")]
    MetaTooLarge {
        /// What they need in bytes.
        len: usize,
        /// What there is in bytes.
        max: usize,
    },
    /// A version without source images.
    #[error("version {} is not available{}", version.bare(), nearest_versions(nearest))]
    VersionNotAvailable {
        /// The version.
        version: Version,
        /// The versions that are near.
        nearest: Vec<Version>,
    },
    /// An extension that the version's catalogue does not have.
    #[error(
        "official extension {name:?} is not available for {distribution} version {version}{}",
        did_you_mean(nearest)
    )]
    ExtensionNotAvailable {
        /// The name that was asked for.
        name: String,
        /// The distribution by name.
        distribution: &'static str,
        /// The version.
        version: Version,
        /// The names that are near.
        nearest: Vec<String>,
    },
    /// Bytes where text must be: YAML can carry them.
    #[error("the {what} is not UTF-8")]
    NotText {
        /// What it is.
        what: &'static str,
    },
    /// A character that the kernel, or a terminal, would take for something else.
    #[error("{what} {value:?} has a control character")]
    ControlCharacter {
        /// What it is.
        what: &'static str,
        /// The text.
        value: String,
    },
    /// An image that is not made for the architecture.
    #[error("image `{image}` is not there for `{arch}`")]
    NoPlatform {
        /// The image.
        image: String,
        /// The architecture.
        arch: Arch,
    },
    /// A document of an image that does not parse.
    #[error("the {what} of image `{image}` is damaged")]
    Document {
        /// The image.
        image: String,
        /// Which document.
        what: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An image whose configuration names fewer layers than its manifest.
    #[error("the configuration of image `{image}` names fewer layers than its manifest")]
    DiffIds {
        /// The image.
        image: String,
    },
    /// An image that names a blob by something else than a SHA-256.
    #[error("image `{image}` names a blob that cannot be looked up")]
    ImageDigest {
        /// The image.
        image: String,
        /// What is wrong with the name.
        source: extent::DigestError,
    },
    /// A layer in a form that is not read.
    #[error("image `{image}` has a layer of type {media_type:?}, which is not read")]
    LayerMediaType {
        /// The image.
        image: String,
        /// The media type.
        media_type: String,
    },
    /// A layer that is no archive.
    #[error("a layer of image `{image}` is damaged")]
    Layer {
        /// The image.
        image: String,
        /// What is wrong with it.
        source: formats::tar::Error,
    },
    /// Layers that do not fit on one another.
    #[error("the layers of image `{image}` make no tree")]
    Layers {
        /// The image.
        image: String,
        /// What is wrong with them.
        source: extensions::Error,
    },
    /// More extensions than an image takes.
    #[error("`{count}` extensions are asked for, an image takes at most {max}")]
    TooManyExtensions {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// An image of more layers than are read.
    #[error("image `{image}` has more than {max} layers")]
    TooManyLayers {
        /// The image.
        image: String,
        /// The limit.
        max: usize,
    },
    /// A layer that does not unpack as its media type says.
    #[error("layer `{digest}` does not unpack")]
    LayerPacking {
        /// The layer.
        digest: Digest,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A layer that unpacks to more than is taken: of any layer, of one that is packed so well, or of all of an image.
    #[error("layer `{digest}` unpacks to more than the {max} bytes that are taken")]
    LayerTooLarge {
        /// The layer.
        digest: Digest,
        /// The limit in bytes.
        max: u64,
    },
    /// A file that an image should have.
    #[error("image `{image}` has no file `{path}`")]
    MissingFile {
        /// The image.
        image: String,
        /// The file.
        path: String,
    },
    /// A file of a catalogue that cannot be read.
    #[error("`{path}` of image `{image}` cannot be read")]
    CatalogueFile {
        /// The image.
        image: String,
        /// The file.
        path: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An extension that is not as it should be.
    #[error("extension `{name}` cannot be used")]
    Extension {
        /// The name in the catalogue.
        name: String,
        /// What is wrong with it.
        source: extensions::Error,
    },
    /// Kernel modules that do not go together.
    #[error("the kernel modules cannot be listed")]
    Modules(#[source] extensions::Error),
    /// Reading or writing what was to become a blob.
    #[error("making a blob failed")]
    Scratch {
        /// What went wrong.
        source: std::io::Error,
    },
    /// Source images that the store does not have, or not all of. A factory that may pull them does and goes on; one that
    /// may not ends here.
    #[error("the store does not have all of {images}")]
    NotPulled {
        /// The images.
        images: Wanted,
    },
    /// A source image that its source does not give.
    #[error("the source of `{image}` does not give it")]
    Source {
        /// The image.
        image: String,
        /// Why not.
        source: Arc<remote::Error>,
    },
    /// A source image whose signature is not believed. Nothing of it was looked at.
    #[error("the signature of the source image `{image}` is not believed: {reason}")]
    Unverified {
        /// The image.
        image: String,
        /// Why not, in words without addresses.
        reason: String,
        /// All that was tried.
        source: Arc<remote::Error>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A compressed form.
    #[error(transparent)]
    Zstd(#[from] formats::zstd::Error),
    /// A unified kernel image that does not go together.
    #[error(transparent)]
    Pe(#[from] formats::pe::Error),
    /// A part of an initramfs that does not fit.
    #[error(transparent)]
    Cpio(#[from] formats::cpio::Error),
    /// An EFI partition that does not hold what it must.
    #[error(transparent)]
    Fat(#[from] formats::fat::Error),
    /// A disk that does not hold its partitions.
    #[error(transparent)]
    Gpt(#[from] formats::gpt::Error),
    /// A layer that squashfs cannot hold.
    #[error(transparent)]
    Squashfs(#[from] formats::squashfs::Error),
    /// A path that no tree can hold.
    #[error(transparent)]
    Tree(#[from] extent::TreeError),
    /// A tar archive that cannot be written.
    #[error(transparent)]
    Tar(#[from] formats::tar::Error),
    /// Something that will be there, and is not yet.
    #[error("{what} is not there yet")]
    NotYet {
        /// What it is.
        what: String,
    },
}
