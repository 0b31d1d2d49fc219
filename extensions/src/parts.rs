//! Splitting an extension: early microcode, firmware, and the layer that is left.

use extent::{ExtentMap, Kind, Node, Tree, TreePath};

use crate::inodes::Inodes;
use crate::microcode::{self, Vendor};
use crate::{Error, Extension, Manifest};

/// The attributes that a layer keeps: the label that the reference keeps, and capabilities, without which
/// programs of Debian do not work.
const XATTRS: [&str; 2] = ["security.selinux", "security.capability"];

/// Where a base has its firmware and modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The directory of firmware.
    pub firmware: TreePath,
    /// The directory of modules, which has one directory for each kernel release.
    pub modules: TreePath,
}

impl Paths {
    /// `usr/lib/firmware` and `usr/lib/modules`: Debian, and Talos from 1.10.0 on.
    pub fn merged_usr() -> Self {
        Self::below("usr/lib")
    }

    /// `lib/firmware` and `lib/modules`: Talos below 1.10.0.
    pub fn split_usr() -> Self {
        Self::below("lib")
    }

    fn below(lib: &str) -> Self {
        let path = |name| TreePath::parse(&format!("{lib}/{name}")).expect("two or three plain names");
        Self { firmware: path("firmware"), modules: path("modules") }
    }
}

/// What an extension adds, by where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// What the extension says of itself.
    pub manifest: Manifest,
    /// For `kernel/x86/microcode/GenuineIntel.bin`; empty for most.
    pub intel_ucode: ExtentMap,
    /// For `kernel/x86/microcode/AuthenticAMD.bin`; empty for most.
    pub amd_ucode: ExtentMap,
    /// For the initramfs itself: the firmware at its path, with nothing else; empty for most.
    pub firmware: Tree,
    /// For the squashfs: the rest. A layer even when it is empty.
    pub layer: Tree,
    /// The kernels that the layer has modules for; none where it has no directory of modules. Any list, even
    /// an empty one, asks for [`crate::modules_dep`].
    pub module_releases: Option<Vec<String>>,
}

impl Extension {
    /// Splits the extension.
    ///
    /// What is neither file, directory nor link, a device say, becomes an empty file, as the reference has it: the
    /// layer lies over the root of the machine, where a device would be one.
    ///
    /// Microcode is gone from the rest, firmware is moved. A hard link whose file goes another way becomes a copy
    /// of it; symbolic links stay links. All belongs to root, and of extended attributes only
    /// `security.selinux` and `security.capability` are kept.
    ///
    /// Directories that microcode leaves empty go as well: an empty directory of firmware in the initramfs would
    /// hide the firmware of the base.
    ///
    /// # Errors
    /// `Microcode`, `HardLink`, `Tree`.
    pub fn split(self, paths: &Paths) -> Result<Parts, Error> {
        let Self { manifest, rootfs } = self;
        let mut layer = Inodes::of(&rootfs)?;
        layer.change(|node| {
            (node.uid, node.gid) = (0, 0);
            node.xattrs.retain(|name, _| XATTRS.contains(&name.as_str()));
            if is_special(&node.kind) {
                node.kind = Kind::File(ExtentMap::new());
            }
            if node.kind == Kind::Directory {
                node.mode |= 0o700;
            }
        });
        let intel_ucode = microcode::take(&mut layer, &paths.firmware, Vendor::Intel, &manifest.name)?;
        let amd_ucode = microcode::take(&mut layer, &paths.firmware, Vendor::Amd, &manifest.name)?;
        let took_some = !intel_ucode.is_empty() || !amd_ucode.is_empty();
        if took_some && is_empty_directory(&layer, &paths.firmware) {
            layer.remove(&paths.firmware);
        }
        let firmware = if layer.get(&paths.firmware).is_some() {
            let mut firmware = layer.take(&paths.firmware);
            // Nobody but root writes to the initramfs.
            firmware.change(|node| node.mode &= !0o022);
            firmware.into_tree()?
        } else {
            Tree::new()
        };
        let is_directory = |node: Option<&Node>| matches!(node, Some(Node { kind: Kind::Directory, .. }));
        let module_releases = is_directory(layer.get(&paths.modules)).then(|| {
            let releases =
                layer.children(&paths.modules).into_iter().filter(|(_, node)| is_directory(Some(node)));
            releases.map(|(path, _)| path.name().to_owned()).collect()
        });
        let layer = layer.into_tree()?;
        Ok(Parts { manifest, intel_ucode, amd_ucode, firmware, layer, module_releases })
    }
}

