//! Resolving: from names to digests.
//!
//! Blocking, and full of lookups; nothing here decides how bytes are laid out. What a digest names never
//! changes, so what was read of it is remembered; tags are looked up each time. What the store lacks and a source may give
//! is an error that names it: who asked pulls it and asks again.

mod boot_files;
mod catalogue;
mod extension;
mod image;
mod installer;
mod layers;
pub(crate) mod memory;
mod modules;
mod offers;
mod overlays;
mod source_images;
mod talosctl;

use std::sync::Arc;

use extent::Digest;
use schematics::Schematic;
use store::{Descriptor, Store};

use self::catalogue::Catalogue;
use self::image::Image;
use self::memory::Memory;
use self::offers::offers;
use self::source_images::complete;
use crate::lock::{BootFiles, LockedExtension, LockedModules, LockedSchematic};
use crate::plan::PLANNER_REVISION;
use crate::profile::OutFormat;
use crate::request::Request;
use crate::sources::{List, Place, Supply, Wanted};
use crate::{Arch, Asset, AssetKind, Error, Lock, Quirks, Resolved, Version};

pub use catalogue::Offer;
pub use overlays::OverlayOffer;

/// Where a version's boot files are. Its tags are the versions that there are.
pub(crate) const IMAGER: &str = "siderolabs/imager";
/// Where a version's catalogue of extensions is.
pub(crate) const EXTENSIONS: &str = "siderolabs/extensions";
/// Where a version's catalogue of overlays is.
pub(crate) const OVERLAYS: &str = "siderolabs/overlays";
/// Where a version's base of installer images is.
pub(crate) const INSTALLER_BASE: &str = "siderolabs/installer-base";
/// Where the installers of versions without such a base are.
pub(crate) const INSTALLER: &str = "siderolabs/installer";
/// Where a version's command-line clients are.
pub(crate) const TALOSCTL: &str = "siderolabs/talosctl-all";
/// The repositories of the source images of a version, tagged with the version, and whether every version has one. The
/// first is the catalogue of extensions; the tags of the last are the versions that there are.
pub const SOURCE_IMAGES: [(&str, bool); 5] =
    [(EXTENSIONS, true), (INSTALLER_BASE, false), (OVERLAYS, false), (TALOSCTL, false), (IMAGER, true)];

/// The store, and what was learnt from it. Clones learn together.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    store: Store,
    author: String,
    supply: Arc<Supply>,
    boot_files: Memory<(Digest, Arch, bool), BootFiles>,
    stubs: Memory<Digest, bytes::Bytes>,
    catalogues: Memory<Vec<(Place, Digest)>, Catalogue>,
    extensions: Memory<(Digest, Arch, Quirks), LockedExtension>,
    modules: Memory<(Digest, Vec<Option<Digest>>), Option<LockedModules>>,
}

impl Resolver {
    pub fn new(store: Store, author: String, supply: Arc<Supply>) -> Self {
        Self {
            store,
            author,
            supply,
            boot_files: Memory::default(),
            stubs: Memory::default(),
            catalogues: Memory::default(),
            extensions: Memory::default(),
            modules: Memory::default(),
        }
    }

