//! One architecture's part of a set: layers, made of packages.
//!
//! Everything here is a derivation of the package files and of this code: what was made once is not made
//! again, and its packages are not even fetched again.

use std::num::NonZeroUsize;

use extent::{Digest, ExtentMap, Tree};
use formats::squashfs;
use serde::{Deserialize, Serialize};
use store::{Descriptor, Store};

use crate::apt::Apt;
use crate::apt::closure::closure;
use crate::apt::index::{Index, Package};
use crate::extension::{self, About, Content, EXTENSIONS, Extension};
use crate::initramfs::{self, initramfs};
use crate::modules::{self, Modules};
use crate::packages::Packages;
use crate::progress::{OnProgress, Step, Watched};
use crate::rootfs::{self, rootfs};
use crate::scratch::Scratch;
use crate::{Arch, EPOCH, Error, Suite, installer, oci, tree};

/// Raised when this crate makes other bytes of the same packages. The scripts of the boot count by themselves.
const REVISION: u32 = 2;
/// Effort of the base's squashfs: from here to the highest, size shrinks by a tenth and time grows thirtyfold.
const SQUASHFS_LEVEL: i32 = 9;
/// The package of systemd-boot and its stub.
const BOOT: &str = "systemd-boot-efi";

/// What the parts are made with.
pub(crate) struct Workshop<'a> {
    pub store: &'a Store,
    pub packages: &'a Packages,
    pub scratch: &'a Scratch,
    pub threads: NonZeroUsize,
    pub on_progress: &'a OnProgress<'a>,
}

/// A suite's archive for one architecture.
pub(crate) struct Archive {
    pub apt: Apt,
    pub index: Index,
}

/// What a part is made of and for.
pub(crate) struct Plan<'a> {
    pub suite: Suite,
    pub arch: Arch,
    /// The version tag of the set.
    pub version: &'a str,
    pub archive: &'a Archive,
    /// The archive of the boot loader.
    pub loader: &'a Archive,
}

/// One architecture's part.
pub(crate) struct Part {
    pub arch: Arch,
    /// `usr/install/<arch>/…`.
    pub boot: Layer,
    pub installer: Layer,
    pub extensions: Vec<(About, Layer)>,
}

/// A layer and the packages in it, each `name=version`.
pub(crate) struct Layer {
    pub blob: Descriptor,
    pub packages: String,
}

/// The layers that need the kernel's package.
#[derive(Serialize, Deserialize)]
struct Base {
    boot: Descriptor,
    installer: Descriptor,
    /// Extensions of modules, by name.
    modules: Vec<(String, Descriptor)>,
}

/// The packages of a plan.
struct Chosen<'a> {
    kernel: &'a Package,
    base: Vec<&'a Package>,
    loader: &'a Package,
    /// Each extension with the package that it is about and all its packages.
    extensions: Vec<(&'static Extension, &'a Package, Vec<&'a Package>)>,
}

/// Makes one architecture's part of a set. Nothing of it has a tag yet.
///
/// # Errors
/// All of this crate's but those of the lists.
pub(crate) fn part(workshop: &Workshop<'_>, plan: &Plan<'_>) -> Result<Part, Error> {
    let chosen = choose(plan)?;
    let base = base(workshop, plan, &chosen)?;
    let mut extensions = Vec::new();
    for (extension, package, packages) in &chosen.extensions {
        let about = extension.about(package, plan.version);
        let made = base.modules.iter().find(|(name, _)| name == extension.name).map(|(_, layer)| *layer);
        let blob = match made {
            Some(layer) => layer,
            None => programs(workshop, plan, &chosen, extension, package, packages)?,
        };
        extensions.push((about, Layer { blob, packages: specs(packages) }));
    }
    let mut in_boot = chosen.base.clone();
    in_boot.extend([chosen.kernel, chosen.loader]);
    Ok(Part {
        arch: plan.arch,
        boot: Layer { blob: base.boot, packages: specs(&in_boot) },
        installer: Layer { blob: base.installer, packages: specs(&[busybox_of(&chosen)?]) },
        extensions,
    })
}