/// Whether it is a device, a pipe or a socket.
fn is_special(kind: &Kind) -> bool {
    !matches!(kind, Kind::File(_) | Kind::HardLink(_) | Kind::Directory | Kind::Symlink(_))
}

/// Whether `path` is a directory without entries.
fn is_empty_directory(inodes: &Inodes, path: &TreePath) -> bool {
    matches!(inodes.get(path), Some(Node { kind: Kind::Directory, .. })) && inodes.children(path).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    fn extension(files: &[&str]) -> Extension {
        let mut rootfs = Tree::new();
        for file in files {
            rootfs.file(file, file.as_bytes().to_vec(), 0o666).unwrap();
        }
        Extension { manifest: Manifest { name: "x".into(), ..Manifest::default() }, rootfs }
    }

    fn names(tree: &Tree) -> Vec<&str> {
        tree.iter().skip(1).map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn each_part_goes_its_way() {
        let mut extension = extension(&[
            "usr/lib/firmware/intel-ucode/06-9e-0d",
            "usr/lib/firmware/intel-ucode/06-8e-09",
            "usr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin",
            "usr/lib/firmware/amd-ucode/microcode_amd.bin",
            "usr/lib/firmware/amd-ucode/README",
            "usr/lib/firmware/rtl_nic/rtl8168h-2.fw",
            "usr/lib/modules/6.1.0-50-amd64/extra/drbd.ko",
            "usr/local/bin/tool",
        ]);
        extension.rootfs.symlink("usr/lib/firmware/alias.fw", "rtl_nic/rtl8168h-2.fw").unwrap();
        let parts = extension.split(&Paths::merged_usr()).unwrap();
        let joined = "usr/lib/firmware/intel-ucode/06-8e-09usr/lib/firmware/intel-ucode/06-9e-0d";
        assert_eq!(parts.intel_ucode, ExtentMap::inline(joined.as_bytes()));
        let joined =
            "usr/lib/firmware/amd-ucode/microcode_amd.binusr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin";
        assert_eq!(parts.amd_ucode, ExtentMap::inline(joined.as_bytes()));
        assert_eq!(
            names(&parts.firmware),
            [
                "usr",
                "usr/lib",
                "usr/lib/firmware",
                "usr/lib/firmware/alias.fw",
                "usr/lib/firmware/amd-ucode",
                "usr/lib/firmware/amd-ucode/README",
                "usr/lib/firmware/rtl_nic",
                "usr/lib/firmware/rtl_nic/rtl8168h-2.fw",
            ]
        );
        let alias = &parts.firmware.get(&path("usr/lib/firmware/alias.fw")).unwrap().kind;
        assert_eq!(*alias, Kind::Symlink("rtl_nic/rtl8168h-2.fw".into()));
        let file = parts.firmware.get(&path("usr/lib/firmware/rtl_nic/rtl8168h-2.fw")).unwrap();
        assert_eq!(file.mode, 0o644);
        assert_eq!(
            names(&parts.layer),
            [
                "usr",
                "usr/lib",
                "usr/lib/modules",
                "usr/lib/modules/6.1.0-50-amd64",
                "usr/lib/modules/6.1.0-50-amd64/extra",
                "usr/lib/modules/6.1.0-50-amd64/extra/drbd.ko",
                "usr/local",
                "usr/local/bin",
                "usr/local/bin/tool",
            ]
        );
        assert_eq!(parts.module_releases, Some(vec!["6.1.0-50-amd64".to_owned()]));
    }

    #[test]
    fn an_extension_of_microcode_alone_brings_no_firmware_directory() {
        let parts =
            extension(&["usr/lib/firmware/intel-ucode/06-8e-09"]).split(&Paths::merged_usr()).unwrap();
        assert!(parts.firmware.is_empty());
        assert_eq!(names(&parts.layer), ["usr", "usr/lib"], "a layer all the same");
        assert_eq!(parts.module_releases, None);

        let mut empty = extension(&["usr/lib/x"]);
        empty.rootfs.directory("usr/lib/firmware", 0o755).unwrap();
        let parts = empty.split(&Paths::merged_usr()).unwrap();
        assert_eq!(names(&parts.firmware).len(), 3, "what is not microcode's is as the author made it");
    }

    #[test]
    fn older_systems_have_their_own_paths() {
        let files = ["lib/firmware/a.fw", "lib/modules/5.15/x.ko", "usr/lib/firmware/b.fw"];
        let parts = extension(&files).split(&Paths::split_usr()).unwrap();
        assert_eq!(names(&parts.firmware), ["lib", "lib/firmware", "lib/firmware/a.fw"]);
        assert_eq!(parts.module_releases, Some(vec!["5.15".to_owned()]));
        assert!(parts.layer.content("usr/lib/firmware/b.fw").is_some());
    }

    #[test]
    fn a_link_whose_file_goes_another_way_is_a_copy() {
        let mut extension = extension(&["usr/lib/firmware/a.fw", "usr/lib/firmware/intel-ucode/06-8e-09"]);
        for (link, target) in [
            ("usr/lib/firmware/b.fw", "usr/lib/firmware/a.fw"),
            ("usr/share/a.fw", "usr/lib/firmware/a.fw"),
            ("usr/share/ucode", "usr/lib/firmware/intel-ucode/06-8e-09"),
        ] {
            extension.rootfs.insert(path(link), Node::new(Kind::HardLink(path(target)), 0o644)).unwrap();
        }
        let parts = extension.split(&Paths::merged_usr()).unwrap();
        let content = |text: &str| Kind::File(ExtentMap::inline(text.as_bytes().to_vec()));
        let kind = |tree: &Tree, name| tree.get(&path(name)).unwrap().kind.clone();
        assert_eq!(kind(&parts.firmware, "usr/lib/firmware/a.fw"), content("usr/lib/firmware/a.fw"));
        assert_eq!(
            kind(&parts.firmware, "usr/lib/firmware/b.fw"),
            Kind::HardLink(path("usr/lib/firmware/a.fw"))
        );
        assert_eq!(kind(&parts.layer, "usr/share/a.fw"), content("usr/lib/firmware/a.fw"));
        assert_eq!(kind(&parts.layer, "usr/share/ucode"), content("usr/lib/firmware/intel-ucode/06-8e-09"));
    }

    #[test]
    fn all_belongs_to_root_and_labels_stay() {
        let mut extension = extension(&["etc/a"]);
        let node = extension.rootfs.get_mut(&path("etc/a")).unwrap();
        (node.uid, node.gid) = (1000, 1000);
        for name in ["security.selinux", "security.capability", "user.note"] {
            node.xattrs.insert(name.to_owned(), b"x".to_vec());
        }
        extension.rootfs.directory("etc", 0o055).unwrap();
        let parts = extension.split(&Paths::merged_usr()).unwrap();
        let node = parts.layer.get(&path("etc/a")).unwrap();
        assert_eq!((node.uid, node.gid, node.mode), (0, 0, 0o666));
        assert_eq!(node.xattrs.keys().collect::<Vec<_>>(), ["security.capability", "security.selinux"]);
        assert_eq!(parts.layer.get(&path("etc")).unwrap().mode, 0o755, "root can always enter");
    }

    #[test]
    fn devices_become_empty_files() {
        let mut extension = extension(&["dev/x"]);
        let whiteout = Kind::CharDevice { major: 0, minor: 0 };
        for (i, kind) in [whiteout, Kind::BlockDevice { major: 8, minor: 0 }, Kind::Fifo, Kind::Socket]
            .into_iter()
            .enumerate()
        {
            extension.rootfs.insert(path(&format!("dev/{i}")), Node::new(kind, 0o4666)).unwrap();
        }
        let parts = extension.split(&Paths::merged_usr()).unwrap();
        for i in 0..4 {
            let node = parts.layer.get(&path(&format!("dev/{i}"))).unwrap();
            assert_eq!((&node.kind, node.mode), (&Kind::File(ExtentMap::new()), 0o4666));
        }
    }

    #[test]
    fn an_empty_extension_is_an_empty_layer() {
        let parts = extension(&[]).split(&Paths::merged_usr()).unwrap();
        assert!(parts.layer.is_empty() && parts.firmware.is_empty());
    }
}
