//! The manifest of an extension image.

use serde::{Deserialize, Serialize};

use crate::{Error, Range};

/// The only version of manifests.
pub const MANIFEST_VERSION: &str = "v1alpha1";

/// The longest manifest that is read. The longest field, `extraInfo` of the schematic, is a schematic; those are
/// tens of kilobytes at most.
pub(crate) const MANIFEST_LEN_MAX: u64 = 1 << 20;

/// What an extension says of itself.
///
/// Texts are as the author wrote them: none is fit for a path, a shell or a YAML document as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name; never empty.
    pub name: String,
    /// Its own version, in any form.
    pub version: String,
    /// Who made it.
    pub author: String,
    /// What it is.
    pub description: String,
    /// The versions of the base that it is for.
    pub compatibility: Range,
    /// Anything else; empty for most.
    pub extra_info: String,
}

impl Manifest {
    /// Parses `manifest.yaml`. Unknown keys are passed over; a number in place of a text is its text.
    ///
    /// # Errors
    /// `ManifestTooLong`, `Manifest`, `ManifestVersion`, `ManifestField`, `Range`.
    pub fn parse(yaml: &[u8]) -> Result<Self, Error> {
        if yaml.len() as u64 > MANIFEST_LEN_MAX {
            return Err(Error::ManifestTooLong { len: yaml.len() as u64, max: MANIFEST_LEN_MAX });
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Document = serde_saphyr::from_slice_with_options(yaml, options)
            .map_err(|error| Error::Manifest(Box::new(error)))?;
        let found = document.version.unwrap_or_default();
        if found != MANIFEST_VERSION {
            let found = found.chars().take(80).collect();
            return Err(Error::ManifestVersion { found, expected: MANIFEST_VERSION });
        }
        let metadata = document.metadata.ok_or(Error::ManifestField { field: "metadata" })?;
        let name = metadata.name.filter(|name| !name.is_empty());
        let range = metadata.compatibility.unwrap_or_default().talos.unwrap_or_default().version;
        Ok(Self {
            name: name.ok_or(Error::ManifestField { field: "metadata.name" })?,
            version: metadata.version.unwrap_or_default(),
            author: metadata.author.unwrap_or_default(),
            description: metadata.description.unwrap_or_default(),
            compatibility: range.unwrap_or_default().parse()?,
            extra_info: metadata.extra_info.unwrap_or_default(),
        })
    }

    /// Checks that the extension is for `version`, of which major, minor and patch count.
    ///
    /// # Errors
    /// `Incompatible`.
    pub fn check(&self, version: &semver::Version) -> Result<(), Error> {
        if self.compatibility.contains(version) {
            return Ok(());
        }
        Err(Error::Incompatible {
            name: self.name.clone(),
            range: self.compatibility.to_string(),
            version: version.clone(),
        })
    }
}

/// `manifest.yaml`.
#[derive(Deserialize)]
struct Document {
    version: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    version: Option<String>,
    author: Option<String>,
    description: Option<String>,
    compatibility: Option<Compatibility>,
    extra_info: Option<String>,
}

#[derive(Default, Deserialize)]
struct Compatibility {
    talos: Option<Versions>,
}

#[derive(Default, Deserialize)]
struct Versions {
    version: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GVISOR: &str = "\
version: v1alpha1
metadata:
  name: gvisor
  version: 20240910
  author: Sidero Labs
  description: |
    [core] This system extension provides gVisor.
  compatibility:
    talos:
      version: '>= v1.5.0'
";

    #[test]
    fn a_manifest_says_what_its_author_wrote() {
        let manifest = Manifest::parse(GVISOR.as_bytes()).unwrap();
        assert_eq!(manifest.name, "gvisor");
        assert_eq!(manifest.version, "20240910", "a number is its text");
        assert_eq!(manifest.description, "[core] This system extension provides gVisor.\n");
        assert_eq!(manifest.compatibility.to_string(), ">= v1.5.0");
        assert_eq!(manifest.extra_info, "");
        assert!(manifest.check(&"1.5.0-alpha.1".parse().unwrap()).is_ok());
        let error = manifest.check(&"1.4.9".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "extension `gvisor` is for versions `>= v1.5.0`, not for `1.4.9`");
    }

    #[test]
    fn what_is_derived_from_an_image_can_be_kept() {
        let manifest = Manifest::parse(GVISOR.as_bytes()).unwrap();
        let kept = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&kept).unwrap(), manifest);
    }

    #[test]
    fn little_is_required_and_unknown_keys_are_passed_over() {
        let manifest =
            Manifest::parse(b"version: v1alpha1\nmetadata: {name: x, later: [1]}\nmore: ~").unwrap();
        assert_eq!(manifest, Manifest { name: "x".to_owned(), ..Manifest::default() });
        assert!(manifest.check(&"0.0.1".parse().unwrap()).is_ok(), "no range is any version");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |yaml: &str| Manifest::parse(yaml.as_bytes()).unwrap_err();
        assert_eq!(
            error("version: v1beta1\nmetadata: {name: x}").to_string(),
            "`manifest.yaml` has version `v1beta1`; the only one is `v1alpha1`"
        );
        assert!(matches!(error("metadata: {name: x}"), Error::ManifestVersion { .. }));
        assert!(matches!(error("version: v1alpha1"), Error::ManifestField { field: "metadata" }));
        assert!(matches!(
            error("version: v1alpha1\nmetadata: {name: ''}"),
            Error::ManifestField { field: "metadata.name" }
        ));
        assert!(matches!(error(""), Error::ManifestVersion { .. }));
        for yaml in ["- a", "version: [", "version: v1alpha1\nversion: v1alpha1", "\u{0}"] {
            assert!(matches!(error(yaml), Error::Manifest(_)), "{yaml:?}");
        }
        let range = GVISOR.replace(">= v1.5.0", "about 1.5");
        assert!(matches!(error(&range), Error::Range { at, .. } if at == "about"));
        let long = format!("{GVISOR}# {}", "x".repeat(1 << 20));
        assert!(matches!(error(&long), Error::ManifestTooLong { .. }));
    }

    proptest! {
        #[test]
        fn damaged_manifests_never_panic(at in 0..GVISOR.len(), byte: u8, cut in 0..GVISOR.len()) {
            let mut yaml = GVISOR.as_bytes().to_vec();
            yaml[at] = byte;
            let _ = Manifest::parse(&yaml);
            let _ = Manifest::parse(&yaml[..cut]);
        }
    }
}
