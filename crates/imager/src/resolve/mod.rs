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
mod overlays;
mod talosctl;

use std::collections::BTreeMap;
use std::sync::Arc;

use extent::{Digest, ExtentMap};
use schematics::Schematic;
use store::{Descriptor, Store};

use self::catalogue::Catalogue;
use self::image::Image;
use self::memory::Memory;
use crate::lock::{BootFiles, LockedExtension, LockedModules, LockedSchematic};
use crate::plan::PLANNER_REVISION;
use crate::profile::OutFormat;
use crate::request::Request;
use crate::sources::{List, Place, Supply, Want, Wanted};
use crate::{Arch, Asset, AssetKind, Distribution, Error, Lock, Quirks, Resolved, Version};

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
/// Before it there was no image factory.
const FIRST: Version = Version::new(1, 2, 0);
/// How many versions an error offers.
const NEAREST_VERSIONS: usize = 3;

/// The store, and what was learnt from it.
#[derive(Debug)]
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

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn author(&self) -> &str {
        &self.author
    }

    /// The versions to offer.
    pub fn versions(&self) -> Result<Vec<Version>, Error> {
        let mut versions = self.all_versions()?;
        let newest = versions.last().map(|v| (v.semver().major, v.semver().minor));
        versions.retain(|version| {
            let line = (version.semver().major, version.semver().minor);
            *version >= FIRST
                && (!version.is_prerelease() || (Some(line) == newest && is_usual(&version.semver().pre)))
        });
        Ok(versions)
    }

    /// Every tag that is a version, here or at the source, ascending.
    fn all_versions(&self) -> Result<Vec<Version>, Error> {
        let tags = self.store.tags(IMAGER)?;
        let mut versions: Vec<Version> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        versions.extend(self.supply.listed().iter().flat_map(|listed| listed.iter().cloned()));
        versions.sort();
        versions.dedup();
        Ok(versions)
    }

    /// What `version` offers.
    pub fn extensions(&self, version: &Version) -> Result<Vec<Offer>, Error> {
        Ok(self.catalogue(version)?.offers().cloned().collect())
    }

    /// Those of the extensions of `version` that `names` name, by their own names or by ones they had before.
    pub fn extensions_named(&self, version: &Version, names: &[String]) -> Result<Vec<Offer>, Error> {
        let distribution = Distribution::of(version)?;
        let catalogue = self.catalogue(version)?;
        offers(&catalogue, distribution, version, names)
            .map(|found| found.into_iter().map(|(_, offer)| offer.clone()).collect())
    }

    /// The overlays that `version` offers; none where there were no overlays yet.
    pub fn overlays(&self, version: &Version) -> Result<Vec<OverlayOffer>, Error> {
        if Distribution::of(version).is_ok_and(|of| !of.quirks(version).has_overlays()) {
            return Ok(Vec::new());
        }
        let mut offers: Vec<OverlayOffer> = Vec::new();
        for (_, name, digest, want) in self.catalogue_images(List::Overlays, version)? {
            let read =
                || overlays::overlays(&self.store, &Image::open(&self.store, &name, digest, Arch::Amd64)?);
            let below = complete(want, read)?;
            let own: Vec<String> = offers.iter().map(|offer| offer.name.clone()).collect();
            offers.extend(below.into_iter().filter(|offer| !own.contains(&offer.name)));
        }
        Ok(offers)
    }

    /// The command-line clients of `version`, by file name. None where they could not be downloaded yet, and
    /// where the distribution has none.
    pub fn talosctl(&self, version: &Version) -> Result<BTreeMap<String, ExtentMap>, Error> {
        if Distribution::of(version).is_ok_and(|of| !of.quirks(version).has_talosctl()) {
            return Ok(BTreeMap::new());
        }
        match self.source(TALOSCTL, version) {
            Ok((name, digest)) => {
                let read = || {
                    talosctl::talosctl(&self.store, &Image::open(&self.store, &name, digest, Arch::Amd64)?)
                };
                complete(self.pinned(TALOSCTL, version, digest), read)
            }
            Err(Error::VersionNotAvailable { .. }) if self.all_versions()?.contains(version) => {
                Ok(BTreeMap::new())
            }
            Err(error) => Err(error),
        }
    }

    /// All that is offered for `version`: by further catalogues, then by the core's.
    fn catalogue(&self, version: &Version) -> Result<Arc<Catalogue>, Error> {
        let images = self.catalogue_images(List::Extensions, version)?;
        let key = images.iter().map(|(place, _, digest, _)| (*place, *digest)).collect();
        self.catalogues.get(key, || {
            let mut all = Catalogue::default();
            for (place, name, digest, want) in images {
                // The catalogue has no architecture; it is published as an amd64 image.
                let read = || {
                    let image = Image::open(&self.store, &name, digest, Arch::Amd64)?;
                    Catalogue::read(&self.store, &image, place)
                };
                all = all.over(complete(want, read)?);
            }
            Ok(all)
        })
    }

    /// The images that have `list` for `version`, the first before the others: where each is from, a name for it, its digest,
    /// and what to pull if something of it is missing.
    fn catalogue_images(&self, list: List, version: &Version) -> Result<Vec<CatalogueImage>, Error> {
        let mut images = Vec::new();
        let mut wanted = Wanted::default();
        let repository = match list {
            List::Extensions => EXTENSIONS,
            List::Overlays => OVERLAYS,
        };
        let core = wanted.hear(self.source(repository, version))?;
        for place in self.supply.catalogues(list) {
            let Some(want) = self.supply.catalogue(place, list, version) else { continue };
            let (repository, tag) = want.name();
            match self.store.resolve_tag(repository, tag)? {
                Some(descriptor) => {
                    let name = want.to_string();
                    let digest = image::digest_of(&name, &descriptor)?;
                    images.push((place, name, digest, Some(want.pinned(digest))));
                }
                // A further catalogue need not know every version.
                None if self.supply.is_absent(&want) => {}
                None => wanted.push(want),
            }
        }
        if let Some((name, digest)) = core {
            images.push((Place::Core, name, digest, self.pinned(repository, version, digest)));
        }
        wanted.none()?;
        Ok(images)
    }

    /// The source image `repository` of `version`: a name for it and its digest.
    fn source(&self, repository: &str, version: &Version) -> Result<(String, Digest), Error> {
        let name = format!("{repository}:{version}");
        // One with build metadata is none that could be published.
        if !store::is_tag(&version.to_string()) {
            return Err(self.not_available(version)?);
        }
        if let Some(descriptor) = self.store.resolve_tag(repository, &version.to_string())? {
            let digest = image::digest_of(&name, &descriptor)?;
            return Ok((name, digest));
        }
        match self.supply.core(repository, version) {
            Some(want) if !self.supply.is_absent(&want) => {
                Err(Error::NotPulled { images: Wanted::one(want) })
            }
            _ => Err(self.not_available(version)?),
        }
    }

    /// What is said of a version that is not there.
    fn not_available(&self, version: &Version) -> Result<Error, Error> {
        let mut all = self.all_versions()?;
        all.retain(|other| other != version);
        let nearest = version.nearest(&all, NEAREST_VERSIONS);
        Ok(Error::VersionNotAvailable { version: version.clone(), nearest })
    }

    /// The core image `repository` of `version` as it is in the store, if a source may have it.
    fn pinned(&self, repository: &str, version: &Version, digest: Digest) -> Option<Want> {
        Some(self.supply.core(repository, version)?.pinned(digest))
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

/// The extensions that `names` name.
fn offers<'a>(
    catalogue: &'a Catalogue,
    distribution: &Distribution,
    version: &Version,
    names: &[String],
) -> Result<Vec<&'a (Place, Offer)>, Error> {
    let find = |name: &String| {
        catalogue.find(name).ok_or_else(|| Error::ExtensionNotAvailable {
            name: crate::error::shown(name),
            distribution: distribution.name,
            version: version.clone(),
            nearest: catalogue.nearest(name),
        })
    };
    names.iter().map(find).collect()
}

/// An image with a list: where it is from, a name for it, its digest, and what to pull if something of it is missing.
type CatalogueImage = (Place, String, Digest, Option<Want>);

/// What `read` makes of an image. If a blob of it is missing and `want` may bring it, that is wanted.
fn complete<T>(want: Option<Want>, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    read().map_err(|error| match want {
        Some(want) if error.is_for_want_of_a_blob() => {
            tracing::warn!(image = %want, %error, "an image is not complete");
            Error::NotPulled { images: Wanted::one(want) }
        }
        _ => error,
    })
}

/// Whether a UKI is the asset or a part of it.
fn makes_uki(kind: AssetKind) -> bool {
    matches!(kind, AssetKind::Uki | AssetKind::Image { .. } | AssetKind::Iso | AssetKind::Installer)
}

/// Whether a pre-release is `alpha.N`, `beta.N` or `rc.N`: others are built by developers for themselves.
fn is_usual(pre: &semver::Prerelease) -> bool {
    pre.split_once('.').is_some_and(|(name, number)| {
        matches!(name, "alpha" | "beta" | "rc") && number.bytes().all(|b| b.is_ascii_digit())
    })
}
