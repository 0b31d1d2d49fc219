//! Whose business an error is: what a server answers and a program exits with.

use std::io;

use formats::{cpio, fat, gpt, pe};

use super::Error;

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

    /// Whether it is for want of something that must be derived.
    pub(crate) fn is_not_derived(&self) -> bool {
        matches!(self, Self::Store(store::Error::NotDerived { .. }))
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
            | Self::TooManyExtensions { .. }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use extent::Digest;

    use super::*;
    use crate::Version;
    use crate::sources::Wanted;

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
}
