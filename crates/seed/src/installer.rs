//! The installer base: what installer images are built on.
//!
//! The factory adds the boot files as a layer. There is no program here that puts them on a disk: the entrypoint
//! says so instead of failing for a reason that nobody understands.
//!
//! Source: imager specification, §9.

use extent::{ExtentMap, Tree, TreeError};

use crate::tree;

/// What the image runs.
pub(crate) const ENTRYPOINT: &str = "/bin/installer";

const INSTALLER: &str = "#!/bin/sh\n\
    echo 'This image carries the boot files of one schematic. It has no installer program:' >&2\n\
    echo 'write a disk image of the same schematic to the disk instead.' >&2\n\
    find /usr/install -type f >&2\n\
    exit 1\n";
/// What the entrypoint needs of busybox.
const APPLETS: [&str; 3] = ["find", "ls", "sh"];

/// The tree of the image's only layer.
pub(crate) fn rootfs(busybox: &ExtentMap) -> Tree {
    tree(busybox).expect("these paths are valid and apart")
}

fn tree(busybox: &ExtentMap) -> Result<Tree, TreeError> {
    let mut rootfs = Tree::new();
    for name in tree::MERGED {
        rootfs.directory(&format!("usr/{name}"), 0o755)?;
        rootfs.symlink(name, &format!("usr/{name}"))?;
    }
    rootfs.directory("usr/install", 0o755)?;
    rootfs.file("usr/bin/busybox", busybox.clone(), 0o755)?;
    for applet in APPLETS {
        rootfs.symlink(&format!("usr/bin/{applet}"), "busybox")?;
    }
    rootfs.file("usr/bin/installer", INSTALLER.as_bytes().to_vec(), 0o755)?;
    Ok(rootfs)
}
