//! Extensions: what a machine can have beyond the base.
//!
//! Each is made of Debian packages. Programs come with the closure of what the base lacks; firmware and modules
//! come alone.
//!
//! ```text
//! manifest.yaml              name, version, author, description, compatibility
//! rootfs/usr/…, rootfs/etc/  merged-usr
//! ```
//!
//! Source: imager specification, §4.1 (layout), §4.4 (which paths are microcode, firmware, modules).

use extent::{ExtentMap, Kind, Tree, TreePath};

use crate::apt::index::Package;
use crate::apt::version::upstream;
use crate::{Arch, Error, modules, tree};

/// One extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension {
    /// The last segment of its repository, and the name in its manifest.
    pub name: &'static str,
    /// The package that it is about: version, author and description are that package's.
    pub package: &'static str,
    /// What of which packages it has.
    pub content: Content,
}

/// What an extension has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// The package, essential packages that it uses without saying so, and the dependencies of all of them, but
    /// for these paths.
    Programs { also: &'static [&'static str], without: &'static [&'static str] },
    /// What the package has below this directory whose name begins so, on these architectures.
    Firmware { below: &'static str, named: &'static str, archs: &'static [Arch] },
    /// Modules of the kernel. The package is whichever one the newest kernel is in.
    Modules { places: &'static [&'static str] },
}

/// All of them, sorted by name.
pub(crate) const EXTENSIONS: [Extension; 8] = [
    Extension {
        name: "amd-ucode",
        package: "amd64-microcode",
        content: Content::Firmware {
            below: "usr/lib/firmware/amd-ucode",
            named: "microcode_amd",
            archs: &[Arch::Amd64],
        },
    },
    Extension { name: "drbd", package: "", content: Content::Modules { places: &modules::DRBD } },
    Extension {
        name: "intel-ucode",
        package: "intel-microcode",
        content: Content::Firmware {
            below: "usr/lib/firmware/intel-ucode",
            named: "",
            archs: &[Arch::Amd64],
        },
    },
    Extension {
        name: "iscsi-tools",
        package: "open-iscsi",
        // A script for bash; `iscsiadm -m discovery` does it as well.
        content: Content::Programs { also: &[], without: &["usr/sbin/iscsi_discovery"] },
    },
    Extension {
        name: "nfs-utils",
        package: "nfs-common",
        // Statistics, written in Python, which no image has.
        content: Content::Programs {
            also: &[],
            without: &[
                "usr/sbin/mountstats",
                "usr/sbin/nfsdclnts",
                "usr/sbin/nfsiostat",
                "usr/sbin/rpcctl",
                "usr/share/nfs-common/nfsconvert.py",
                // A script for bash, to tear down LVM.
                "usr/sbin/blkdeactivate",
            ],
        },
    },
    Extension {
        name: "qemu-guest-agent",
        package: "qemu-guest-agent",
        content: Content::Programs { also: &[], without: &[] },
    },
    Extension {
        name: "realtek-firmware",
        package: "firmware-realtek",
        content: Content::Firmware { below: "usr/lib/firmware", named: "", archs: &Arch::ALL },
    },
    Extension {
        name: "wireguard-tools",
        package: "wireguard-tools",
        // wg-quick is a script for it.
        content: Content::Programs { also: &["bash"], without: &["etc/skel", "usr/bin/bashbug"] },
    },
];

/// The manifest's words about one extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub name: &'static str,
    /// What the manifest calls its version.
    pub version: String,
    /// The tag in its repository: the version with the tag of the set, so that two suites that have the same
    /// upstream version do not take each other's tag.
    pub tag: String,
    pub author: String,
    pub description: String,
}

impl Extension {
    /// Whether there is such an extension for `arch`.
    pub fn is_for(&self, arch: Arch) -> bool {
        !matches!(self.content, Content::Firmware { archs, .. } if !archs.contains(&arch))
    }

    /// What is said of the extension made of `package` in the set `set`, a version tag.
    pub fn about(&self, package: &Package, set: &str) -> About {
        let upstream = upstream(&package.version);
        let tag = format!("{upstream}-{set}");
        let (version, description) = match self.content {
            // Modules fit one kernel, and each set has one.
            Content::Modules { .. } => {
                (tag.clone(), format!("Modules {} of the Linux kernel of Debian", self.name))
            }
            _ => (upstream, package.description.clone()),
        };
        About { name: self.name, version, tag, author: package.maintainer.clone(), description }
    }