    /// The same resolver, which derives nothing: what is not recorded is an error.
    pub fn recorded(&self) -> Self {
        Self { store: self.store.recorded(), ..self.clone() }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn author(&self) -> &str {
        &self.author
    }

    pub fn resolve(&self, schematic: &Schematic, version: &Version, asset: Asset) -> Result<Resolved, Error> {
        let request = match Request::new(schematic, version, asset) {
            Err(Error::VersionNotAvailable { .. }) => Err(self.not_available(version)?),
            request => request,
        }?;
        self.is_there(&request)?;
        let resolved = self.resolve_request(schematic, &request)?;
        if self.missing(&resolved.lock)?.is_none() {
            return Ok(resolved);
        }
        // Somebody took blobs away. What can be derived is derived again.
        self.forget();
        let resolved = self.resolve_request(schematic, &request)?;
        match self.missing(&resolved.lock)? {
            None => Ok(resolved),
            Some(digest) => Err(store::Error::NotFound { digest }.into()),
        }
    }

    /// Whether the tags that `request` begins with are in the store: what is not is wanted all at once.
    fn is_there(&self, request: &Request) -> Result<(), Error> {
        let mut wanted = Wanted::default();
        wanted.hear(self.source(IMAGER, &request.version))?;
        if !request.extensions.is_empty() {
            wanted.hear(self.catalogue_images(List::Extensions, &request.version))?;
        }
        if request.asset.kind() == AssetKind::Installer {
            wanted.hear(self.source(INSTALLER_BASE, &request.version))?;
        }
        wanted.none()
    }

    fn resolve_request(&self, schematic: &Schematic, request: &Request) -> Result<Resolved, Error> {
        let quirks = request.distribution.quirks(&request.version);
        let boot_files = self.boot_files(request)?;
        let stub = match (&boot_files, makes_uki(request.asset.kind())) {
            (Some(files), true) => self.stub(&request.version, files)?,
            _ => bytes::Bytes::new(),
        };
        let extensions = self.find_extensions(request, quirks)?;
        let modules = match &boot_files {
            Some(files) => self.modules(&files.initramfs, &extensions, request.asset.arch(), quirks)?,
            None => None,
        };
        let schematic = request
            .has_initramfs()
            .then(|| LockedSchematic { canonical: schematic.canonical(), author: self.author.clone() });
        let lock = Lock {
            planner: PLANNER_REVISION,
            asset: request.asset,
            version: request.version.clone(),
            profile: request.profile.clone(),
            boot_files: boot_files.map(|files| BootFiles::clone(&files)),
            schematic,
            extensions,
            modules,
            installer: None,
        };
        let mut resolved = Resolved { lock, stub };
        if request.asset.kind() == AssetKind::Installer {
            let (name, digest) = self.source(INSTALLER_BASE, &request.version)?;
            let boot = crate::plan::boot_layer(&resolved)?;
            let read = || {
                let base = Image::open(&self.store, &name, digest, request.asset.arch())?;
                installer::installer(&self.store, &base, &boot)
            };
            let want = self.pinned(INSTALLER_BASE, &request.version, digest);
            resolved.lock.installer = Some(complete(want, read)?);
        }
        Ok(resolved)
    }

    /// The boot files of the version, for the kinds that carry some.
    fn boot_files(&self, request: &Request) -> Result<Option<Arc<BootFiles>>, Error> {
        let (name, digest) = self.source(IMAGER, &request.version)?;
        let kind = request.asset.kind();
        if kind == AssetKind::Cmdline {
            return Ok(None);
        }
        let arch = request.asset.arch();
        let compresses = matches!(kind, AssetKind::Image { packing: OutFormat::Zst, .. });
        let files = self.boot_files.get((digest, arch, compresses), || {
            let read = || {
                // One image has the files of all architectures.
                let image = Image::open(&self.store, &name, digest, Arch::Amd64)?;
                let mut files = boot_files::boot_files(&self.store, &image, arch)?;
                if compresses {
                    files.kernel_form = boot_files::form(&self.store, &files.kernel)?;
                }
                Ok(files)
            };
            complete(self.pinned(IMAGER, &request.version, digest), read)
        })?;
        Ok(Some(files))
    }

    /// systemd-stub of `version`, whose boot files are `files`.
    fn stub(&self, version: &Version, files: &BootFiles) -> Result<bytes::Bytes, Error> {
        let missing =
            |path: &str| Error::MissingFile { image: format!("{IMAGER}:{version}"), path: path.to_owned() };
        files.systemd_boot.as_ref().ok_or_else(|| missing("systemd-boot.efi"))?;
        let stub = files.systemd_stub.as_ref().ok_or_else(|| missing("systemd-stub.efi"))?;
        let bytes = self.stubs.get(stub.digest, || boot_files::stub(&self.store, stub))?;
        Ok(bytes::Bytes::clone(&bytes))
    }

    /// The extensions that are asked for, as the catalogue has them.
    fn find_extensions(&self, request: &Request, quirks: Quirks) -> Result<Vec<LockedExtension>, Error> {
        if request.extensions.is_empty() {
            return Ok(Vec::new());
        }
        let catalogue = self.catalogue(&request.version)?;
        // All names before any work.
        let offers = offers(&catalogue, request.distribution, &request.version, &request.extensions)?;
        let mut wanted = Wanted::default();
        for (place, Offer { reference, digest, .. }) in offers.iter().copied() {
            if self.store.stat(digest)?.is_none()
                && let Some(want) = self.supply.listed_image(*place, reference, *digest)
            {
                wanted.push(want);
            }
        }
        wanted.none()?;
        let arch = request.asset.arch();
        let mut found = Vec::new();
        for (place, Offer { name, reference, digest, .. }) in offers {
            let extension = self.extensions.get((*digest, arch, quirks), || {
                let read = || {
                    let image = Image::open(&self.store, name, *digest, arch)?;
                    extension::extension(&self.store, name, &image, quirks)
                };
                complete(self.supply.listed_image(*place, reference, *digest), read)
            })?;
            extension.manifest.check(request.version.semver()).map_err(extension::damaged(name))?;
            // Another name may stand for the same image.
            found.push(LockedExtension { name: name.clone(), ..LockedExtension::clone(&extension) });
        }
        Ok(found)
    }

    fn modules(
        &self,
        initramfs: &Descriptor,
        extensions: &[LockedExtension],
        arch: Arch,
        quirks: Quirks,
    ) -> Result<Option<LockedModules>, Error> {
        let with_modules: Vec<Digest> =
            extensions.iter().filter(|e| e.has_modules).map(|e| e.image).collect();
        if with_modules.is_empty() {
            return Ok(None);
        }
        // Which layer is over which depends on the place among all.
        let places = extensions.iter().map(|e| e.has_modules.then_some(e.image)).collect();
        let modules = self.modules.get((initramfs.digest, places), || {
            modules::modules(&self.store, initramfs, extensions, arch, quirks)
        })?;
        Ok(Option::clone(&modules))
    }

    /// A blob of the lock that is not in the store.
    fn missing(&self, lock: &Lock) -> Result<Option<Digest>, Error> {
        for (digest, _) in lock.blobs() {
            if self.store.stat(&digest)?.is_none() {
                return Ok(Some(digest));
            }
        }
        Ok(None)
    }

    fn forget(&self) {
        self.boot_files.clear();
        self.stubs.clear();
        self.catalogues.clear();
        self.extensions.clear();
        self.modules.clear();
    }
}

/// Whether a UKI is the asset or a part of it.
fn makes_uki(kind: AssetKind) -> bool {
    matches!(kind, AssetKind::Uki | AssetKind::Image { .. } | AssetKind::Iso | AssetKind::Installer)
}