fn choose<'a>(plan: &Plan<'a>) -> Result<Chosen<'a>, Error> {
    let index = &plan.archive.index;
    let find = |index: &'a Index, name: &str| {
        index.get(name).ok_or_else(|| Error::NoPackage { package: name.to_owned() })
    };
    let meta = find(index, plan.arch.kernel_metapackage())?;
    let alternatives = meta.depends().into_iter().flat_map(|dependency| dependency.0);
    let kernel = alternatives
        .filter(|wanted| wanted.name.starts_with("linux-image-"))
        .find_map(|wanted| index.get(&wanted.name).filter(|kernel| kernel.satisfies(&wanted)));
    let kernel = kernel.ok_or_else(|| Error::NoPackage { package: format!("{}'s kernel", meta.spec()) })?;
    let base = closure(index, &rootfs::PACKAGES, &[])?;
    let mut extensions = Vec::new();
    for extension in EXTENSIONS.iter().filter(|extension| extension.is_for(plan.arch)) {
        let (package, packages) = match extension.content {
            Content::Modules { .. } => (kernel, vec![kernel]),
            Content::Firmware { .. } => {
                let package = find(index, extension.package)?;
                (package, vec![package])
            }
            Content::Programs { also, .. } => {
                let roots: Vec<&str> = [extension.package].iter().chain(also).copied().collect();
                (find(index, extension.package)?, closure(index, &roots, &base)?)
            }
        };
        extensions.push((extension, package, packages));
    }
    let loader = find(&plan.loader.index, BOOT)?;
    Ok(Chosen { kernel, base, loader, extensions })
}

/// Sees that all packages of the plan are there: one run of apt for all of them, when the first is needed.
fn fetch(workshop: &Workshop<'_>, plan: &Plan<'_>, chosen: &Chosen<'_>) -> Result<(), Error> {
    let mut all = chosen.base.clone();
    all.push(chosen.kernel);
    all.extend(chosen.extensions.iter().flat_map(|(_, _, packages)| packages));
    let Workshop { packages, scratch, on_progress, .. } = workshop;
    packages.fetch(&plan.archive.apt, &all, scratch, *on_progress)?;
    packages.fetch(&plan.loader.apt, &[chosen.loader], scratch, *on_progress)
}

fn unpack(workshop: &Workshop<'_>, plan: &Plan<'_>, package: &Package) -> Result<Tree, Error> {
    let step = plan.step(workshop, &format!("unpacking {}", package.name), 0);
    let tree = workshop.packages.unpack(package, workshop.scratch)?;
    step.end();
    Ok(tree)
}

fn base(workshop: &Workshop<'_>, plan: &Plan<'_>, chosen: &Chosen<'_>) -> Result<Base, Error> {
    let Plan { suite, arch, version, .. } = plan;
    let mut decided = vec![
        Digest::of(format!("{suite} {arch} {version}\n{}", initramfs::SCRIPTS.concat()).as_bytes()),
        Digest::of(modules::depmod_version()?.as_bytes()),
        chosen.kernel.digest,
        chosen.loader.digest,
    ];
    decided.extend(chosen.base.iter().map(|package| package.digest));
    workshop.store.derive("debian-base", REVISION, &decided, || make_base(workshop, plan, chosen))
}

fn make_base(workshop: &Workshop<'_>, plan: &Plan<'_>, chosen: &Chosen<'_>) -> Result<Base, Error> {
    let Workshop { store, scratch, .. } = *workshop;
    fetch(workshop, plan, chosen)?;
    let name = chosen.kernel.spec();
    let kernel = unpack(workshop, plan, chosen.kernel)?;
    let step = plan.step(workshop, "indexing the kernel's modules", 0);
    let modules = Modules::of(&name, &kernel, scratch)?;
    let base_modules = modules.base(scratch)?;
    step.end();

    let mut userland = Vec::new();
    for package in &chosen.base {
        userland.push(unpack(workshop, plan, package)?);
    }
    let root = rootfs(plan.suite, plan.version, &userland, &base_modules, scratch)?;
    let busybox = rootfs::busybox(&root)?.clone();
    let image = compress(workshop, plan, &root)?;

    let step = plan.step(workshop, "writing the initramfs", image.len());
    let initramfs = initramfs(&name, &modules, &busybox, image, scratch, &step)?;
    step.end();

    let loader = unpack(workshop, plan, chosen.loader)?;
    let boot = boot_files(plan, chosen, &modules.release, (&kernel, &loader), initramfs)?;
    let put = |what: &str, tree: &Tree| plan.layer(workshop, what, tree);
    let mut of_modules = Vec::new();
    for (extension, package, _) in &chosen.extensions {
        if let Content::Modules { places } = extension.content {
            let only = modules.only(&name, places)?;
            let about = extension.about(package, plan.version);
            let layer = put(extension.name, &extension::image(&about, &only)?)?;
            of_modules.push((extension.name.to_owned(), layer));
        }
    }
    let installer = put("installer-base", &installer::rootfs(&busybox))?;
    // Last, because it is the large one: nothing is in its way when the disk gets full.
    let boot = put("imager", &boot)?;
    tracing::debug!(store = ?store, kernel = modules.release, boot_size_bytes = boot.len, "made a base");
    Ok(Base { boot, installer, modules: of_modules })
}

