//! Kernel modules: which of them the base carries, and their index.
//!
//! Debian builds every driver there is; a server at the edge needs a third of them. What the base leaves out is
//! listed here, and what depends on something left out is left out as well, so that every module of the base can
//! be loaded. Modules are never stripped or recompressed: their signatures cover the whole file.
//!
//! The index (`modules.dep` and its kin) is made by the real `depmod`, twice: over all modules to learn what
//! depends on what, and over those that stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use extent::{ExtentMap, Kind, Node, Tree, TreePath};

use crate::apt::process::last_words;
use crate::scratch::{Scratch, reader};
use crate::{Error, tree};

/// Where modules lie in a merged-usr system.
pub(crate) const MODULES: &str = "usr/lib/modules";

/// Directories and modules, relative to `kernel/`, that the base leaves out.
const LEFT_OUT: &[&str] = &[
    // An image for the screen is drawn by the firmware's frame buffer; nobody listens or plays.
    "drivers/accel",
    "drivers/gpu",
    "drivers/input/gameport",
    "drivers/input/joystick",
    "drivers/input/tablet",
    "drivers/input/touchscreen",
    "drivers/media",
    "drivers/video/backlight",
    "drivers/video/fbdev",
    "sound",
    // Radio, and buses of phones, ships and cars. Wi-Fi is an extension's business, with its firmware.
    "drivers/bluetooth",
    "drivers/net/can",
    "drivers/net/hamradio",
    "drivers/net/ieee802154",
    "drivers/net/wireless",
    "drivers/net/wwan",
    "drivers/nfc",
    "net/6lowpan",
    "net/ax25",
    "net/bluetooth",
    "net/can",
    "net/ieee802154",
    "net/mac80211",
    "net/mac802154",
    "net/netrom",
    "net/nfc",
    "net/rose",
    "net/wireless",
    // Fabrics of clusters.
    "drivers/infiniband",
    "net/rds",
    "net/smc",
    // Laboratory, desktop and laptop.
    "drivers/comedi",
    "drivers/counter",
    "drivers/iio",
    "drivers/platform/chrome",
    "drivers/platform/surface",
    "drivers/usb/gadget",
    "drivers/w1",
    // Buses that no machine of the last twenty years has.
    "drivers/atm",
    "drivers/firewire",
    "drivers/isdn",
    "drivers/message/fusion",
    "drivers/net/appletalk",
    "drivers/net/arcnet",
    "drivers/net/fddi",
    "drivers/net/plip",
    "drivers/net/wan",
    "drivers/parport",
    "drivers/pcmcia",
    "net/appletalk",
    "net/atm",
    "net/lapb",
    "net/x25",
    // File systems of other systems and other times, and of raw flash.
    "fs/adfs",
    "fs/affs",
    "fs/befs",
    "fs/bfs",
    "fs/coda",
    "fs/efs",
    "fs/freevxfs",
    "fs/hfs",
    "fs/hfsplus",
    "fs/hpfs",
    "fs/jffs2",
    "fs/jfs",
    "fs/minix",
    "fs/nilfs2",
    "fs/ocfs2",
    "fs/omfs",
    "fs/orangefs",
    "fs/qnx4",
    "fs/qnx6",
    "fs/reiserfs",
    "fs/sysv",
    "fs/ubifs",
    "fs/ufs",
    // Not good enough for the kernel itself yet.
    "drivers/staging",
    // The `drbd` extension brings these two, so that it is a real one.
    "drivers/block/drbd",
    "lib/lru_cache",
];

/// The modules of the `drbd` extension.
pub(crate) const DRBD: [&str; 2] = ["drivers/block/drbd", "lib/lru_cache"];

/// What the initramfs has to load before it can mount the root: Debian builds none of it into the kernel.
pub(crate) const EARLY: [&str; 3] = ["loop", "squashfs", "overlay"];

/// The modules of one kernel.
pub(crate) struct Modules {
    /// `6.12.117+deb13-amd64`.
    pub release: String,
    /// All of the kernel's modules, as packaged: `usr/lib/modules/<release>/…`.
    all: Tree,
    /// What each module needs: paths relative to the release's directory, with all that those need.
    needs: BTreeMap<String, Vec<String>>,
}

