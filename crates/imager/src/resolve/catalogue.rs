//! The catalogue of a version: which extension images there are.
//!
//! ```text
//! image-digests       <registry>/<repository>:<tag>@sha256:<hex>, one a line
//! descriptions.yaml   the whole line → author, description
//! ```
//!
//! Source: `siderolabs/extensions`, the image as published; the reference's factory for the aliases.

use std::collections::{BTreeMap, BTreeSet};

use extent::{Digest, read_all};
use serde::{Deserialize, Serialize};
use store::Store;

use super::image::Image;
use crate::Error;
use crate::sources::Place;

/// The longest catalogue file in bytes: a hundred times what the reference publishes.
const FILE_LEN_MAX: u64 = 4 << 20;

/// An extension that a version offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The name that schematics use: the repository (`siderolabs/qemu-guest-agent`).
    pub name: String,
    /// The image by tag, with its registry.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The image by digest.
    pub digest: Digest,
    /// Who made it.
    pub author: String,
    /// What it is.
    pub description: String,
}

/// How many names an error offers.
const NEAREST_NAMES: usize = 3;

/// What a version offers, by name, and from where.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub entries: Vec<(Place, Offer)>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Description {
    author: String,
    description: String,
}

/// Names that extensions had before, and the names under which they may be found now; without `siderolabs/`.
const ALIASES: [(&str, &str); 11] = [
    ("v4l-uvc", "v4l-uvc-drivers"),
    ("usb-modem", "usb-modem-drivers"),
    ("gasket", "gasket-driver"),
    ("talos-vmtoolsd", "vmtoolsd-guest-agent"),
    ("xe-guest-utilities", "xen-guest-agent"),
    ("nvidia-container-toolkit", "nvidia-container-toolkit-lts"),
    ("nvidia-open-gpu-kernel-modules", "nvidia-open-gpu-kernel-modules-lts"),
    ("nonfree-kmod-nvidia", "nonfree-kmod-nvidia-lts"),
    ("nvidia-fabricmanager", "nvidia-fabric-manager-lts"),
    ("i915-ucode", "i915"),
    ("amdgpu-firmware", "amdgpu"),
];

impl Catalogue {
    /// Reads the catalogue image, which is from `place`.
    pub fn read(store: &Store, image: &Image, place: Place) -> Result<Self, Error> {
        let tree = image.tree(store)?;
        let text = |path| -> Result<String, Error> {
            let bytes = read_all(image.file(&tree, path)?, store, FILE_LEN_MAX).map_err(|source| {
                Error::CatalogueFile { image: image.name.clone(), path, source: source.into() }
            })?;
            String::from_utf8(bytes).map_err(|source| Error::CatalogueFile {
                image: image.name.clone(),
                path,
                source: source.into(),
            })
        };
        let descriptions = serde_saphyr::from_str(&text("descriptions.yaml")?).map_err(|source| {
            let path = "descriptions.yaml";
            Error::CatalogueFile { image: image.name.clone(), path, source: source.into() }
        })?;
        Ok(Self::parse(&text("image-digests")?, descriptions, place))
    }

    fn parse(lines: &str, mut descriptions: BTreeMap<String, Description>, place: Place) -> Self {
        let entries = lines.lines().filter_map(|line| {
            let line = line.trim();
            let (reference, digest) = line.split_once('@')?;
            // The registry is the part before the first slash, the tag what follows the last colon after it.
            let (repository, _tag) = reference.split_once('/')?.1.rsplit_once(':')?;
            let Description { author, description } = descriptions.remove(line).unwrap_or_default();
            let offer = Offer {
                name: repository.to_owned(),
                reference: reference.to_owned(),
                digest: digest.parse().ok()?,
                author,
                description,
            };
            Some((place, offer))
        });
        Self { entries: entries.collect() }
    }

    /// What is in this one, and then what `below` has under other names.
    pub fn over(mut self, below: Self) -> Self {
        let own: BTreeSet<String> = self.offers().map(|offer| offer.name.clone()).collect();
        self.entries.extend(below.entries.into_iter().filter(|(_, offer)| !own.contains(&offer.name)));
        self
    }