/// The base's squashfs, in scratch.
fn compress(workshop: &Workshop<'_>, plan: &Plan<'_>, root: &Tree) -> Result<ExtentMap, Error> {
    let step = plan.step(workshop, "compressing the base", tree::content_len(root));
    let options = squashfs::Options {
        mtime: EPOCH,
        threads: workshop.threads,
        ..squashfs::Options::new(squashfs::Compression::Zstd { level: SQUASHFS_LEVEL })
    };
    let failed = || Error::io("write", "rootfs.sqsh");
    let mut file = workshop.scratch.file().map_err(failed())?;
    let watched = Watched::new(workshop.scratch, &step);
    squashfs::write(root, &options, &watched, &mut file).map_err(Error::Squashfs)?;
    let image = workshop.scratch.keep(file).map_err(failed())?;
    step.end();
    Ok(image)
}

/// `usr/install/<arch>/…`.
fn boot_files(
    plan: &Plan<'_>,
    chosen: &Chosen<'_>,
    release: &str,
    (kernel, loader): (&Tree, &Tree),
    initramfs: ExtentMap,
) -> Result<Tree, Error> {
    let file = |package: &Package, tree: &Tree, path: String| {
        let missing = Error::FileMissing { package: package.spec(), path: path.clone() };
        tree.content(&path).cloned().ok_or(missing)
    };
    let efi = plan.arch.efi_name();
    let boot = "usr/lib/systemd/boot/efi";
    let mut tree = Tree::new();
    let mut put = |name: &str, content: ExtentMap| {
        tree.file(&format!("usr/install/{}/{name}", plan.arch), content, 0o644)
    };
    put("vmlinuz", file(chosen.kernel, kernel, format!("boot/vmlinuz-{release}"))?)?;
    // Called so whatever compresses it: the name is the reference's, the kernel looks at the magic.
    put("initramfs.xz", initramfs)?;
    put("systemd-boot.efi", file(chosen.loader, loader, format!("{boot}/systemd-boot{efi}.efi"))?)?;
    put("systemd-stub.efi", file(chosen.loader, loader, format!("{boot}/linux{efi}.efi.stub"))?)?;
    Ok(tree)
}

/// The layer of an extension that needs nothing of the kernel's package.
fn programs(
    workshop: &Workshop<'_>,
    plan: &Plan<'_>,
    chosen: &Chosen<'_>,
    extension: &Extension,
    package: &Package,
    packages: &[&Package],
) -> Result<Descriptor, Error> {
    let about = extension.about(package, plan.version);
    let mut decided = vec![Digest::of(format!("{extension:?}\n{}", about.manifest()).as_bytes())];
    decided.extend(packages.iter().map(|package| package.digest));
    workshop.store.derive("debian-extension", REVISION, &decided, || {
        fetch(workshop, plan, chosen)?;
        let mut trees = Vec::new();
        for package in packages {
            trees.push(unpack(workshop, plan, package)?);
        }
        let rootfs = extension.rootfs(package, &trees)?;
        let image = extension::image(&about, &rootfs)?;
        plan.layer(workshop, extension.name, &image)
    })
}

fn busybox_of<'a>(chosen: &Chosen<'a>) -> Result<&'a Package, Error> {
    let missing = || Error::NoPackage { package: rootfs::BUSYBOX.to_owned() };
    chosen.base.iter().copied().find(|package| package.name == rootfs::BUSYBOX).ok_or_else(missing)
}

fn specs(packages: &[&Package]) -> String {
    let mut specs: Vec<String> = packages.iter().map(|package| package.spec()).collect();
    specs.sort();
    specs.join(" ")
}

impl Plan<'_> {
    fn step<'b>(&self, workshop: &'b Workshop<'_>, what: &str, total: u64) -> Step<'b> {
        Step::begin(workshop.on_progress, format!("{}: {what}", self.archive.apt.name()), total)
    }

    /// Puts the layer of `tree` into the store.
    fn layer(&self, workshop: &Workshop<'_>, what: &str, tree: &Tree) -> Result<Descriptor, Error> {
        let step = self.step(workshop, &format!("storing {what}"), tree::content_len(tree));
        let layer = oci::layer(workshop.store, tree, workshop.scratch, &step)?;
        step.end();
        Ok(layer)
    }
}