impl Modules {
    /// Takes the modules out of the files of the kernel's `package`, and has `depmod` look at them.
    ///
    /// # Errors
    /// `FileMissing` when there are none, `ToolMissing` and `Tool` of `depmod`.
    pub fn of(package: &str, kernel: &Tree, scratch: &Scratch) -> Result<Self, Error> {
        let missing = || Error::FileMissing { package: package.to_owned(), path: format!("{MODULES}/") };
        let kernel = tree::merged(kernel);
        let dir = tree::path(MODULES);
        let release = kernel.children(&dir).find(|(_, node)| node.kind == Kind::Directory);
        let release = release.ok_or_else(missing)?.0.name().to_owned();
        let mut all = Tree::new();
        for (path, node) in kernel.iter().filter(|(path, _)| path.is_within(&dir)) {
            // Links to the headers that the kernel was built with.
            if !matches!(node.kind, Kind::Symlink(_)) {
                tree::insert(&mut all, path.clone(), node.clone());
            }
        }
        let mut modules = Self { release, all, needs: BTreeMap::new() };
        let index = depmod(&modules.all, &modules.release, scratch)?;
        let dep = index.iter().find(|(name, _)| name == "modules.dep").ok_or_else(missing)?;
        modules.needs = needs(&String::from_utf8_lossy(&dep.1));
        Ok(modules)
    }

    /// The modules of the base and their index.
    pub fn base(&self, scratch: &Scratch) -> Result<Tree, Error> {
        let mut base = self.all.clone();
        for path in self.left_out() {
            base.remove(&self.path(&path));
        }
        tree::remove_empty_directories(&mut base);
        for (name, content) in depmod(&base, &self.release, scratch)? {
            let node = Node::new(Kind::File(ExtentMap::inline(content)), 0o644);
            tree::insert(&mut base, self.path(&name), node);
        }
        Ok(base)
    }

    /// Those modules, relative to `kernel/`, that lie at or below one of `wanted`, without an index.
    ///
    /// # Errors
    /// `FileMissing` when there is none for one of `wanted`.
    pub fn only(&self, package: &str, wanted: &[&str]) -> Result<Tree, Error> {
        let mut only = Tree::new();
        for place in wanted {
            let mut found = self.needs.keys().filter(|module| lies_at(module, place)).peekable();
            if found.peek().is_none() {
                let path = format!("{MODULES}/{}/kernel/{place}", self.release);
                return Err(Error::FileMissing { package: package.to_owned(), path });
            }
            for module in found {
                let path = self.path(module);
                if let Some(node) = self.all.get(&path) {
                    tree::insert(&mut only, path, node.clone());
                }
            }
        }
        Ok(only)
    }

    /// The modules `names` and what they need, each with its path in the package, in an order that they can be
    /// loaded in.
    ///
    /// # Errors
    /// `FileMissing` when there is no such module.
    pub fn load_order(&self, package: &str, names: &[&str]) -> Result<Vec<(String, &ExtentMap)>, Error> {
        let mut order: Vec<(String, &ExtentMap)> = Vec::new();
        for name in names {
            let missing = || Error::FileMissing { package: package.to_owned(), path: format!("{name}.ko") };
            let (path, needs) =
                self.needs.iter().find(|(path, _)| module_name(path) == *name).ok_or_else(missing)?;
            // modules.dep lists what a module needs in the reverse order of loading.
            for path in needs.iter().rev().chain([path]) {
                let content = self.all.content(self.path(path).as_str()).ok_or_else(missing)?;
                if !order.iter().any(|(other, _)| other == path) {
                    order.push((path.clone(), content));
                }
            }
        }
        Ok(order)
    }

    /// All modules that the base leaves out: the listed ones, and those that need one of them.
    fn left_out(&self) -> BTreeSet<String> {
        let is_listed = |module: &str| LEFT_OUT.iter().any(|place| lies_at(module, place));
        let is_out = |(module, needs): &(&String, &Vec<String>)| {
            is_listed(module) || needs.iter().any(|needed| is_listed(needed))
        };
        self.needs.iter().filter(is_out).map(|(module, _)| module.clone()).collect()
    }

    /// The path of `relative`, a path below the release's directory.
    fn path(&self, relative: &str) -> TreePath {
        tree::path(&format!("{MODULES}/{}/{relative}", self.release))
    }
}

/// `loop` of `kernel/drivers/block/loop.ko.xz`. The kernel takes `-` and `_` for the same.
pub(crate) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Whether `module`, relative to the release's directory, is the module `place` or lies in the directory
/// `place`, which is relative to `kernel/`.
fn lies_at(module: &str, place: &str) -> bool {
    let rest = module.strip_prefix("kernel/").and_then(|module| module.strip_prefix(place));
    rest.is_some_and(|rest| rest.starts_with('/') || rest.starts_with(".ko"))
}

