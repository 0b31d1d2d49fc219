//! What a path below `/v2/` names.
//!
//! ```text
//! <image>/<schematic>/manifests/<tag or digest>     an installer image
//! siderolabs/<name>/blobs/<digest>                  a source image, from the store
//!                  /referrers/<digest>
//!                  /tags/list
//! ```
//!
//! `<image>` is `installer` or `<platform>-installer`, with `-secureboot` behind it.
//!
//! Source: OCI distribution specification 1.1, endpoints.

use extent::Digest;
use imager::InstallerName;

use crate::error::Error;

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// Installer images of a schematic.
    Installer {
        /// Which of them.
        image: InstallerName,
        /// The id of the schematic, as it was written.
        schematic: String,
    },
    /// Anything else: a source image, if there is one.
    Source(String),
}

/// What is wanted of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The manifest or index with this tag.
    Tag(String),
    /// The manifest or index with this digest.
    Manifest(Digest),
    /// A blob.
    Blob(Digest),
    /// What refers to a manifest.
    Referrers(Digest),
    /// The list of tags.
    Tags,
}

/// How much of a path an error repeats.
const SHOWN_LEN_MAX: usize = 255;

/// What `path` names, which is behind `/v2/`.
///
/// # Errors
/// 400 for what no registry has, 404 for what this one has not.
pub fn parse(path: &str) -> Result<(Repository, Wanted), Error> {
    let unknown = || {
        let shown: String = path.chars().take(SHOWN_LEN_MAX).collect();
        Error::not_found(format!("unknown registry path: {shown:?}")).because("name-unknown")
    };
    let (rest, last) = path.rsplit_once('/').ok_or_else(unknown)?;
    let (name, kind) = rest.rsplit_once('/').ok_or_else(unknown)?;
    if !store::is_repository(name) {
        return Err(Error::bad_request("this is no name of a repository").because("name-invalid"));
    }
    let wanted = match kind {
        "manifests" if last.contains(':') => Wanted::Manifest(digest(last)?),
        "manifests" if store::is_tag(last) => Wanted::Tag(last.to_owned()),
        "manifests" => return Err(Error::not_found("this is no tag").because("manifest-unknown")),
        "blobs" => Wanted::Blob(digest(last)?),
        "referrers" => Wanted::Referrers(digest(last)?),
        "tags" if last == "list" => Wanted::Tags,
        _ => return Err(unknown()),
    };
    let repository = match name.split_once('/') {
        Some((image, schematic)) if !schematic.contains('/') && image != "siderolabs" => {
            match InstallerName::parse(image) {
                Some(image) => Repository::Installer { image, schematic: schematic.to_owned() },
                None => Repository::Source(name.to_owned()),
            }
        }
        _ => Repository::Source(name.to_owned()),
    };
    Ok((repository, wanted))
}

fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|_| {
        Error::bad_request("this is no digest: expected `sha256:` and 64 lower-case hexadecimal digits")
            .because("digest-invalid")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

    #[test]
    fn paths_name_what_the_specification_says() {
        let installer = |image: &str| Repository::Installer {
            image: InstallerName::parse(image).unwrap(),
            schematic: HEX.to_owned(),
        };
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        for (path, repository, wanted) in [
            (
                format!("installer/{HEX}/manifests/v1.10.0"),
                installer("installer"),
                Wanted::Tag("v1.10.0".to_owned()),
            ),
            (
                format!("aws-installer-secureboot/{HEX}/manifests/sha256:{HEX}"),
                installer("aws-installer-secureboot"),
                Wanted::Manifest(digest),
            ),
            (
                format!("metal-installer/{HEX}/blobs/sha256:{HEX}"),
                installer("metal-installer"),
                Wanted::Blob(digest),
            ),
            (
                format!("siderolabs/installer/referrers/sha256:{HEX}"),
                Repository::Source("siderolabs/installer".to_owned()),
                Wanted::Referrers(digest),
            ),
            (
                "siderolabs/a/b-c/tags/list".to_owned(),
                Repository::Source("siderolabs/a/b-c".to_owned()),
                Wanted::Tags,
            ),
        ] {
            assert_eq!(parse(&path).unwrap(), (repository, wanted), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_of_a_registry_is_refused() {
        for path in [
            "",
            "a",
            "_catalog",
            "installer/tags/list/x",
            "a/b/other/c",
            "A/b/tags/list",
            "a//b/tags/list",
            "../b/tags/list",
            "a/b/manifests/",
            "a/b/manifests/-x",
            "a/b/manifests/x y",
            "a/b/blobs/sha256:12",
            "a/b/blobs/md5:12",
            "a/b/blobs/v1",
            "a/b/manifests/sha256:ABC",
            "a.-b/tags/list",
            "a___b/tags/list",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
        assert!(parse(&format!("{}/tags/list", "a".repeat(300))).is_err());
        assert!(parse(&format!("a/b/manifests/{}", "a".repeat(129))).is_err());
    }
}
