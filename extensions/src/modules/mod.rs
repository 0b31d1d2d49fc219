//! The index of kernel modules: what `modprobe` looks modules up in, for those of the base and of extensions
//! together.
//!
//!   initramfs ──▶ rootfs.sqsh ──▶ modules of the base ─┐
//!                                                      ├─▶ scratch tree ──▶ depmod ──▶ modules.*
//!   layers of extensions ──▶ their modules ────────────┘
//!
//! The index depends on paths and contents alone. Left to itself `depmod` leaves it to the C library how modules
//! are sorted that `modules.order` does not list, and to the order of the directory which of two modules of one name
//! is shown: so all are listed, and of each name only one is there.
//!
//! Source: kmod, `depmod(8)`, `depmod.d(5)`.

mod base;
mod depmod;
mod map_reader;
mod scratch;

use std::collections::BTreeMap;
use std::path::Path;

use extent::{Blobs, ExtentMap, Kind, Tree, TreePath};

use crate::{Error, Extension, Manifest, Parts, Paths};

use base::Base;
use scratch::Scratch;

/// The most modules of base and extensions together: several times those of a distribution kernel (4 200).
const MODULES_MAX: usize = 1 << 16;
/// The directory whose modules go before all others, by the rule `search extras built-in` of the reference.
const EXTRAS: &str = "extras/";
/// The ends of module names, the plain one last: `.ko.xz` ends no other way.
const SUFFIXES: [&str; 4] = [".ko.gz", ".ko.xz", ".ko.zst", ".ko"];

/// The extension with the index of all modules: those in `initramfs`, the base, and those of `extensions`, the
/// lowest layer first, of which some have none.
///
/// It is to be the last layer. Needs `depmod`, and room in the directory `scratch` for the unpacked modules of the
/// base (400 MB for Debian's kernels); what is there is gone afterwards. Symbolic links among modules are passed
/// over.
///
/// # Errors
/// `Initramfs`, `Member`, `NoRootfs`, `Rootfs`, `Releases`, `Release`, `TooLarge`, `Content`, `Module`, `Scratch`,
/// `Depmod`, `DepmodFailed`, `Tree`.
pub fn modules_dep(
    initramfs: &ExtentMap,
    extensions: &[&Parts],
    paths: &Paths,
    blobs: &dyn Blobs,
    scratch: &Path,
) -> Result<Extension, Error> {
    let scratch = Scratch::new(scratch)?;
    let base = Base::open(initramfs, blobs, &paths.modules, &scratch)?;
    let release = base.release().to_owned();
    let mut modules = Modules::default();
    for path in base.modules() {
        modules.insert(0, path, None)?;
    }
    for (layer, parts) in extensions.iter().enumerate() {
        let Some(found) = &parts.module_releases else { continue };
        if !found.contains(&release) {
            let name = parts.manifest.name.clone();
            return Err(Error::Release { name, release, found: found.clone() });
        }
        let directory = TreePath::parse(&format!("{}/{release}", paths.modules))?;
        for (path, content) in files(&parts.layer, &directory) {
            if module_name(path).is_some() {
                modules.insert(layer + 1, path, Some(content))?;
            }
        }
    }

    let shown = modules.shown();
    let order = order(&base.text("modules.order")?, &shown);
    scratch.unpack(&release, base.contents(&shown), extension_contents(&shown, blobs))?;
    scratch.write(&release, "modules.order", &order)?;
    for name in ["modules.builtin", "modules.builtin.modinfo"] {
        scratch.write(&release, name, &base.text(name)?)?;
    }
    depmod::run(&scratch, &release)?;

    let mut rootfs = Tree::new();
    for (name, content) in scratch.index(&release)? {
        rootfs.file(&format!("{}/{release}/{name}", paths.modules), content, 0o644)?;
    }
    let manifest = Manifest {
        name: "modules.dep".to_owned(),
        version: release,
        author: "Talos Machinery".to_owned(),
        description: "Combined modules.dep for all extensions".to_owned(),
        ..Manifest::default()
    };
    Ok(Extension { manifest, rootfs })
}