    /// All that is offered, in order.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.entries.iter().map(|(_, offer)| offer)
    }

    /// The extension that `asked` names, by its own name or by one it had before.
    pub fn find(&self, asked: &str) -> Option<&(Place, Offer)> {
        let named = |name: &str| self.entries.iter().find(|(_, offer)| offer.name == name);
        named(asked).or_else(|| {
            let (_, now) =
                ALIASES.iter().find(|(before, _)| asked.strip_prefix("siderolabs/") == Some(before))?;
            named(&format!("siderolabs/{now}"))
        })
    }

    /// The names that look most like `asked`, with or without `siderolabs/` in front.
    pub fn nearest(&self, asked: &str) -> Vec<String> {
        let full = if asked.contains('/') { asked.to_owned() } else { format!("siderolabs/{asked}") };
        // The common beginning makes all names alike: it is left out of the comparison.
        let (owner, name) = full.split_once('/').unwrap_or(("", &full));
        let prefix = format!("{owner}/");
        let same_owner = self.offers().filter_map(|offer| offer.name.strip_prefix(&prefix));
        let alike = crate::error::nearest(name, same_owner, NEAREST_NAMES);
        if alike.is_empty() {
            return crate::error::nearest(&full, self.offers().map(|offer| &*offer.name), NEAREST_NAMES);
        }
        alike.into_iter().map(|name| format!("{prefix}{name}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(names: &[&str]) -> Catalogue {
        let hex = "ab".repeat(32);
        let lines: Vec<String> =
            names.iter().map(|name| format!("ghcr.io/{name}:v1.2.3@sha256:{hex}")).collect();
        Catalogue::parse(&lines.join("\n"), BTreeMap::new(), Place::Core)
    }

    #[test]
    fn lines_that_are_no_references_are_passed_over() {
        let hex = "ab".repeat(32);
        let line = format!("localhost:5000/siderolabs/a:v1@sha256:{hex}");
        let text =
            format!("\n# x\n{line}\nghcr.io/b:1\nghcr.io/c@sha256:{hex}\nghcr.io/siderolabs/d:1@sha256:zz\n");
        let description = Description { author: "me".to_owned(), description: "it".to_owned() };
        let catalogue = Catalogue::parse(&text, BTreeMap::from([(line, description)]), Place::Core);
        assert_eq!(
            catalogue.offers().cloned().collect::<Vec<_>>(),
            [Offer {
                name: "siderolabs/a".to_owned(),
                reference: "localhost:5000/siderolabs/a:v1".to_owned(),
                digest: Digest::from_hex(&hex).unwrap(),
                author: "me".to_owned(),
                description: "it".to_owned(),
            }]
        );
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let catalogue =
            catalogue(&["siderolabs/qemu-guest-agent", "siderolabs/iscsi-tools", "siderolabs/nfs-utils"]);
        for (asked, expected) in [
            ("siderolabs/qemu-agent", "siderolabs/qemu-guest-agent"),
            ("qemu-guest-agent", "siderolabs/qemu-guest-agent"),
            ("siderolabs/iscsi", "siderolabs/iscsi-tools"),
            ("siderolab/nfs-utils", "siderolabs/nfs-utils"),
        ] {
            assert_eq!(catalogue.nearest(asked).first().map(String::as_str), Some(expected), "{asked}");
        }
        // Like none of them: what there is helps more than nothing.
        assert_eq!(catalogue.nearest("siderolabs/zzz").len(), 3);
    }

    #[test]
    fn what_lies_above_hides_the_same_name_below() {
        let place = Place::Catalogue(0);
        let hex = "cd".repeat(32);
        let line = |name: &str| format!("r.example/{name}:v9@sha256:{hex}\n");
        let lines = line("siderolabs/b") + &line("acme/tool");
        let above = Catalogue::parse(&lines, BTreeMap::new(), place);
        let both = above.over(catalogue(&["siderolabs/a", "siderolabs/b"]));
        let found: Vec<_> = both.entries.iter().map(|(place, offer)| (*place, offer.name.as_str())).collect();
        let want = [(place, "siderolabs/b"), (place, "acme/tool"), (Place::Core, "siderolabs/a")];
        assert_eq!(found, want);
        assert_eq!(both.find("siderolabs/b").unwrap().1.digest, Digest::from_hex(&hex).unwrap());
    }

    #[test]
    fn earlier_names_are_tried_only_where_the_name_itself_is_absent() {
        let newer = catalogue(&["siderolabs/i915", "siderolabs/gasket-driver"]);
        assert_eq!(newer.find("siderolabs/i915-ucode").unwrap().1.name, "siderolabs/i915");
        assert_eq!(newer.find("siderolabs/gasket").unwrap().1.name, "siderolabs/gasket-driver");
        assert!(newer.find("gasket").is_none());
        let older = catalogue(&["siderolabs/i915-ucode", "siderolabs/i915"]);
        assert_eq!(older.find("siderolabs/i915-ucode").unwrap().1.name, "siderolabs/i915-ucode");
    }
}