    /// The root file system, of the files of its packages.
    ///
    /// # Errors
    /// `FileMissing` when there is nothing of what it is about.
    pub fn rootfs(&self, about: &Package, packages: &[Tree]) -> Result<Tree, Error> {
        let mut rootfs = Tree::new();
        for package in packages {
            crate::rootfs::lay(&mut rootfs, &tree::merged(package));
        }
        match self.content {
            Content::Programs { without, .. } => rootfs = tree::without(rootfs, without),
            Content::Firmware { below, named, .. } => {
                let below = tree::path(below);
                let mut kept = Tree::new();
                for (path, node) in rootfs.iter() {
                    let is_named = node.kind != Kind::Directory && path.name().starts_with(named);
                    if path.is_within(&below) && is_named {
                        tree::insert(&mut kept, path.clone(), node.clone());
                    }
                }
                if kept.is_empty() {
                    let path = format!("{below}/{named}*");
                    return Err(Error::FileMissing { package: about.spec(), path });
                }
                rootfs = kept;
            }
            Content::Modules { .. } => {}
        }
        Ok(rootfs)
    }
}

/// The tree of an extension image.
///
/// # Errors
/// `Tree` for a path that gets too long by this.
pub(crate) fn image(about: &About, rootfs: &Tree) -> Result<Tree, Error> {
    let mut image = Tree::new();
    image.file("manifest.yaml", ExtentMap::inline(about.manifest().into_bytes()), 0o644)?;
    image.directory("rootfs", 0o755)?;
    for (path, node) in rootfs.iter().skip(1) {
        let mut node = node.clone();
        if let Kind::HardLink(target) = &node.kind {
            node.kind = Kind::HardLink(TreePath::parse(&format!("rootfs/{target}"))?);
        }
        image.insert(TreePath::parse(&format!("rootfs/{path}"))?, node)?;
    }
    Ok(image)
}

impl About {
    /// The text of `manifest.yaml`.
    pub fn manifest(&self) -> String {
        format!(
            "version: v1alpha1\nmetadata:\n    name: {}\n    version: {}\n    author: {}\n    description: {}\n    \
             compatibility:\n        talos:\n            version: \">= 1.0.0\"\n",
            quoted(self.name),
            quoted(&self.version),
            quoted(&self.author),
            quoted(&self.description),
        )
    }
}

/// `text` as a YAML scalar: JSON's strings are YAML's.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        let index = crate::apt::index::tests::index(&[&format!("{name} {version}")]);
        let mut package = index.get(name).unwrap().clone();
        package.maintainer = "Some \"Team\"".to_owned();
        package.description = "it: works".to_owned();
        package
    }

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(EXTENSIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn an_image_has_a_manifest_and_a_rootfs_and_nothing_else() {
        let extension = EXTENSIONS.iter().find(|e| e.name == "amd-ucode").unwrap();
        let mut files = Tree::new();
        for path in ["lib/firmware/amd-ucode/microcode_amd.bin", "lib/firmware/amd-ucode/README", "etc/x"] {
            files.file(path, vec![1], 0o644).unwrap();
        }
        let link =
            extent::Node::new(Kind::HardLink(tree::path("lib/firmware/amd-ucode/microcode_amd.bin")), 0o644);
        files.insert(tree::path("lib/firmware/amd-ucode/microcode_amd_b.bin"), link).unwrap();
        let package = package("amd64-microcode", "3.20250311.1~deb12u1");
        let rootfs = extension.rootfs(&package, &[files]).unwrap();
        let about = extension.about(&package, "v12.5.0");
        assert_eq!(about.tag, "3.20250311.1-v12.5.0");
        let image = image(&about, &rootfs).unwrap();
        let paths: Vec<_> =
            image.iter().filter(|(_, n)| n.kind != Kind::Directory).map(|(p, _)| p.as_str()).collect();
        assert_eq!(
            paths,
            [
                "manifest.yaml",
                "rootfs/usr/lib/firmware/amd-ucode/microcode_amd.bin",
                "rootfs/usr/lib/firmware/amd-ucode/microcode_amd_b.bin",
            ]
        );
        assert!(image.content(paths[2]).is_some());
        let none = std::collections::HashMap::new();
        let manifest = extent::read_all(image.content("manifest.yaml").unwrap(), &none, 1000).unwrap();
        assert_eq!(
            String::from_utf8(manifest).unwrap(),
            "version: v1alpha1\nmetadata:\n    name: \"amd-ucode\"\n    version: \"3.20250311.1\"\n    \
             author: \"Some \\\"Team\\\"\"\n    description: \"it: works\"\n    compatibility:\n        talos:\n            \
             version: \">= 1.0.0\"\n"
        );
        assert!(matches!(extension.rootfs(&package, &[]), Err(Error::FileMissing { .. })));
    }

    #[test]
    fn modules_carry_the_version_of_their_set() {
        let drbd = EXTENSIONS.iter().find(|e| e.name == "drbd").unwrap();
        let about = drbd.about(&package("linux-image-6.12.117+deb13-amd64", "6.12.117-1"), "v13.7.0");
        assert_eq!((about.version.as_str(), about.tag.as_str()), ("6.12.117-v13.7.0", "6.12.117-v13.7.0"));
        assert!(drbd.is_for(Arch::Arm64));
        let intel = EXTENSIONS.iter().find(|e| e.name == "intel-ucode").unwrap();
        assert!(!intel.is_for(Arch::Arm64));
    }
}
