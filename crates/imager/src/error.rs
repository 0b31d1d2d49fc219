//! What goes wrong, and whose business that is.

use std::io;
use std::sync::Arc;

use extent::Digest;
use formats::{cpio, fat, gpt, pe};

use crate::profile::OutputKind;
use crate::sources::Wanted;
use crate::{Arch, Version};

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

/// What an error means to who asked: the server makes a status of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The question is wrong: 400.
    BadRequest,
    /// What it names is not there: 404.
    NotFound,
    /// It cannot be answered by this version of the program: 501.
    NotImplemented,
    /// It cannot be answered now: 503.
    Unavailable,
    /// A source gives something else than it should: 502.
    BadGateway,
    /// There is no room for it in the store: 507.
    Full,
    /// The answer went wrong here: 500.
    Internal,
}

impl Error {
    /// Whose business the error is.
    pub fn class(&self) -> ErrorClass {
        match self.kind() {
            Kind::Input | Kind::Unsupported | Kind::TooLarge => ErrorClass::BadRequest,
            Kind::Absent => ErrorClass::NotFound,
            Kind::NotYet => ErrorClass::NotImplemented,
            Kind::Gone => ErrorClass::Unavailable,
            Kind::Upstream => ErrorClass::BadGateway,
            Kind::Space => ErrorClass::Full,
            Kind::Source | Kind::Io | Kind::Assembly => ErrorClass::Internal,
        }
    }

    /// The exit code of the program that ends with this error: 2 invalid input, 3 unsupported combination,
    /// 5 dependency, 6 input and output, 7 assembly.
    ///
    /// Source: `pkg/installer/exitcode` of Talos, a stable interface.
    pub fn exit_code(&self) -> u8 {
        match self.kind() {
            Kind::Input | Kind::Absent => 2,
            Kind::Unsupported | Kind::NotYet => 3,
            Kind::Source | Kind::Gone | Kind::Upstream => 5,
            Kind::Space | Kind::Io => 6,
            Kind::TooLarge | Kind::Assembly => 7,
        }
    }

    /// Whether it is for want of a blob that the store should have.
    pub(crate) fn is_for_want_of_a_blob(&self) -> bool {
        let missing = |error: &store::Error| matches!(error, store::Error::NotFound { .. });
        matches!(self, Self::Store(error) if missing(error)) || matches!(reading(self), Some(Kind::Gone))
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Arch { .. }
            | Self::Version { .. }
            | Self::PlatformArch { .. }
            | Self::Platform { .. }
            | Self::Path { .. }
            | Self::Value { .. }
            | Self::UnknownProfile { .. }
            | Self::Missing { .. }
            | Self::DiskTooLarge { .. }
            | Self::MetaTooLarge { .. }
            | Self::ExtensionNotAvailable { .. }
            | Self::NotText { .. }
            | Self::ControlCharacter { .. } => Kind::Input,
            Self::NotAllowed { .. } | Self::NotSupported { .. } | Self::NoPlatform { .. } => {
                Kind::Unsupported
            }
            Self::VersionNotAvailable { .. } => Kind::Absent,
            Self::NotYet { .. } => Kind::NotYet,
            Self::Extension { source: extensions::Error::Incompatible { .. }, .. } => Kind::Unsupported,
            Self::Fat(fat::Error::FileTooLarge { .. } | fat::Error::TooSmall { .. })
            | Self::Gpt(gpt::Error::OutOfBounds { .. } | gpt::Error::DiskTooSmall { .. })
            | Self::Pe(pe::Error::TooLarge { .. })
            | Self::Cpio(cpio::Error::FileTooLarge { .. }) => Kind::TooLarge,
            Self::Store(error) => store_kind(error),
            Self::NotPulled { .. } => Kind::Gone,
            Self::Source { source, .. } => match &**source {
                remote::Error::Store(error) => store_kind(error),
                error if error.is_transient() => Kind::Gone,
                _ => Kind::Upstream,
            },
            Self::Unverified { .. } => Kind::Upstream,
            Self::Scratch { source } => io_kind(source),
            // What a decoder says is about the layer, unless the store speaks through it.
            Self::LayerPacking { source, .. } => match io_kind(source) {
                Kind::Io if of_store(source).is_none() => Kind::Source,
                kind => kind,
            },
            Self::Document { .. }
            | Self::DiffIds { .. }
            | Self::ImageDigest { .. }
            | Self::LayerMediaType { .. }
            | Self::Layer { .. }
            | Self::Layers { .. }
            | Self::TooManyLayers { .. }
            | Self::LayerTooLarge { .. }
            | Self::MissingFile { .. }
            | Self::CatalogueFile { .. }
            | Self::Extension { .. }
            | Self::Modules(_) => reading(self).unwrap_or(Kind::Source),
            Self::Zstd(_)
            | Self::Squashfs(_)
            | Self::Pe(_)
            | Self::Cpio(_)
            | Self::Tar(_)
            | Self::Fat(_)
            | Self::Gpt(_)
            | Self::Tree(_) => reading(self).unwrap_or(Kind::Assembly),
        }
    }
}

