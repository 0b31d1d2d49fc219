//! What the reference asks of an extension when it is built. Said, not enforced: the images are there.

use extent::{Kind, TreePath};

use crate::Extension;

/// What a path of an extension begins with. Beginnings of text, as the reference has it: `usr/bin/nvidia-smi-x`
/// is as good as `usr/bin/nvidia-smi`.
const PREFIXES: [&str; 19] = [
    "etc/cri/conf.d",
    "etc/ld.so.cache",
    "etc/ld.so.conf",
    "etc/vulkan",
    "usr/bin/ldconfig",
    "usr/bin/nvidia-cdi-hook",
    "usr/bin/nvidia-ctk",
    "usr/bin/nvidia-modprobe",
    "usr/bin/nvidia-pcc",
    "usr/bin/nvidia-smi",
    "usr/bin/nvme",
    "usr/lib/firmware",
    "usr/lib/ld-linux-aarch64.so.1",
    "usr/lib/ld-linux-x86-64.so.2",
    "usr/lib/modules",
    "usr/lib/udev/rules.d",
    "usr/local",
    "usr/share/egl",
    "usr/share/glvnd",
];

/// Something unusual in an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Everybody may write to it.
    WorldWritable(TreePath),
    /// It is a device, a pipe or a socket.
    Special(TreePath),
    /// It is where extensions have nothing to do.
    Elsewhere(TreePath),
}

/// What is unusual in `extension`, in the order of its paths.
pub fn lint(extension: &Extension) -> Vec<Finding> {
    let mut findings = vec![];
    for (path, node) in extension.rootfs.iter() {
        let special =
            !matches!(node.kind, Kind::File(_) | Kind::HardLink(_) | Kind::Directory | Kind::Symlink(_));
        // The mode of a symbolic link means nothing; a directory like `/tmp` is not everybody's.
        let sticky = node.kind == Kind::Directory && node.mode & 0o1000 != 0;
        if node.mode & 0o002 != 0 && !matches!(node.kind, Kind::Symlink(_)) && !sticky {
            findings.push(Finding::WorldWritable(path.clone()));
        }
        if special {
            findings.push(Finding::Special(path.clone()));
        }
        let placed = PREFIXES.iter().any(|prefix| path.as_str().starts_with(prefix));
        if node.kind != Kind::Directory && !placed {
            findings.push(Finding::Elsewhere(path.clone()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use extent::{Node, Tree};

    use super::*;
    use crate::Manifest;

    #[test]
    fn what_is_unusual_is_found_and_nothing_else() {
        let path = |text| TreePath::parse(text).unwrap();
        let mut rootfs = Tree::new();
        rootfs.file("usr/local/bin/tool", vec![], 0o755).unwrap();
        rootfs.file("usr/bin/nvidia-smi-extra", vec![], 0o755).unwrap();
        rootfs.symlink("usr/local/link", "bin").unwrap();
        rootfs.directory("usr/local/tmp", 0o1777).unwrap();
        let mut extension = Extension { manifest: Manifest::default(), rootfs };
        assert_eq!(lint(&extension), []);

        extension.rootfs.file("usr/local/open", vec![], 0o666).unwrap();
        extension.rootfs.file("usr/sbin/tool", vec![], 0o755).unwrap();
        extension.rootfs.insert(path("usr/local/null"), Node::new(Kind::Fifo, 0o600)).unwrap();
        assert_eq!(
            lint(&extension),
            [
                Finding::Special(path("usr/local/null")),
                Finding::WorldWritable(path("usr/local/open")),
                Finding::Elsewhere(path("usr/sbin/tool")),
            ]
        );
    }
}