/// The modules of all layers by path below the directory of the release; where a later layer has the path of an
/// earlier one, its module.
#[derive(Default)]
struct Modules<'a> {
    by_path: BTreeMap<String, Module<'a>>,
}

/// The layer that a module is from, 0 the base, and its content in that layer; none in the base.
#[derive(Clone, Copy)]
struct Module<'a> {
    layer: usize,
    content: Option<&'a ExtentMap>,
}

impl<'a> Modules<'a> {
    fn insert(&mut self, layer: usize, path: &str, content: Option<&'a ExtentMap>) -> Result<(), Error> {
        // A module where another layer has a directory, or the other way round: the later one is there.
        let below = format!("{path}/");
        let hidden =
            self.by_path.range(below.clone()..).map(|(p, _)| p).take_while(|p| p.starts_with(&below));
        for hidden in hidden.cloned().collect::<Vec<_>>() {
            self.by_path.remove(&hidden);
        }
        for (at, _) in path.match_indices('/') {
            self.by_path.remove(&path[..at]);
        }
        self.by_path.insert(path.to_owned(), Module { layer, content });
        if self.by_path.len() > MODULES_MAX {
            return Err(Error::TooLarge { what: "files", max: MODULES_MAX as u64 });
        }
        Ok(())
    }

    /// One module of each name, the one of the latest layer; two where one of them is an extra, since `depmod`
    /// knows which of those goes first.
    fn shown(self) -> BTreeMap<String, Module<'a>> {
        let mut by_name: BTreeMap<(String, bool), (String, Module<'a>)> = BTreeMap::new();
        for (path, module) in self.by_path {
            let Some(name) = module_name(&path) else { continue };
            let key = (name, path.starts_with(EXTRAS));
            match by_name.get(&key) {
                Some((_, other)) if other.layer > module.layer => {}
                _ => drop(by_name.insert(key, (path, module))),
            }
        }
        by_name.into_values().collect()
    }
}

/// The regular files below `directory`, by path relative to it.
fn files<'a>(tree: &'a Tree, directory: &TreePath) -> impl Iterator<Item = (&'a str, &'a ExtentMap)> {
    tree.iter().filter(|(path, _)| path.is_within(directory)).filter_map(|(path, node)| {
        let relative = path.as_str().get(directory.as_str().len() + 1..)?;
        let content = match &node.kind {
            Kind::File(content) => content,
            Kind::HardLink(target) => match &tree.get(target)?.kind {
                Kind::File(content) => content,
                _ => return None,
            },
            _ => return None,
        };
        Some((relative, content))
    })
}

/// The contents of those modules that are from extensions.
fn extension_contents<'a>(
    shown: &'a BTreeMap<String, Module<'a>>,
    blobs: &'a dyn Blobs,
) -> impl Iterator<Item = Result<(String, Vec<u8>), Error>> {
    shown.iter().filter_map(move |(path, module)| {
        let content = extent::read_all(module.content?, blobs, scratch::MODULE_LEN_MAX);
        let content = content.map_err(|source| Error::Content { path: path.clone(), source });
        Some(content.map(|content| (path.clone(), content)))
    })
}

/// The name that `modprobe` knows the module at `path` by; none if it is no module.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let name = SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix))?;
    Some(name.replace('-', "_")).filter(|name| !name.is_empty())
}

/// `modules.order` of the base with the modules added that it does not list, in the order of their paths.
fn order(base: &[u8], shown: &BTreeMap<String, Module<'_>>) -> Vec<u8> {
    let mut order = base.to_vec();
    if !order.is_empty() && !order.ends_with(b"\n") {
        order.push(b'\n');
    }
    let listed: std::collections::BTreeSet<&[u8]> = base.split(|&byte| byte == b'\n').collect();
    for path in shown.keys() {
        // It lists modules as they are before any compression.
        let plain = path.find(".ko.").map_or(path.as_str(), |at| &path[..at + 3]);
        if !listed.contains(plain.as_bytes()) {
            order.extend_from_slice(plain.as_bytes());
            order.push(b'\n');
        }
    }
    order
}

#[cfg(test)]
mod tests;