/// What each module needs, by the text of `modules.dep`.
fn needs(text: &str) -> BTreeMap<String, Vec<String>> {
    let split = |line: &str| {
        let (module, needs) = line.split_once(':')?;
        Some((module.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
    };
    text.lines().filter_map(split).collect()
}

/// The version of the `depmod` on this machine, which decides the bytes of an index.
pub(crate) fn depmod_version() -> Result<String, Error> {
    let output = run(Command::new("depmod").arg("--version"))?;
    Ok(output.lines().next().unwrap_or_default().to_owned())
}

/// The index files that `depmod` makes of `modules`, in the order of their names.
fn depmod(modules: &Tree, release: &str, scratch: &Scratch) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let dir = scratch.directory()?;
    let failed = |action, path: &Path| Error::io(action, path);
    for (path, node) in modules.iter() {
        let target = dir.path().join(path.as_str());
        match &node.kind {
            Kind::Directory => fs::create_dir_all(&target).map_err(failed("create", &target))?,
            Kind::File(content) => {
                let mut file = File::create(&target).map_err(failed("create", &target))?;
                io::copy(&mut reader(content, scratch), &mut file).map_err(failed("write", &target))?;
            }
            _ => {}
        }
    }
    // An empty configuration: the host's would change the order in which modules are found.
    let configuration = dir.path().join("depmod.d");
    fs::create_dir_all(&configuration).map_err(failed("create", &configuration))?;
    let base = dir.path().join("usr");
    run(Command::new("depmod")
        .args(["--all", "--basedir"])
        .arg(&base)
        .arg("--config")
        .arg(&configuration)
        .arg(release))?;

    let made = dir.path().join(MODULES).join(release);
    let packaged = |name: &str| modules.get(&tree::path(&format!("{MODULES}/{release}/{name}"))).is_some();
    let mut index = Vec::new();
    for entry in fs::read_dir(&made).map_err(failed("read", &made))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") && !packaged(&name) {
            let path = entry.path();
            index.push((name, fs::read(&path).map_err(failed("read", &path))?));
        }
    }
    index.sort();
    Ok(index)
}

fn run(command: &mut Command) -> Result<String, Error> {
    // Debian keeps the tool where a user's PATH does not look.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::ToolMissing { tool: "depmod", package: "kmod" },
        _ => Error::io("run", "depmod")(source),
    })?;
    if !output.status.success() {
        return Err(Error::Tool { tool: "depmod", said: last_words(&output.stderr) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_something_left_out_is_left_out() {
        let dep = "kernel/drivers/block/loop.ko.xz:\n\
                   kernel/drivers/block/drbd/drbd.ko.xz: kernel/lib/lru_cache.ko.xz kernel/lib/libcrc32c.ko.xz\n\
                   kernel/lib/lru_cache.ko.xz:\nkernel/lib/libcrc32c.ko.xz:\n\
                   kernel/drivers/net/radio-user.ko.xz: kernel/net/mac80211/mac80211.ko.xz kernel/net/wireless/cfg80211.ko.xz\n\
                   kernel/drivers/gpu.ko.xz:\nkernel/drivers/gpuless/x.ko.xz:\n\
                   kernel/net/mac80211/mac80211.ko.xz: kernel/net/wireless/cfg80211.ko.xz\nkernel/net/wireless/cfg80211.ko.xz:\n";
        let modules = Modules { release: "6.1".to_owned(), all: Tree::new(), needs: needs(dep) };
        let out = modules.left_out();
        let kept: Vec<_> = modules.needs.keys().filter(|module| !out.contains(*module)).collect();
        assert_eq!(
            kept,
            [
                "kernel/drivers/block/loop.ko.xz",
                "kernel/drivers/gpuless/x.ko.xz",
                "kernel/lib/libcrc32c.ko.xz"
            ]
        );
    }

    #[test]
    fn modules_load_after_what_they_need_and_once() {
        let dep = "kernel/c.ko: kernel/b.ko kernel/a.ko\nkernel/b.ko: kernel/a.ko\nkernel/a.ko:\nkernel/d-e.ko.xz: kernel/a.ko\n";
        let mut all = Tree::new();
        for name in ["a.ko", "b.ko", "c.ko", "d-e.ko.xz"] {
            all.file(&format!("{MODULES}/6.1/kernel/{name}"), vec![1], 0o644).unwrap();
        }
        let modules = Modules { release: "6.1".to_owned(), all, needs: needs(dep) };
        let order = |names: &[&str]| {
            let order = modules.load_order("linux", names)?;
            Ok::<Vec<_>, Error>(order.into_iter().map(|(path, _)| module_name(&path)).collect())
        };
        assert_eq!(order(&["c"]).unwrap(), ["a", "b", "c"]);
        assert_eq!(order(&["d_e", "b"]).unwrap(), ["a", "d_e", "b"]);
        assert_eq!(order(&["x"]).unwrap_err().to_string(), "package `linux` has no `x.ko`");
        assert!(matches!(modules.only("linux", &["drivers/y"]), Err(Error::FileMissing { .. })));
        let only = modules.only("linux", &["a", "d-e"]).unwrap();
        assert_eq!(only.iter().filter(|(_, node)| node.kind != Kind::Directory).count(), 2);
    }
}