/// What decides class and exit code.
#[derive(Clone, Copy)]
enum Kind {
    /// The question is wrong.
    Input,
    /// Its parts do not go together.
    Unsupported,
    /// It names a version that is not there.
    Absent,
    /// It will have an answer.
    NotYet,
    /// A source image is not what it should be.
    Source,
    /// A blob is not in the store (any more).
    Gone,
    /// A source gives something else than it should, or gives it not to us.
    Upstream,
    /// The disk is full.
    Space,
    /// Bytes cannot be read, or are not what they were.
    Io,
    /// What is asked for does not fit its format.
    TooLarge,
    /// Parts do not go together.
    Assembly,
}

fn store_kind(error: &store::Error) -> Kind {
    match error {
        store::Error::NoSpace { .. } => Kind::Space,
        store::Error::NotFound { .. } => Kind::Gone,
        _ => Kind::Io,
    }
}

fn io_kind(error: &io::Error) -> Kind {
    // The store speaks through readers, too.
    if let Some(error) = of_store(error) {
        return store_kind(error);
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Kind::Space
        }
        _ => Kind::Io,
    }
}

fn of_store(error: &io::Error) -> Option<&store::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<store::Error>())
}

/// The kind of the failure to read or write that lies behind `error`, if one does.
fn reading(error: &dyn std::error::Error) -> Option<Kind> {
    let mut behind = error.source();
    while let Some(error) = behind {
        if let Some(error) = error.downcast_ref::<store::Error>() {
            return Some(store_kind(error));
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(io_kind(error));
        }
        behind = error.source();
    }
    None
}

/// The longest part of a foreign text that an error repeats, in characters.
const SHOWN_MAX: usize = 80;

/// The beginning of `text`, short enough for an error.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// The at most `count` names that look most like `text`, the nearest first; none that look like something else.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<String> {
    /// Below this similarity (of 1) a name is no help.
    const ALIKE: f64 = 0.75;
    let text = shown(text);
    let mut alike: Vec<(f64, &str)> =
        names.into_iter().map(|name| (strsim::jaro_winkler(&text, name), name)).collect();
    alike.retain(|(similarity, _)| *similarity >= ALIKE);
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    alike.into_iter().take(count).map(|(_, name)| name.to_owned()).collect()
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(", did you mean {}?", listed(nearest)) }
}

fn nearest_versions(nearest: &[Version]) -> String {
    match nearest {
        [] => String::new(),
        [one] => format!(", the nearest is `{one}`"),
        many => format!(", the nearest are {}", listed(many)),
    }
}

fn listed<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_exit_codes_follow_from_the_kind() {
        let at = || "https://r.example/v2/a".to_owned();
        let source = |error| Error::Source { image: "a:b".to_owned(), source: Arc::new(error) };
        let full = store::Error::NoSpace { needed: 1, source: io::ErrorKind::StorageFull.into() };
        let cases = [
            ("kernel-foo".parse::<crate::Asset>().unwrap_err(), ErrorClass::BadRequest, 2),
            (crate::Distribution::of(&Version::new(5, 0, 0)).unwrap_err(), ErrorClass::NotFound, 2),
            (Error::NotYet { what: "an ISO image".to_owned() }, ErrorClass::NotImplemented, 3),
            (Error::NotPulled { images: Wanted::default() }, ErrorClass::Unavailable, 5),
            (source(remote::Error::Truncated { at: at(), len: 1, wanted: 2 }), ErrorClass::Unavailable, 5),
            (source(remote::Error::NotFound { at: at() }), ErrorClass::BadGateway, 5),
            (source(store::Error::NotFound { digest: Digest::of(b"") }.into()), ErrorClass::Unavailable, 5),
            (source(full.into()), ErrorClass::Full, 6),
        ];
        for (error, class, exit_code) in cases {
            assert_eq!((error.class(), error.exit_code()), (class, exit_code), "{error}");
        }
    }

    #[test]
    fn nearest_names_come_first_and_strangers_not_at_all() {
        let names = ["siderolabs/qemu-guest-agent", "siderolabs/iscsi-tools", "other"];
        assert_eq!(nearest("siderolabs/qemu-guest", names, 1), ["siderolabs/qemu-guest-agent"]);
        assert_eq!(nearest("zz", names, 3), [""; 0]);
    }
}
